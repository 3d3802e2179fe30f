"""What a product's metadata says of radiometry, put into the scene's record."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from geolabel.core.scene import RenderSpec, Scene
from geolabel.errors import InputError
from geolabel.raster.radiometry import parse_mtl, parse_s2

_SENTINEL2 = ("b01", "b02", "b03", "b04", "b05", "b06", "b07", "b08", "b8a", "b09", "b10", "b11", "b12")
_S2_NAMES = {"coastal": 0, "blue": 1, "green": 2, "red": 3, "nir": 7, "nir08": 8, "swir16": 11, "swir22": 12}
_L8_NAMES = {"coastal": 1, "blue": 2, "green": 3, "red": 4, "nir": 5, "swir1": 6, "swir16": 6, "swir2": 7, "swir22": 7}


def with_metadata(scene: Scene, uri: str) -> Scene:
    """Return the scene with `properties["radiometry"]` from an MTL.txt or MTD_MSI….xml file.

    Raises:
        InputError: the file can't be read, is neither, or no band of the scene is in it.
    """
    try:
        text = Path(uri).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the metadata {uri} can't be read: {error}") from error
    facts = _sentinel2(scene, text) if uri.lower().endswith(".xml") else _landsat(scene, text)
    return replace(scene, properties={**scene.properties, "radiometry": facts})


def _landsat(scene: Scene, text: str) -> dict[str, Any]:
    numbers = parse_mtl(text)
    if "SUN_ELEVATION" not in numbers:
        raise InputError("the MTL file names no SUN_ELEVATION")
    bands: dict[str, list[float]] = {}
    for band in scene.bands:
        number = _number(band.name, _L8_NAMES)
        gain = numbers.get(f"REFLECTANCE_MULT_BAND_{number}")
        add = numbers.get(f"REFLECTANCE_ADD_BAND_{number}")
        if gain is not None and add is not None:
            bands[str(band.index)] = [gain, add]
    if not bands:
        raise InputError("no band of the scene is in the MTL file; name them with --band-names, such as B4,B3,B2")
    return {"kind": "landsat", "sun_elevation_deg": numbers["SUN_ELEVATION"], "bands": bands}


def _number(name: str, names: dict[str, int]) -> int | None:
    lower = name.lower()
    if lower in names:
        return names[lower]
    digits = lower.removeprefix("sr_").removeprefix("band").removeprefix("b").strip("_ ")
    return int(digits) if digits.isdigit() else None


def _sentinel2(scene: Scene, text: str) -> dict[str, Any]:
    facts = parse_s2(text)
    offsets: dict[int, float] = facts["offsets"]
    bands: dict[str, float] = {}
    for band in scene.bands:
        lower = band.name.lower()
        number = _SENTINEL2.index(lower) if lower in _SENTINEL2 else _S2_NAMES.get(lower)
        if number is not None:
            bands[str(band.index)] = offsets.get(number, 0.0)
    if not bands:
        raise InputError("no band of the scene is in the Sentinel-2 metadata; name them with --band-names B04,B03,B02")
    return {"kind": "sentinel2", "quantification": facts["quantification"], "bands": bands}


def with_dark_objects(scene: Scene, render: RenderSpec) -> RenderSpec:
    """Return the render with the scene's dark objects written into its `dos` step, so that all chips share them."""
    if not any(step.get("op") == "dos" and not step.get("dark") for step in render.steps):
        return render
    from geolabel.raster.render import bands_of
    from geolabel.raster.steps import scene_dark

    dark = [round(v, 6) for v in scene_dark(scene, bands_of(render, scene))]
    steps = tuple({**step, "dark": dark} if step.get("op") == "dos" else step for step in render.steps)
    return replace(render, steps=steps)
