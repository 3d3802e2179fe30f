"""GeoLabel: geospatial annotation on Label Studio."""

__version__ = "0.1.0"
