"""GeoJSON text sequence: one RFC 7946 feature a line, for programs that read as a stream."""

from __future__ import annotations

from geolabel.formats.contract import FormatSpec
from geolabel.formats.geojson import GeoJson
from geolabel.formats.gpkg import MAP_KEEPS

FORMAT = GeoJson(
    lines=True,
    spec=FormatSpec(
        name="geojsonseq", title="GeoJSON, a feature a line", stream="objects", suffix=".geojsonl", keeps=MAP_KEEPS,
        crs="wgs84", note="newline-delimited; each line is a feature",
    ),
)  # fmt: skip
