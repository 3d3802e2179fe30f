"""FlatGeobuf: one file a geometry family and CRS."""

from __future__ import annotations

from geolabel.formats.contract import FormatSpec
from geolabel.formats.gpkg import MAP_KEEPS
from geolabel.formats.layers import LayerFormat

FORMAT = LayerFormat(
    spec=FormatSpec(
        name="flatgeobuf", title="FlatGeobuf", stream="objects", suffix=".fgb", keeps=MAP_KEEPS,
        note="one file a geometry family, with spatial index; rows are in the index's order",
    ),
    driver="FlatGeobuf",
)  # fmt: skip
