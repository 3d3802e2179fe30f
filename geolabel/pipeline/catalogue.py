"""A version described for others: STAC (label, projection and file extensions) and Croissant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from geolabel.core.dataset import Dataset, SceneRef
from geolabel.core.georef import parse_crs
from geolabel.core.manifest import FileEntry, Manifest

STAC_VERSION = "1.1.0"
EXTENSIONS = {
    "label": "https://stac-extensions.github.io/label/v1.0.1/schema.json",
    "projection": "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "file": "https://stac-extensions.github.io/file/v2.1.0/schema.json",
}
_MEDIA = {
    ".geojson": "application/geo+json",
    ".geojsonl": "application/geo+json-seq",
    ".gpkg": "application/geopackage+sqlite3",
    ".parquet": "application/vnd.apache.parquet",
    ".fgb": "application/vnd.flatgeobuf",
    ".csv": "text/csv",
    ".json": "application/json",
    ".kml": "application/vnd.google-earth.kml+xml",
    ".tar": "application/x-tar",
    ".tif": "image/tiff; application=geotiff",
    ".png": "image/png",
    ".xml": "application/xml",
    ".txt": "text/plain",
}
_MOST_ASSETS = 200
_EPOCH = "1970-01-01T00:00:00Z"


def media_type(path: str) -> str:
    """Return the media type of a file by its suffix."""
    return _MEDIA.get("." + path.rpartition(".")[2], "application/octet-stream")


def asset(entry: FileEntry, *, up: str) -> dict[str, Any]:
    """Return a STAC asset with size and checksum (multihash of sha256)."""
    return {
        "href": f"{up}/{entry.path}",
        "type": media_type(entry.path),
        "roles": ["labels", "data"],
        "file:size": entry.bytes,
        "file:checksum": f"1220{entry.sha256}",
    }


def stac_item(
    scene: SceneRef | None,
    dataset: Dataset,
    manifest: Manifest,
    entries: Sequence[FileEntry],
    counts: Mapping[int, int],
) -> dict[str, Any]:
    """Return the STAC Item of the labels of one scene (or of images without a place)."""
    names = dataset.class_names()
    properties: dict[str, Any] = {
        "datetime": (scene.acquired if scene is not None else "") or manifest.snapshot_time or _EPOCH,
        "label:description": f"Labels of {dataset.name}, version {manifest.version}",
        "label:type": "vector",
        "label:tasks": ["detection", "segmentation"],
        "label:methods": ["manual"],
        "label:properties": ["class"],
        "label:classes": [{"name": "class", "classes": [c.name for c in dataset.taxonomy.classes]}],
        "label:overviews": [
            {"property_key": "class", "counts": [{"name": names[i], "count": n} for i, n in sorted(counts.items())]}
        ],
    }
    geometry, bbox = None, None
    if scene is not None:
        ring = scene.georef.outline_lonlat(4)
        low, high = ring.min(axis=0), ring.max(axis=0)
        bbox = [round(float(v), 8) for v in (*low, *high)]
        closed = [[round(float(x), 8), round(float(y), 8)] for x, y in (*ring[::-1], ring[-1])]
        geometry = {"type": "Polygon", "coordinates": [closed]}
        a, b, c, d, e, f = scene.georef.transform
        authority = parse_crs(scene.georef.crs).to_authority(min_confidence=100)
        properties["proj:code"] = None if authority is None else f"{authority[0]}:{authority[1]}"
        if authority is None:
            properties["proj:wkt2"] = scene.georef.crs
        properties["proj:shape"] = [scene.georef.height, scene.georef.width]
        properties["proj:transform"] = [a, b, c, d, e, f]
    item: dict[str, Any] = {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": sorted(EXTENSIONS.values()),
        "id": f"labels-{'unplaced' if scene is None else scene.id}",
        "collection": f"{manifest.project}-{manifest.version}",
        "geometry": geometry,
        "properties": properties,
        "links": [
            {"rel": "collection", "href": "./collection.json", "type": "application/json"},
            {"rel": "parent", "href": "./collection.json", "type": "application/json"},
        ],
        "assets": {entry.path: asset(entry, up="..") for entry in entries[:_MOST_ASSETS]},
    }
    if bbox is not None:
        item["bbox"] = bbox
    return item


def stac_collection(dataset: Dataset, manifest: Manifest, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the STAC Collection of a version."""
    boxes = [item["bbox"] for item in items if item.get("bbox")] or [[-180.0, -90.0, 180.0, 90.0]]
    whole = [min(b[0] for b in boxes), min(b[1] for b in boxes), max(b[2] for b in boxes), max(b[3] for b in boxes)]
    times = sorted(item["properties"]["datetime"] for item in items) or [_EPOCH]
    links: list[dict[str, Any]] = [{"rel": "root", "href": "./collection.json", "type": "application/json"}]
    links += [{"rel": "item", "href": f"./{item['id']}.json", "type": "application/geo+json"} for item in items]
    return {
        "type": "Collection",
        "stac_version": STAC_VERSION,
        "stac_extensions": [],
        "license": "proprietary",
        "id": f"{manifest.project}-{manifest.version}",
        "title": dataset.name,
        "description": f"Labels of {dataset.name}, version {manifest.version}, made by GeoLabel",
        "extent": {"spatial": {"bbox": [whole]}, "temporal": {"interval": [[times[0], times[-1]]]}},
        "links": links,
    }


