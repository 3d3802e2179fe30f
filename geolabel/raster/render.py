"""What the annotator sees: raw pixels to red, green, blue and alpha, by one `RenderSpec` for all chips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from geolabel.core.georef import Window
from geolabel.core.scene import Chip, RenderSpec, Scene
from geolabel.errors import InputError
from geolabel.raster.encode import encode_image, encode_planes
from geolabel.raster.pool import DatasetPool, Raster, opened
from geolabel.raster.read import is_categorical, read_window

Rgba = npt.NDArray[np.uint8]
PALETTE = "palette"


def render_chip(scene: Scene, chip: Chip, *, pool: DatasetPool | None = None) -> Rgba:
    """Render a chip.

    Args:
        scene: Scene that the chip is cut from.
        chip: The chip; its `render` rules.
        pool: Open rasters; the raster is opened and closed when None.

    Returns:
        (row, col, 4) uint8; alpha is 0 where there is no data, else 255.

    Raises:
        RasterReadError: the raster can't be opened or read.
        InputError: the render names a band, step or colour map that doesn't exist.
    """
    with opened(scene, pool) as raster:
        return render_window(scene, raster, chip.window, (chip.georef.width, chip.georef.height), chip.render)


def render_bytes(scene: Scene, chip: Chip, image_format: str, *, pool: DatasetPool | None = None) -> bytes:
    """Render a chip to a file's bytes, the fast way: planes go to the codec without ever being RGBA.

    Raises:
        RasterReadError: the raster can't be opened or read.
        InputError: the render or the format is wrong.
    """
    with opened(scene, pool) as raster:
        size = (chip.georef.width, chip.georef.height)
        array, mask, bands = _read(scene, raster, chip.window, size, chip.render)
    if chip.render.colormap == PALETTE:
        return encode_image(render_array(scene, array, mask, bands, chip.render), image_format)
    planes, valid = _planes(scene, array, mask, bands, chip.render)
    margin = step_margin(chip.render.steps) if size == (chip.window.width, chip.window.height) else 0
    if margin:
        planes = [plane[margin:-margin, margin:-margin] for plane in planes]
        valid = None if valid is None else valid[margin:-margin, margin:-margin]
    return encode_planes(planes, valid, image_format)


def render_window(scene: Scene, raster: Raster, window: Window, size_px: tuple[int, int], render: RenderSpec) -> Rgba:
    """Render a window of an open raster to (row, col, 4) uint8 of `size_px` (width, height)."""
    array, mask, bands = _read(scene, raster, window, size_px, render)
    rgba = render_array(scene, array, mask, bands, render)
    margin = step_margin(render.steps) if size_px == (window.width, window.height) else 0
    return np.ascontiguousarray(rgba[margin:-margin, margin:-margin]) if margin else rgba


def _read(
    scene: Scene, raster: Raster, window: Window, size_px: tuple[int, int], render: RenderSpec
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None, tuple[int, ...]]:
    bands = bands_of(render, scene)
    margin = step_margin(render.steps)
    nearest = is_categorical(scene)
    if margin and size_px == (window.width, window.height):
        # Filters look at neighbours; without them every chip would show a seam.
        window = Window(
            col=window.col - margin, row=window.row - margin,
            width=window.width + 2 * margin, height=window.height + 2 * margin,
        )  # fmt: skip
        size_px = (window.width, window.height)
    array, mask = read_window(raster, bands, window, size_px, nearest=nearest)
    return array, mask, bands


def render_array(
    scene: Scene,
    array: npt.NDArray[Any],
    mask: npt.NDArray[np.bool_] | None,
    bands: Sequence[int],
    render: RenderSpec,
) -> Rgba:
    """Render (band, row, col) raw values of the given bands, with their mask, to (row, col, 4) uint8."""
    if render.colormap == PALETTE:
        return _painted(array[0], mask, scene.properties.get("palette") or {})
    import cv2

    planes, valid = _planes(scene, array, mask, bands, render)
    shape = planes[0].shape
    alpha = np.full(shape, 255, dtype=np.uint8) if valid is None else valid.astype(np.uint8) * np.uint8(255)
    return np.asarray(cv2.merge([np.ascontiguousarray(plane) for plane in (*planes, alpha)]), dtype=np.uint8)


def _planes(
    scene: Scene, array: npt.NDArray[Any], mask: npt.NDArray[np.bool_] | None, bands: Sequence[int], render: RenderSpec
) -> tuple[list[npt.NDArray[np.uint8]], npt.NDArray[np.bool_] | None]:
    """Return red, green and blue, and the mask of valid pixels (None: all)."""
    if render.nodata is not None:
        differs = (array != render.nodata).any(axis=0)
        mask = differs if mask is None else mask & differs
    if render.steps:
        from geolabel.raster.steps import apply_steps

        array = apply_steps(array, mask, bands, render.steps, scene)
    if array.dtype.kind == "c":
        array = np.abs(array)
    if render.expression:
        from geolabel.raster.expression import evaluate

        array = evaluate(render.expression, array, bands)[None]
    planes = stretch(array, render.rescale, render.gamma)
    if len(planes) == 1:
        grey = planes[0]
        if render.colormap:
            return [*np.moveaxis(colour_map(render.colormap)[grey], -1, 0)], mask
        return [grey, grey, grey], mask
    if len(planes) != 3:
        raise InputError(f"a render has {len(planes)} bands; it must have one or three")
    return list(planes), mask


def bands_of(render: RenderSpec, scene: Scene) -> tuple[int, ...]:
    """Return the bands that a render reads: its own, or those that its expression names."""
    if render.expression:
        from geolabel.raster.expression import bands_in

        wanted = bands_in(render.expression)
    else:
        wanted = render.bands
    known = {band.index for band in scene.bands}
    missing = [b for b in wanted if b not in known]
    if missing or not wanted:
        raise InputError(
            f"render {render.name or render.bands} needs bands {list(wanted)}; {scene.name!r} has {sorted(known)}"
        )
    return wanted


def step_margin(steps: Sequence[Mapping[str, Any]]) -> int:
    """Return how many px around a window the steps look at."""
    return sum(int(step.get("size", 0)) // 2 for step in steps)


def stretch(array: npt.NDArray[Any], rescale: Sequence[tuple[float, float]], gamma: float) -> npt.NDArray[np.uint8]:
    """Map (band, row, col) values to 0–255: low → 0, high → 255, clipped, then gamma; one pair or one per band."""
    pairs = list(rescale) or [(0.0, 255.0)]
    if len(pairs) == 1:
        pairs = pairs * array.shape[0]
    if len(pairs) != array.shape[0]:
        raise InputError(f"{len(pairs)} pairs of rescale for {array.shape[0]} bands; give one pair, or one per band")
    if array.dtype == np.uint8 and gamma == 1.0 and all(pair == (0.0, 255.0) for pair in pairs):
        return np.asarray(array, dtype=np.uint8)
    out = np.empty(array.shape, dtype=np.uint8)
    for plane, (low, high), values in zip(out, pairs, array, strict=True):
        plane[...] = _stretched(values, float(low), float(high), float(gamma))
    return out


def _stretched(values: npt.NDArray[Any], low: float, high: float, gamma: float) -> npt.NDArray[np.uint8]:
    if values.dtype == np.uint8:
        import cv2

        return np.asarray(cv2.LUT(values, _table(256, 0, low, high, gamma)), dtype=np.uint8)
    if values.dtype == np.uint16:
        return np.take(_table(65536, 0, low, high, gamma), values)
    if values.dtype == np.int16:
        return np.take(_table(65536, -32768, low, high, gamma), values.astype(np.int32) + 32768)
    return _curve(values.astype(np.float32), low, high, gamma)


@lru_cache(maxsize=64)
def _table(size: int, first: int, low: float, high: float, gamma: float) -> npt.NDArray[np.uint8]:
    return _curve(np.arange(first, first + size, dtype=np.float32), low, high, gamma)


def _curve(values: npt.NDArray[np.float32], low: float, high: float, gamma: float) -> npt.NDArray[np.uint8]:
    span = high - low
    scaled = (values - low) / span if span else (values > low).astype(np.float32)
    unit = np.clip(np.nan_to_num(scaled, nan=0.0, posinf=1.0, neginf=0.0), 0.0, 1.0)
    if gamma != 1.0:
        unit = unit ** (1.0 / gamma)
    return np.asarray(np.rint(unit * 255.0), dtype=np.uint8)


@lru_cache(maxsize=16)
def colour_map(name: str) -> npt.NDArray[np.uint8]:
    """Return a named colour map of rio-tiler as (256, 3) uint8.

    Raises:
        InputError: there is none of this name.
    """
    from rio_tiler.colormap import cmap
    from rio_tiler.errors import InvalidColorMapName

    try:
        table = cmap.get(name)
    except InvalidColorMapName as error:
        raise InputError(f"there is no colour map {name!r}; known are {', '.join(cmap.list()[:12])} …") from error
    return np.array([table[i][:3] for i in range(256)], dtype=np.uint8)


def _painted(codes: npt.NDArray[Any], mask: npt.NDArray[np.bool_] | None, palette: Mapping[str, Any]) -> Rgba:
    table = np.zeros((max([int(k) for k in palette] or [0]) + 2, 4), dtype=np.uint8)
    for code, colour in palette.items():
        table[int(code)] = colour
    rgba = table[np.clip(codes, 0, len(table) - 1).astype(np.intp)]
    if mask is not None:
        rgba[:, :, 3] = np.where(mask, rgba[:, :, 3], 0)
    return np.ascontiguousarray(rgba)
