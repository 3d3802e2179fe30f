"""Rasters: opening, checking, reading, rendering."""
