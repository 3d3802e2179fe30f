"""Registered scenes: kept in the store as STAC Items, one file each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import shapely
import shapely.affinity
import shapely.geometry

from geolabel.core.records import scene_from_json, scene_to_json
from geolabel.core.scene import RenderSpec, Scene
from geolabel.errors import GeoreferenceError, NotFoundError
from geolabel.services import Services

STAC_VERSION = "1.1.0"
_EXTENSIONS = [
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
]
_RECORD = "geolabel:scene"


def scene_key(scene_id: str) -> str:
    """Return the key of a scene's record."""
    return f"scenes/{clean_id(scene_id)}.json"


def clean_id(text: str) -> str:
    """Return an id as it may stand in a key.

    Raises:
        NotFoundError: it can't be the id of anything.
    """
    if not text or len(text) > 64 or not text.replace("-", "").replace("_", "").isalnum():
        raise NotFoundError(f"there is no scene or chip {text[:80]!r}")
    return text


def save_scene(services: Services, scene: Scene) -> None:
    """Write the record of a scene; what an earlier record knew beyond this one (footprint, renders) is kept."""
    from dataclasses import replace

    try:
        before = load_scene(services, scene.id)
    except NotFoundError:
        before = None
    if before is not None:
        scene = replace(scene, properties={**before.properties, **scene.properties})
    services.store.put_json(scene_key(scene.id), stac_item(scene))


def load_scene(services: Services, scene_id: str) -> Scene:
    """Return a registered scene.

    Raises:
        NotFoundError: there is none of this id.
    """
    try:
        item = services.store.get_json(scene_key(scene_id))
    except NotFoundError as error:
        raise NotFoundError(
            f"scene {scene_id!r} is not registered in the store {services.store.uri}; run `geolabel ingest` for it"
        ) from error
    return scene_from_json(item["properties"][_RECORD])


def list_scenes(services: Services) -> Iterator[Scene]:
    """Yield all registered scenes by id."""
    for key in services.store.list("scenes/"):
        if key.count("/") == 1 and key.endswith(".json") and key != "scenes/collection.json":
            yield scene_from_json(services.store.get_json(key)["properties"][_RECORD])


def find_scene(services: Services, text: str) -> Scene:
    """Return the scene of an id, the start of an id, or a name.

    Raises:
        NotFoundError: there is none, or several.
    """
    found = [s for s in list_scenes(services) if s.id.startswith(text) or s.name == text]
    if len(found) != 1:
        known = ", ".join(f"{s.id[:8]} ({s.name})" for s in found[:8]) or "none"
        raise NotFoundError(f"{len(found)} scenes match {text!r}: {known}; `geolabel scenes ls` lists all")
    return found[0]


def stac_item(scene: Scene) -> dict[str, Any]:
    """Return a scene as a STAC Item whose property `geolabel:scene` holds the whole record."""
    footprint = scene.properties.get("footprint")
    geometry = footprint or outline(scene)
    box = [] if geometry is None else [round(float(v), 9) for v in shapely.geometry.shape(geometry).bounds]
    crs = scene.georef.crs
    projection: dict[str, Any] = (
        {"proj:code": crs} if ":" in crs and len(crs) < 40 else {"proj:code": None, "proj:wkt2": crs}
    )
    media = "image/tiff; application=geotiff" if scene.uri.lower().endswith((".tif", ".tiff")) else None
    asset: dict[str, Any] = {
        "href": scene.uri,
        "roles": ["data"],
        "title": scene.name,
        "bands": [{"name": band.name} for band in scene.bands],
    }
    if media:
        asset["type"] = media
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": _EXTENSIONS,
        "id": scene.id,
        "geometry": geometry,
        **({"bbox": box} if box else {}),
        "properties": {
            "title": scene.name,
            # STAC allows no date at all only with an interval; a scene of unknown date says so by null and "created".
            "datetime": scene.acquired,
            **(
                {}
                if scene.acquired
                else {"start_datetime": "1900-01-01T00:00:00Z", "end_datetime": "2100-01-01T00:00:00Z"}
            ),
            **projection,
            "proj:shape": [scene.georef.height, scene.georef.width],
            "proj:transform": list(scene.georef.transform),
            _RECORD: scene_to_json(scene),
        },
        "links": [],
        "assets": {"data": asset},
    }


def outline(scene: Scene) -> dict[str, Any] | None:
    """Return a scene's outline as GeoJSON, cut at the antimeridian; None when its edge lies off the Earth."""
    try:
        ring = scene.georef.outline_lonlat(8)
    except GeoreferenceError:
        return None
    polygon = shapely.Polygon(ring)
    return dict(shapely.geometry.mapping(cut_antimeridian(polygon)))


def cut_antimeridian(geometry: shapely.Geometry) -> shapely.Geometry:
    """Return a geometry whose longitudes run past ±180 cut there and moved into the range (RFC 7946, 3.1.9)."""
    low, _, high, _ = geometry.bounds
    if low >= -180.0 and high <= 180.0:
        return geometry
    parts = []
    for turn in range(int(np.floor((low + 180.0) / 360.0)), int(np.floor((high + 180.0) / 360.0)) + 1):
        band = shapely.box(-180.0 + 360.0 * turn, -90.0, 180.0 + 360.0 * turn, 90.0)
        part = geometry.intersection(band)
        if not part.is_empty and part.area > 0:
            parts.append(shapely.affinity.translate(part, -360.0 * turn))
    return shapely.union_all(parts) if parts else geometry


def save_render(services: Services, render: RenderSpec) -> str:
    """Keep a way of showing by its digest, so that chip addresses can name it; returns the digest."""
    name = render.digest()
    services.store.put_if_absent(f"renders/{name}.json", _bytes(render))
    return name


def load_render(services: Services, scene: Scene, digest: str) -> RenderSpec:
    """Return a kept way of showing.

    Raises:
        NotFoundError: there is none of this digest.
    """
    if scene.render is not None and scene.render.digest() == digest:
        return scene.render
    return RenderSpec.from_json(services.store.get_json(f"renders/{clean_id(digest)}.json"))


def _bytes(render: RenderSpec) -> bytes:
    from geolabel.core.ids import canonical_json

    return canonical_json(render.to_json()).encode()
