"""Steps of a render, by name and in order, on raw values; each is recorded in the chip's `RenderSpec`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from geolabel.core.scene import Scene
from geolabel.errors import InputError
from geolabel.raster import radiometry, speckle

Array = npt.NDArray[Any]
STEPS = ("scale", "toa", "dos", "sigma0", "intensity", "decibel", "lee", "refined_lee", "median")


def apply_steps(
    array: Array,
    mask: npt.NDArray[np.bool_] | None,
    bands: Sequence[int],
    steps: Sequence[Mapping[str, Any]],
    scene: Scene,
) -> Array:
    """Apply steps to (band, row, col) values.

    Args:
        array: Raw values of `bands`.
        mask: (row, col) of valid pixels, or None.
        bands: GDAL indexes.
        steps: {"op": name, …}: scale; toa; dos {"dark"}; sigma0 {"lut"}; intensity; decibel {"of"}; lee and refined_lee
            {"size", "looks"}; median {"size"}.
        scene: For scale, offset and radiometric facts.

    Raises:
        InputError: a step is unknown, or the scene's metadata doesn't say what it needs.
    """
    del mask
    for step in steps:
        array = _apply(str(step.get("op", "")), step, array, list(bands), scene)
    return array


def _apply(op: str, step: Mapping[str, Any], array: Array, bands: list[int], scene: Scene) -> Array:
    match op:
        case "scale":
            by_index = {band.index: band for band in scene.bands}
            gain = np.array([by_index[b].scale for b in bands], np.float32)[:, None, None]
            add = np.array([by_index[b].offset for b in bands], np.float32)[:, None, None]
            return array.astype(np.float32) * gain + add
        case "toa":
            return radiometry.toa_of(array, bands, scene.properties.get("radiometry") or {})
        case "dos":
            dark = step.get("dark") or scene_dark(scene, bands)
            return radiometry.dark_object(array, np.array(dark))
        case "sigma0":
            return radiometry.sigma0(array, float(step.get("lut", 1.0)))
        case "intensity":
            return np.asarray(np.abs(array).astype(np.float32) ** 2, np.float32)
        case "decibel":
            return radiometry.decibel(array, of=str(step.get("of", "intensity")))
        case "lee" | "refined_lee":
            filter_ = speckle.lee if op == "lee" else speckle.refined_lee
            size, looks = int(step.get("size", 7)), float(step.get("looks", 1.0))
            return np.stack([filter_(np.asarray(p, np.float32), size=size, looks=looks) for p in array])
        case "median":
            return np.stack([speckle.median(np.asarray(p, np.float32), size=int(step.get("size", 5))) for p in array])
        case _:
            raise InputError(f"the step {op!r} is unknown; known are {', '.join(STEPS)}")


def scene_dark(scene: Scene, bands: Sequence[int]) -> list[float]:
    """Return the dark objects of a scene's bands: from its record, else from a look at the whole scene."""
    known = scene.properties.get("dark_objects") or {}
    if all(str(b) in known for b in bands):
        return [float(known[str(b)]) for b in bands]
    from geolabel.raster.pool import opened
    from geolabel.raster.stretch import sample

    with opened(scene, None) as raster:
        taken = sample(raster, list(bands))
    return radiometry.dark_objects(taken.array, taken.mask)
