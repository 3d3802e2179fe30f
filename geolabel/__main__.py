"""``python -m geolabel``."""

from __future__ import annotations

from geolabel.cli.app import main

main()
