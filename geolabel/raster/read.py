"""Pixels of windows and chips, raw as stored, with the mask of what is data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from geolabel.core.georef import Georeference, Window
from geolabel.core.scene import Band, Chip, Scene
from geolabel.errors import InputError
from geolabel.raster.pool import DatasetPool, Raster, opened


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """Pixels on a known place.

    Attributes:
        array: (band, row, col), dtype of the raster ("raw") or float32 ("physical").
        mask: (row, col) bool, True where there is data.
        georef: Of this pixel plane.
        bands: One per plane of `array`.
    """

    array: npt.NDArray[Any]
    mask: npt.NDArray[np.bool_]
    georef: Georeference
    bands: tuple[Band, ...]


def read_chip(
    scene: Scene,
    chip: Chip,
    *,
    bands: Sequence[int] | None = None,
    out: Literal["raw", "physical"] = "raw",
    pool: DatasetPool | None = None,
) -> Pixels:
    """Read the pixels of a chip.

    Args:
        scene: Scene that the chip is cut from.
        chip: The chip.
        bands: GDAL indexes from 1; all bands of the scene (alpha excluded) when None.
        out: "raw" as stored, or "physical": raw · scale + offset as float32.
        pool: Open rasters; the raster is opened and closed when None.

    Raises:
        InputError: a band doesn't exist.
        RasterReadError: the raster can't be opened or read.
    """
    chosen = _bands(scene, bands)
    size = (chip.georef.width, chip.georef.height)
    with opened(scene, pool) as raster:
        array, mask = read_window(raster, [b.index for b in chosen], chip.window, size, nearest=is_categorical(scene))
    if out == "physical":
        array = to_physical(array, chosen)
    full = np.ones(array.shape[1:], dtype=np.bool_) if mask is None else mask
    return Pixels(array=array, mask=full, georef=chip.georef, bands=chosen)


def to_physical(array: npt.NDArray[Any], bands: Sequence[Band]) -> npt.NDArray[np.float32]:
    """Apply scale and offset: (band, row, col) float32, raw · scale + offset."""
    scale = np.array([b.scale for b in bands], dtype=np.float32)[:, None, None]
    offset = np.array([b.offset for b in bands], dtype=np.float32)[:, None, None]
    return (array.astype(np.float32) * scale + offset).astype(np.float32)


def read_window(
    raster: Raster, bands: Sequence[int], window: Window, size_px: tuple[int, int], *, nearest: bool = False
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
    """Read a window that may reach past the edge of the raster; what lies outside is 0 and not valid.

    Returns:
        (band, row, col) of `size_px` (width, height), and the (row, col) mask of valid pixels or None when all are.
    """
    inside = window.intersection(Window(col=0, row=0, width=raster.width, height=raster.height))
    if inside == window:
        return raster.read(bands, window, size_px, nearest=nearest)
    mask = np.zeros((size_px[1], size_px[0]), dtype=np.bool_)
    if inside is None:
        return np.zeros((len(bands), size_px[1], size_px[0]), dtype=np.uint8), mask
    sx, sy = size_px[0] / window.width, size_px[1] / window.height
    left, top = round((inside.col - window.col) * sx), round((inside.row - window.row) * sy)
    width = min(size_px[0] - left, max(1, round(inside.width * sx)))
    height = min(size_px[1] - top, max(1, round(inside.height * sy)))
    data, valid = raster.read(bands, inside, (width, height), nearest=nearest)
    out = np.zeros((len(bands), size_px[1], size_px[0]), dtype=data.dtype)
    out[:, top : top + height, left : left + width] = data
    mask[top : top + height, left : left + width] = True if valid is None else valid
    return out, mask


def is_categorical(scene: Scene) -> bool:
    """Tell whether values are class codes, which must never be averaged."""
    return bool(scene.properties.get("palette")) or bool(scene.properties.get("categorical"))


def _bands(scene: Scene, indexes: Sequence[int] | None) -> tuple[Band, ...]:
    if indexes is None:
        return scene.bands
    by_index = {band.index: band for band in scene.bands}
    missing = [i for i in indexes if i not in by_index]
    if missing:
        raise InputError(f"scene {scene.name!r} has no band {missing}; it has {sorted(by_index)}")
    return tuple(by_index[i] for i in indexes)
