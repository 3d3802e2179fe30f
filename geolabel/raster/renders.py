"""Named renders: band combinations and indices by the names or wavelengths of bands, from `ls_configs/renders.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from geolabel.core.scene import RenderSpec, Scene
from geolabel.errors import ConfigError, InputError
from geolabel.raster.expression import bands_in
from geolabel.raster.pool import opened
from geolabel.raster.render import step_margin
from geolabel.raster.stretch import sample, stretch_of

_FILE = Path(__file__).parent.parent.parent / "ls_configs" / "renders.yaml"
#: Names that providers use for the same part of the spectrum.
_ALIASES: dict[str, tuple[str, ...]] = {
    "coastal": ("coastal", "b01"),
    "blue": ("blue", "b02"),
    "green": ("green", "b03"),
    "red": ("red", "b04"),
    "nir": ("nir", "nir08", "b08", "b8a"),
    "swir1": ("swir1", "swir16", "b11"),
    "swir2": ("swir2", "swir22", "b12"),
}
_CENTRE_NM = {"coastal": 443, "blue": 490, "green": 560, "red": 660, "nir": 850, "swir1": 1610, "swir2": 2200}
_WITHIN_NM = {"coastal": 15, "blue": 40, "green": 40, "red": 40, "nir": 60, "swir1": 80, "swir2": 120}


@lru_cache(maxsize=4)
def named_renders(path: str = "") -> dict[str, dict[str, Any]]:
    """Return the named renders of a file, by name.

    Raises:
        ConfigError: the file can't be read.
    """
    import yaml

    file = Path(path) if path else _FILE
    try:
        return dict(yaml.safe_load(file.read_text("utf-8"))["renders"])
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ConfigError(f"the named renders in {file} can't be read: {error}") from error


def choose_render(scene: Scene, asked: str) -> RenderSpec:
    """Return the render of a scene: its default, a named one, bands such as "4,3,2", or an expression over b1, b2 ….

    A percentile stretch is computed once over the scene; a fixed one comes from the file.

    Raises:
        InputError: there is no such render, or the scene lacks a band that it needs.
    """
    if not asked:
        if scene.render is None:
            raise InputError(f"scene {scene.name} has no default render; ingest it again")
        return scene.render
    renders = named_renders()
    if asked in renders:
        return _from_definition(scene, asked, renders[asked])
    if all(part.strip().isdigit() for part in asked.split(",")):
        return stretched(scene, RenderSpec(bands=tuple(int(p) for p in asked.split(",")), rescale=(), name=asked))
    if "b" in asked and any(c.isdigit() for c in asked):
        return stretched(scene, RenderSpec(bands=(), rescale=(), expression=asked, name=asked[:40]))
    raise InputError(
        f"there is no render {asked!r}; known are {', '.join(renders)}, bands such as 4,3,2, or "
        "an expression over b1, b2 …"
    )


def _from_definition(scene: Scene, name: str, definition: Mapping[str, Any]) -> RenderSpec:
    rescale = tuple((float(low), float(high)) for low, high in definition.get("rescale") or ())
    spec = RenderSpec(
        bands=tuple(find_band(scene, b, name) for b in definition.get("bands") or ()),
        rescale=rescale,
        gamma=float(definition.get("gamma", 1.0)),
        expression=_expression(scene, str(definition.get("expression") or ""), name),
        colormap=str(definition.get("colormap") or ""),
        steps=tuple(dict(step) for step in definition.get("steps") or ()),
        name=name,
    )
    percentiles = definition.get("percentiles")
    return stretched(scene, spec, tuple(percentiles) if percentiles else (2.0, 98.0))


def _expression(scene: Scene, text: str, name: str) -> str:
    import re

    return re.sub(
        r"\b(" + "|".join(_ALIASES) + r")\b", lambda m: f"b{find_band(scene, m.group(1), name)}", text
    )  # "nir" → "b4"


def find_band(scene: Scene, wanted: str | int, render: str = "") -> int:
    """Return the index of a band by number, name, common name or wavelength.

    Raises:
        InputError: the scene has no such band.
    """
    if isinstance(wanted, int) or str(wanted).isdigit():
        if any(band.index == int(wanted) for band in scene.bands):
            return int(wanted)
    else:
        text = str(wanted).lower()
        for band in scene.bands:
            if band.name.lower() == text or band.name.lower() in _ALIASES.get(text, ()):
                return band.index
        centre = _CENTRE_NM.get(text)
        near = [
            b for b in scene.bands if centre and b.wavelength_nm and abs(b.wavelength_nm - centre) <= _WITHIN_NM[text]
        ]
        if centre and near:
            return min(near, key=lambda b: abs((b.wavelength_nm or 0) - centre)).index
        # The conventional order of four-band aerial imagery.
        if text in ("red", "green", "blue", "nir") and 3 <= len(scene.bands) <= 4 and _unnamed(scene):
            place = ("red", "green", "blue", "nir").index(text)
            if place < len(scene.bands):
                return scene.bands[place].index
    names = ", ".join(f"{b.index} {b.name}" for b in scene.bands)
    raise InputError(f"render {render!r} needs band {wanted!r}; {scene.name} has {names} (name them with --band-names)")


def _unnamed(scene: Scene) -> bool:
    return all(band.name.startswith("band") or band.name in ("red", "green", "blue") for band in scene.bands)


def stretched(scene: Scene, spec: RenderSpec, percentiles: tuple[float, ...] = (2.0, 98.0)) -> RenderSpec:
    """Return the render with its stretch computed over the whole scene, unless it has one."""
    if spec.rescale:
        return spec
    from geolabel.raster.expression import evaluate
    from geolabel.raster.render import bands_of
    from geolabel.raster.steps import apply_steps

    bands = bands_in(spec.expression) if spec.expression else spec.bands
    if len(bands) not in (1, 3) and not spec.expression:
        raise InputError(f"render {spec.name!r} has {len(bands)} bands; it must have one or three")
    bands_of(spec, scene)
    with opened(scene, None) as raster:
        taken = sample(raster, bands)
    array, mask = taken.array, taken.mask
    if spec.steps and array.size:
        quick = [step for step in spec.steps if not step_margin([step])]
        array = apply_steps(array, mask, bands, quick, scene)
    if array.dtype.kind == "c":
        array = np.abs(array)
    if spec.expression and array.size:
        array = evaluate(spec.expression, array, bands)[None]
    return replace(spec, rescale=stretch_of(array, mask, (percentiles[0], percentiles[1])))
