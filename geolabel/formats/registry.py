"""Formats by name: ours, and those of the entry point group `geolabel.exporters`."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from geolabel.formats.contract import Format
from geolabel.plugins import Registry

BUILTIN_FORMATS: dict[str, str] = {
    "geojson": "geolabel.formats.geojson:FORMAT",
    "geojsonseq": "geolabel.formats.geojsonseq:FORMAT",
    "gpkg": "geolabel.formats.gpkg:FORMAT",
    "flatgeobuf": "geolabel.formats.flatgeobuf:FORMAT",
    "shapefile": "geolabel.formats.shapefile:FORMAT",
    "geoparquet": "geolabel.formats.geoparquet:FORMAT",
    "kml": "geolabel.formats.kml:FORMAT",
    "csv": "geolabel.formats.csv_table:FORMAT",
    "coco": "geolabel.formats.coco:INSTANCES",
    "coco-detection": "geolabel.formats.coco:DETECTION",
    "coco-panoptic": "geolabel.formats.coco_panoptic:FORMAT",
    "yolo-detect": "geolabel.formats.yolo:DETECT",
    "yolo-segment": "geolabel.formats.yolo:SEGMENT",
    "yolo-obb": "geolabel.formats.yolo:OBB",
    "voc": "geolabel.formats.voc:FORMAT",
    "mask-semantic": "geolabel.formats.masks:SEMANTIC",
    "mask-instance": "geolabel.formats.masks:INSTANCE",
    "tfrecord": "geolabel.formats.tfrecord:FORMAT",
    "webdataset": "geolabel.formats.webdataset:FORMAT",
    "huggingface": "geolabel.formats.huggingface:FORMAT",
    "labelstudio": "geolabel.formats.labelstudio:FORMAT",
}


@lru_cache(maxsize=1)
def formats() -> Registry[Format]:
    """Return the registry of formats; nothing is imported before it is used."""
    return Registry("geolabel.exporters", BUILTIN_FORMATS)


def get_formats(names: Iterable[str]) -> list[Format]:
    """Return formats by name, each once, in the order asked.

    Raises:
        NotFoundError: there is none of that name; the message lists those that exist.
    """
    return [formats().get(name) for name in dict.fromkeys(names)]
