"""GeoLabel: Label Studio as a geospatial annotation system."""

from __future__ import annotations

__version__ = "0.1.0"
