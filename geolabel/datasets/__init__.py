"""Exports as PyTorch datasets; torch and torchgeo are imported only when one is made."""
