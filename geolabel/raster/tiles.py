"""XYZ tiles of a scene in web mercator, through a window that is warped on the fly."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from geolabel.core.georef import Georeference, Window, transform_xy
from geolabel.core.plans import WEB_MERCATOR
from geolabel.core.scene import RenderSpec, Scene
from geolabel.errors import GeoreferenceError
from geolabel.raster.encode import encode_image
from geolabel.raster.pool import DatasetPool, opened
from geolabel.raster.read import is_categorical
from geolabel.raster.render import render_window

TILE_PX = 256
_HALF_WORLD_M = 20037508.342789244
_GRID = 9
#: Most pixels a tile's window may be read at, each way, before it is warped.
_READ_PX = 768


def tile_georef(x: int, y: int, z: int) -> Georeference:
    """Return the pixel plane of a tile, 256 px, in web mercator."""
    size = 2 * _HALF_WORLD_M / 2**z
    pixel = size / TILE_PX
    left, top = x * size - _HALF_WORLD_M, _HALF_WORLD_M - y * size
    return Georeference(crs=WEB_MERCATOR, transform=(pixel, 0, left, 0, -pixel, top), width=TILE_PX, height=TILE_PX)


def zoom_range(scene: Scene) -> tuple[int, int]:
    """Return the zooms at which the scene fills about a tile, and at which a tile's pixel is as fine as the scene's."""
    try:
        gsd = min(scene.georef.gsd_m())
        centre = scene.georef.to_lonlat(np.array([[scene.georef.width / 2, scene.georef.height / 2]]))[0]
    except GeoreferenceError:
        return 0, 12
    finest = 2 * _HALF_WORLD_M / TILE_PX * math.cos(math.radians(min(abs(float(centre[1])), 85.0)))
    high = max(0, min(24, math.ceil(math.log2(finest / max(gsd, 1e-6)))))
    low = max(0, high - math.ceil(math.log2(max(scene.georef.width, scene.georef.height) / TILE_PX + 1)))
    return low, high


def render_tile(
    scene: Scene, render: RenderSpec, xyz: tuple[int, int, int], *, pool: DatasetPool | None = None
) -> bytes:
    """Return a tile (x, y, zoom) as PNG, transparent where the scene has nothing.

    The scene's window under the tile is read at the tile's resolution (from overviews), rendered, and warped by a grid
    of exact positions 32 px apart, bilinear between them.

    Raises:
        RasterReadError: the raster can't be read.
    """
    rgba: npt.NDArray[np.uint8] = np.zeros((TILE_PX, TILE_PX, 4), dtype=np.uint8)
    found = _window(scene, xyz)
    if found is not None:
        window, positions = found
        size = _read_size(window, positions)
        with opened(scene, pool) as raster:
            picture = render_window(scene, raster, window, size, render)
        rgba = _warp(picture, window, size, positions, nearest=is_categorical(scene))
    return encode_image(rgba, "png")


def _window(scene: Scene, xyz: tuple[int, int, int]) -> tuple[Window, npt.NDArray[np.float64]] | None:
    """Return the scene's window under a tile, and the scene px of a 9 × 9 grid over the tile, (9, 9, 2)."""
    ticks = np.linspace(0, TILE_PX, _GRID)
    grid = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    plane = tile_georef(*xyz)
    try:
        position = scene.georef.to_pixel(transform_xy(plane.to_world(grid), WEB_MERCATOR, scene.georef.crs))
    except GeoreferenceError:
        return None
    low, high = np.floor(position.min(axis=0)) - 1, np.ceil(position.max(axis=0)) + 1
    left, top = (int(v) for v in np.maximum(low, 0))
    right, bottom = (int(v) for v in np.minimum(high, [scene.georef.width, scene.georef.height]))
    if right <= left or bottom <= top:
        return None
    return Window(col=left, row=top, width=right - left, height=bottom - top), position.reshape(_GRID, _GRID, 2)


def _read_size(window: Window, positions: npt.NDArray[np.float64]) -> tuple[int, int]:
    span = np.abs(positions[:, -1] - positions[:, 0]).max(axis=0) + np.abs(positions[-1] - positions[0]).max(axis=0)
    per_px = np.maximum(span / TILE_PX, 1.0)  # scene px a tile px
    width = min(window.width, _READ_PX, max(1, math.ceil(window.width / per_px[0])))
    height = min(window.height, _READ_PX, max(1, math.ceil(window.height / per_px[1])))
    return width, height


def _warp(
    picture: npt.NDArray[np.uint8], window: Window, size: tuple[int, int], positions: npt.NDArray[np.float64], *,
    nearest: bool,
) -> npt.NDArray[np.uint8]:  # fmt: skip
    import cv2

    scale = np.array([size[0] / window.width, size[1] / window.height])
    local = ((positions - np.array([window.col, window.row])) * scale).astype(np.float32)
    # Centres of tile pixels in the grid's own coordinates, then grid values in picture px (centres at n + 0.5).
    centres = ((np.arange(TILE_PX, dtype=np.float32) + 0.5) * (_GRID - 1) / TILE_PX).astype(np.float32)
    gx, gy = np.meshgrid(centres, centres)
    maps: list[Any] = [
        cv2.remap(np.ascontiguousarray(local[:, :, axis]), gx, gy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        - 0.5
        for axis in (0, 1)
    ]
    how = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    warped = cv2.remap(picture, maps[0], maps[1], how, borderMode=cv2.BORDER_CONSTANT, borderValue=(0, 0, 0, 0))
    out = np.asarray(warped, dtype=np.uint8)
    partly = (out[:, :, 3] > 0) & (out[:, :, 3] < 255)
    if partly.any():
        # Colour at an edge was mixed with nothing: it is what it would be without the empty share.
        weight = out[:, :, 3:][partly].astype(np.float32) / 255.0
        out[:, :, :3][partly] = np.clip(out[:, :, :3][partly] / weight, 0, 255).astype(np.uint8)
    return out
