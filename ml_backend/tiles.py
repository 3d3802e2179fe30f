"""Map tiles and TileJSON of registered scenes, signed per scene."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from geolabel.errors import InputError
from geolabel.pipeline.chip_urls import UrlSigner
from ml_backend.chips import WithPictures, answer, signed_query

router = APIRouter(tags=["tiles"])
_MAX_ZOOM = 26


@router.get("/tiles/{scene_id}/tilejson.json")
def tilejson(scene_id: str, request: Request, pictures: WithPictures) -> dict[str, Any]:
    """Describe a scene's tiles (TileJSON 3.0)."""
    from geolabel.raster.tiles import zoom_range

    query = signed_query(request, f"/tiles/{scene_id}")
    scene = pictures.scene(scene_id)
    low, high = zoom_range(scene)
    outline = scene.georef.outline_lonlat(8)
    low_left, high_right = outline.min(axis=0), outline.max(axis=0)
    template = UrlSigner(request.app.state.services.settings).tile_template(scene_id, query)
    return {
        "tilejson": "3.0.0",
        "name": scene.name,
        "tiles": [template],
        "minzoom": low,
        "maxzoom": high,
        "bounds": [float(v) for v in (*low_left, *high_right)],
    }


@router.get("/tiles/{scene_id}/{z}/{x}/{name}")
def tile(scene_id: str, z: int, x: int, name: str, request: Request, pictures: WithPictures) -> Response:
    """Give one tile of 256 px as PNG, or 404 where the scene has nothing."""
    from geolabel.raster.tiles import render_tile

    row, _, suffix = name.partition(".")
    if suffix != "png" or not row.isdigit():
        raise InputError(f"{name[:40]!r} is no tile; ask for Y.png")
    y = int(row)
    if not 0 <= z <= _MAX_ZOOM or not (0 <= x < 2**z and 0 <= y < 2**z):
        raise InputError(f"there is no tile {z}/{x}/{y}; zooms go to {_MAX_ZOOM}, columns and rows to 2^zoom - 1")
    query = signed_query(request, f"/tiles/{scene_id}")
    scene = pictures.scene(scene_id)
    render = pictures.render(scene, query.get("r", ""))
    key = f"tile/{scene_id}/{z}/{x}/{y}/{render.digest()}/{scene.etag}"

    def make() -> bytes:
        return pictures.cached(key, lambda: render_tile(scene, render, (x, y, z), pool=pictures.pool))

    return answer(request, "image/png", key, make)
