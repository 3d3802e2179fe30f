"""Footprints of valid data, and fractions of many windows from one look at the whole scene."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
import shapely.geometry

from geolabel.core.georef import WGS84, Window, transformer
from geolabel.core.scene import Scene
from geolabel.raster.pool import opened

_FOOTPRINT_PX = 1024
_LOOK_PX = 4096
MaskOf = Callable[[Window, tuple[int, int]], npt.NDArray[np.uint8]]


def valid_mask(scene: Scene, most_px: int) -> tuple[npt.NDArray[np.bool_] | None, tuple[int, int]]:
    """Read where a scene has data, at most `most_px` an edge; (row, col) or None for everywhere, and the size."""
    factor = max(1.0, max(scene.georef.width, scene.georef.height) / most_px)
    size = (max(1, round(scene.georef.width / factor)), max(1, round(scene.georef.height / factor)))
    whole = Window(col=0, row=0, width=scene.georef.width, height=scene.georef.height)
    with opened(scene, None) as raster:
        _, mask = raster.read([band.index for band in scene.bands], whole, size, nearest=True)
    return mask, size


def footprint_of(scene: Scene) -> dict[str, Any] | None:
    """Return the outline of valid data as GeoJSON in WGS 84, holes kept, simplified to a pixel of a 1024 px look.

    None when the scene is valid everywhere (its outline says it all) or has no data at all.
    """
    if scene.properties.get("mask", "none") == "none":
        return None
    mask, size = valid_mask(scene, _FOOTPRINT_PX)
    if mask is None or not mask.any():
        return None
    from rasterio.features import shapes
    from rasterio.transform import Affine

    to_scene = Affine.scale(scene.georef.width / size[0], scene.georef.height / size[1])
    polygons = [
        shapely.geometry.shape(geometry)
        for geometry, value in shapes(mask.astype(np.uint8), mask=mask, transform=to_scene)
        if value == 1
    ]
    pixel = max(scene.georef.width / size[0], scene.georef.height / size[1])
    area = [p for p in polygons if p.area >= 16 * pixel * pixel] or polygons
    merged = shapely.make_valid(shapely.simplify(shapely.union_all(area), pixel, preserve_topology=True))
    world = shapely.transform(merged, scene.georef.to_world)
    way = transformer(scene.georef.crs, WGS84)

    def to_lonlat(xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        x, y = way.transform(xy[:, 0], xy[:, 1])
        return np.round(np.column_stack([x, y]), 8)

    placed = shapely.transform(shapely.segmentize(world, _edge(world)), to_lonlat)
    if not np.isfinite(shapely.get_coordinates(placed)).all():
        return None
    return dict(shapely.geometry.mapping(shapely.make_valid(placed)))


def _edge(geometry: shapely.Geometry) -> float:
    left, bottom, right, top = geometry.bounds
    return float(max(right - left, top - bottom, 1e-12)) / 16


def fractions_from_overview(
    scene: Scene, windows: npt.NDArray[np.int64], mask_of: MaskOf | None
) -> dict[str, npt.NDArray[np.float32]]:
    """Return fractions per window from one look at 4096 px an edge, by summed-area tables: flat in memory."""
    mask, size = valid_mask(scene, _LOOK_PX)
    valid = np.ones((size[1], size[0]), dtype=bool) if mask is None else mask
    scale = (size[0] / scene.georef.width, size[1] / scene.georef.height)
    shares = _shares(valid, windows, scale)
    out = {"valid": shares}
    if mask_of is not None:
        whole = Window(col=0, row=0, width=scene.georef.width, height=scene.georef.height)
        codes = mask_of(whole, size)
        for name, code in (("cloud", 1), ("shadow", 2), ("water", 3)):
            part = _shares((codes == code) & valid, windows, scale)
            out[name] = np.divide(part, shares, out=np.zeros_like(part), where=shares > 0)
    return out


def _shares(
    mask: npt.NDArray[np.bool_], windows: npt.NDArray[np.int64], scale: tuple[float, float]
) -> npt.NDArray[np.float32]:
    import cv2

    table = cv2.integral(mask.astype(np.uint8), sdepth=cv2.CV_64F)
    height, width = mask.shape
    left = np.clip(np.floor(windows[:, 0] * scale[0]), 0, width - 1).astype(np.intp)
    top = np.clip(np.floor(windows[:, 1] * scale[1]), 0, height - 1).astype(np.intp)
    right = np.clip(np.ceil((windows[:, 0] + windows[:, 2]) * scale[0]), left + 1, width).astype(np.intp)
    bottom = np.clip(np.ceil((windows[:, 1] + windows[:, 3]) * scale[1]), top + 1, height).astype(np.intp)
    total = table[bottom, right] - table[top, right] - table[bottom, left] + table[top, left]
    # Windows that reach past the edge count what is outside as not valid.
    area = np.maximum(windows[:, 2] * scale[0] * windows[:, 3] * scale[1], (right - left) * (bottom - top))
    return np.asarray(np.minimum(total / area, 1.0), dtype=np.float32)
