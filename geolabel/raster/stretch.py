"""How a scene is shown unless told otherwise: bands and one stretch for the whole scene, from its overviews."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from geolabel.core.georef import Window
from geolabel.core.scene import Band, RenderSpec, Scene
from geolabel.errors import RasterReadError
from geolabel.raster.pool import Raster

_SAMPLE_PX = 1024
_PARTS = 8
_PERCENTILES = (2.0, 98.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A small picture of a whole raster.

    Attributes:
        array: (band, row, col) nearest values, at most 1024 px an edge; (band, 0, 0) when nothing can be read.
        mask: (row, col) bool of valid pixels, or None when all are.
        parts, failed: How many parts were read one by one, and how many of them can't be; 0 of 1 when all is well.
        error: The first failure, a sentence.
    """

    array: npt.NDArray[Any]
    mask: npt.NDArray[np.bool_] | None
    bands: tuple[int, ...]
    parts: int = 1
    failed: int = 0
    error: str = ""

    def of(self, bands: Sequence[int]) -> npt.NDArray[Any]:
        """Return the planes of some bands."""
        return self.array[[self.bands.index(b) for b in bands]]


def sample(raster: Raster, bands: Sequence[int]) -> Sample:
    """Read the whole raster at no more than 1024 px an edge, from overviews where it has them.

    A raster that can't be read as a whole is read in 64 parts, so that one bad block does not hide the rest.
    """
    whole = Window(col=0, row=0, width=raster.width, height=raster.height)
    factor = max(1.0, max(raster.width, raster.height) / _SAMPLE_PX)
    size = (max(1, round(raster.width / factor)), max(1, round(raster.height / factor)))
    try:
        array, mask = raster.read(bands, whole, size, nearest=True)
    except RasterReadError as error:
        return _sample_parts(raster, bands, factor, error.message)
    return Sample(array=array, mask=mask, bands=tuple(bands))


def _sample_parts(raster: Raster, bands: Sequence[int], factor: float, error: str) -> Sample:
    step_x, step_y = -(-raster.width // _PARTS), -(-raster.height // _PARTS)
    good: list[npt.NDArray[Any]] = []
    masks: list[npt.NDArray[np.bool_]] = []
    parts = 0
    for row in range(0, raster.height, step_y):
        for col in range(0, raster.width, step_x):
            parts += 1
            part = Window(
                col=col, row=row, width=min(step_x, raster.width - col), height=min(step_y, raster.height - row)
            )
            size = (max(1, round(part.width / factor)), max(1, round(part.height / factor)))
            try:
                array, mask = raster.read(bands, part, size, nearest=True)
            except RasterReadError:
                continue
            # Order does not matter to a stretch: parts are strung together as one row of pixels.
            good.append(array.reshape(len(bands), 1, -1))
            masks.append(np.ones(array[0].size, dtype=bool) if mask is None else mask.reshape(-1))
    empty = np.zeros((len(bands), 0, 0), dtype=np.uint8)
    return Sample(
        array=np.concatenate(good, axis=2) if good else empty, mask=np.concatenate(masks)[None] if masks else None,
        bands=tuple(bands), parts=parts, failed=parts - len(good), error=error,
    )  # fmt: skip


def default_bands(bands: Sequence[Band], interpretation: Mapping[int, str]) -> tuple[int, ...]:
    """Choose red, green and blue by colour interpretation, then by name, then by wavelength, else the first ones.

    Args:
        bands: Of the scene.
        interpretation: Colour interpretation by band index ("red", "gray", …).
    """
    by_colour = {colour: index for index, colour in sorted(interpretation.items(), reverse=True)}
    if {"red", "green", "blue"} <= set(by_colour):
        return by_colour["red"], by_colour["green"], by_colour["blue"]
    names = {band.name.lower(): band.index for band in reversed(bands)}
    for trio in (("red", "green", "blue"), ("b04", "b03", "b02"), ("b4", "b3", "b2"), ("sr_b4", "sr_b3", "sr_b2")):
        if all(name in names for name in trio) and len(bands) > 3:
            return names[trio[0]], names[trio[1]], names[trio[2]]
    known = [b for b in bands if b.wavelength_nm is not None]
    if len(known) >= 3:
        near = [min(known, key=lambda b: abs((b.wavelength_nm or 0) - w)).index for w in (660.0, 560.0, 490.0)]
        if len(set(near)) == 3:
            return near[0], near[1], near[2]
    if len(bands) >= 3:
        return bands[0].index, bands[1].index, bands[2].index
    return (bands[0].index,)


def stretch_of(
    array: npt.NDArray[Any], mask: npt.NDArray[np.bool_] | None, percentiles: tuple[float, float] = _PERCENTILES
) -> tuple[tuple[float, float], ...]:
    """Return (low, high) per band of (band, row, col): percentiles of the valid values; never an empty span."""
    pairs = []
    for plane in array:
        values = plane if mask is None else plane[mask]
        values = values[np.isfinite(values)] if values.dtype.kind == "f" else values
        if values.size == 0:
            pairs.append((0.0, 1.0))
            continue
        low, high = (float(v) for v in np.percentile(values, percentiles))
        if high <= low:
            low, high = float(values.min()), float(values.max())
        pairs.append((low, high if high > low else low + 1.0))
    return tuple(pairs)


def default_render(scene: Scene, taken: Sample, interpretation: Mapping[int, str]) -> RenderSpec:
    """Return the render of a scene: its palette, its RGB as stored (uint8), or a percentile stretch."""
    if scene.properties.get("palette"):
        return RenderSpec(bands=(scene.bands[0].index,), rescale=((0.0, 255.0),), colormap="palette", name="palette")
    bands = default_bands(scene.bands, interpretation)
    name = "true-colour" if len(bands) == 3 else "grey"
    colours = [interpretation.get(b, "") for b in bands]
    if scene.dtype == "uint8" and (len(bands) == 1 or colours == ["red", "green", "blue"]):
        return RenderSpec(bands=bands, rescale=((0.0, 255.0),) * len(bands), name=name)
    array, mask = taken.of(bands), taken.mask
    steps: tuple[Mapping[str, Any], ...] = ()
    if array.dtype.kind == "c":
        # Amplitudes of radar have a very long tail: decibels show what is there.
        with np.errstate(divide="ignore"):
            array = 20.0 * np.log10(np.abs(array).astype(np.float32))
        steps, name = ({"op": "decibel", "of": "amplitude"},), "decibel"
    return RenderSpec(bands=bands, rescale=stretch_of(array, mask), name=name, steps=steps)