def croissant(dataset: Dataset, manifest: Manifest) -> dict[str, Any]:
    """Return the Croissant 1.0 description of a version: every data file with its checksum."""
    distribution = [
        {
            "@type": "cr:FileObject",
            "@id": entry.path,
            "name": entry.path,
            "contentUrl": entry.path,
            "contentSize": f"{entry.bytes} B",
            "encodingFormat": media_type(entry.path).partition(";")[0],
            "sha256": entry.sha256,
        }
        for entry in sorted(manifest.files, key=lambda e: e.path)
        if entry.kind == "data"
    ][:_MOST_ASSETS]
    return {
        "@context": {
            "@language": "en",
            "@vocab": "https://schema.org/",
            "sc": "https://schema.org/",
            "cr": "http://mlcommons.org/croissant/",
            "dct": "http://purl.org/dc/terms/",
            "conformsTo": "dct:conformsTo",
            "citeAs": "cr:citeAs",
            "recordSet": "cr:recordSet",
            "field": "cr:field",
            "source": "cr:source",
            "extract": "cr:extract",
            "fileObject": "cr:fileObject",
            "fileSet": "cr:fileSet",
            "column": "cr:column",
            "data": {"@id": "cr:data", "@type": "@json"},
            "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
            "format": "cr:format",
            "includes": "cr:includes",
            "isLiveDataset": "cr:isLiveDataset",
            "jsonPath": "cr:jsonPath",
            "key": "cr:key",
            "md5": "cr:md5",
            "parentField": "cr:parentField",
            "path": "cr:path",
            "references": "cr:references",
            "regex": "cr:regex",
            "repeated": "cr:repeated",
            "replace": "cr:replace",
            "separator": "cr:separator",
            "subField": "cr:subField",
            "transform": "cr:transform",
            "examples": {"@id": "cr:examples", "@type": "@json"},
        },
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": "".join(c if c.isalnum() or c in "-_ " else "-" for c in dataset.name) or manifest.project,
        "description": f"Labels of {dataset.name}: {', '.join(c.name for c in dataset.taxonomy.classes)}",
        "version": f"{manifest.number}.0.0",
        "datePublished": (manifest.snapshot_time or _EPOCH)[:10],
        "license": "unknown",
        "url": "https://example.invalid/",
        "citeAs": f"{dataset.name} {manifest.version}",
        "distribution": distribution,
    }
