"""GeoPackage 1.2: what GDAL 3.6 and QGIS 3.22 open and edit without a warning."""

from __future__ import annotations

from geolabel.formats.contract import KEEPABLE, FormatSpec
from geolabel.formats.layers import LayerFormat

MAP_KEEPS = frozenset(KEEPABLE) - {"unplaced", "empty_images"}

FORMAT = LayerFormat(
    spec=FormatSpec(
        name="gpkg", title="GeoPackage", stream="objects", suffix=".gpkg", keeps=MAP_KEEPS,
        note="one layer a geometry family; further CRSs as further layers",
    ),
    driver="GPKG",
    one_file=True,
    dataset_options={"VERSION": "1.2"},
)  # fmt: skip
