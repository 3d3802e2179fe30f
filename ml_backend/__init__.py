"""The HTTP face of GeoLabel. Thin."""
