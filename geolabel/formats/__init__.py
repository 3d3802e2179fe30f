"""Exporters and readers behind one contract; they write below a local folder and open nothing else."""
