"""What is valid, cloudy, shadowed or unreadable in each chip, and the footprint of what is valid."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from geolabel.core.georef import Window
from geolabel.core.plans import Plan, chip_ids
from geolabel.core.scene import RenderSpec, Scene
from geolabel.errors import InputError, PluginError, RasterReadError
from geolabel.pipeline.ingest_report import IngestOptions
from geolabel.raster.location import is_remote
from geolabel.raster.pool import DatasetPool, opened
from geolabel.raster.read import read_window
from geolabel.services import Services

Progress = Callable[[int, int | None, str], None]
#: Rasters up to this many pixels are read whole at ingest, unless told otherwise: half a second each 30 Mpx.
_READ_ALL_PX = 100_000_000
_TRIES = 3
_MOST_LISTED = 1000
_EVERY = 200
#: Codes of masks: what `qa` and mask predictors give.
CLEAR, CLOUD, SHADOW, WATER = 0, 1, 2, 3


@dataclass(slots=True, kw_only=True)
class Looked:
    """What `look_at_chips` found: float32 fractions per window, failures, and the footprint (GeoJSON) or None."""

    fractions: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    failed: list[dict[str, Any]] = field(default_factory=list)
    footprint: dict[str, Any] | None = None


def look_at_chips(
    services: Services, scene: Scene, render: RenderSpec, plan: Plan, asked: IngestOptions,
    states: npt.NDArray[np.object_], reasons: npt.NDArray[np.object_], report: Progress,
) -> Looked:  # fmt: skip
    """Find fractions and failures, and mark chips that miss a threshold; `states` and `reasons` are changed in place.

    Scenes up to 100 Mpx on local disk are read chip by chip, so that fractions are exact and every unreadable chip is
    known; so is any scene that is damaged. Larger and remote ones (unless `read` is "all") get fractions from one look
    at the whole at 4096 px an edge.
    """
    from geolabel.raster.footprint import fractions_from_overview

    out = Looked()
    damaged = bool(scene.properties.get("damaged"))
    exact = (
        asked.read == "all"
        or damaged
        or (
            asked.read == "auto"
            and scene.georef.width * scene.georef.height <= _READ_ALL_PX
            and not is_remote(scene.uri)
        )
    )
    need_masks = bool(asked.qa or asked.mask_predictor)
    if exact:
        _read_all(scene, plan, asked, render, states, reasons, out, report)
    elif scene.properties.get("mask", "none") != "none" or need_masks:
        masks = _MaskReader(scene, asked)
        out.fractions = fractions_from_overview(scene, plan.windows, masks.of if masks.active else None)
    valid = out.fractions.get("valid")
    if valid is None:
        valid = np.ones(len(plan.windows), dtype=np.float32)
        out.fractions["valid"] = valid
    _thresholds(asked, out, states, reasons)
    out.footprint = _footprint(scene)
    return out


def _thresholds(
    asked: IngestOptions, out: Looked, states: npt.NDArray[np.object_], reasons: npt.NDArray[np.object_]
) -> None:
    valid = out.fractions["valid"]
    rules = [(valid <= 0.0, "without any data")]
    rules.append((valid < asked.min_valid, f"with less than {asked.min_valid:.0%} data"))
    cloud, shadow = out.fractions.get("cloud"), out.fractions.get("shadow")
    if cloud is not None:
        rules.append((cloud > asked.max_cloud, f"with more than {asked.max_cloud:.0%} cloud"))
    if shadow is not None:
        rules.append((shadow > asked.max_shadow, f"with more than {asked.max_shadow:.0%} cloud shadow"))
    for where, why in rules:
        hit = where & (states == "planned")
        states[hit], reasons[hit] = "skipped", why


def _read_all(
    scene: Scene, plan: Plan, asked: IngestOptions, render: RenderSpec, states: npt.NDArray[np.object_],
    reasons: npt.NDArray[np.object_], out: Looked, report: Progress,
) -> None:  # fmt: skip
    count = len(plan.windows)
    valid = np.zeros(count, dtype=np.float32)
    masks = _MaskReader(scene, asked)
    coded: dict[str, npt.NDArray[np.float32]] = {
        name: np.zeros(count, dtype=np.float32) for name in (("cloud", "shadow", "water") if masks.active else ())
    }
    pool = DatasetPool()
    bands = [band.index for band in scene.bands]
    try:
        for i, values in enumerate(plan.windows.tolist()):
            if states[i] != "planned":
                continue
            window = Window(col=values[0], row=values[1], width=values[2], height=values[3])
            error, tries = "", 0
            while tries < _TRIES:
                tries += 1
                try:
                    valid[i] = _look(scene, window, bands, masks, coded, i, pool)
                    error = ""
                    break
                except RasterReadError as problem:
                    error = problem.message
            if error:
                states[i], reasons[i] = "failed", error
                if len(out.failed) < _MOST_LISTED:
                    identity = chip_ids(scene.id, plan.windows[i : i + 1], plan.size_px, render.digest())[0]
                    out.failed.append({"chip_id": identity, "window": values, "error": error, "tries": tries})
            if i % _EVERY == 0:
                report(i, count, f"reading {scene.name}")
    finally:
        pool.close()
        masks.close()
    out.fractions = {"valid": valid, **coded}


def _look(
    scene: Scene, window: Window, bands: list[int], masks: _MaskReader, coded: dict[str, npt.NDArray[np.float32]],
    place: int, pool: DatasetPool,
) -> float:  # fmt: skip
    with pool.raster(scene) as raster:
        array, mask = read_window(raster, bands, window, (window.width, window.height))
    share = 1.0 if mask is None else float(mask.mean())
    if coded and share > 0:
        codes = masks.of(window, (window.width, window.height), array)
        inside = np.ones(codes.shape, dtype=bool) if mask is None else mask
        total = max(int(inside.sum()), 1)
        for name, code in (("cloud", CLOUD), ("shadow", SHADOW), ("water", WATER)):
            coded[name][place] = float(((codes == code) & inside).sum()) / total
    return share


class _MaskReader:
    """Gives codes (clear, cloud, shadow, water) of a window, from a QA band, a mask raster or a mask predictor."""

    def __init__(self, scene: Scene, asked: IngestOptions) -> None:
        from geolabel.raster.masks import qa_decoder

        self._scene, self._band, self._other = scene, 0, None
        self._decode = qa_decoder(asked.qa) if asked.qa else None
        self._predict = load_mask_predictor(asked.mask_predictor) if asked.mask_predictor else None
        self._pool = DatasetPool()
        source = asked.qa_source
        if self._decode is not None:
            if source.startswith("b") and source[1:].isdigit():
                self._band = int(source[1:])
            elif source:
                from geolabel.raster.scene import OpenOptions, open_scene

                aligned = OpenOptions(align_to=scene.georef.to_json())
                self._other = open_scene(source, aligned).require()
            else:
                raise InputError("a QA mask needs --qa-source: a band of the scene (b5) or a mask raster")
        self.active = self._decode is not None or self._predict is not None

    def of(
        self, window: Window, size_px: tuple[int, int], array: npt.NDArray[Any] | None = None
    ) -> npt.NDArray[np.uint8]:
        """Return (row, col) uint8 codes of a window at a size (width, height)."""
        out: npt.NDArray[np.uint8] = np.zeros((size_px[1], size_px[0]), dtype=np.uint8)
        if self._decode is not None:
            holder = self._other or self._scene
            with opened(holder, self._pool) as raster:
                values, _ = read_window(raster, [self._band or 1], window, size_px, nearest=True)
            out = self._decode(values[0])
        if self._predict is not None:
            if array is None:
                with opened(self._scene, self._pool) as raster:
                    array, _ = read_window(raster, [b.index for b in self._scene.bands], window, size_px)
            guessed = np.asarray(self._predict(array, self._scene.bands))
            if guessed.shape != array.shape[1:]:
                raise PluginError(f"the mask predictor gave shape {guessed.shape}; it must give {array.shape[1:]}")
            out = np.where(out == CLEAR, guessed, out).astype(np.uint8)
        return out

    def close(self) -> None:
        """Close its rasters."""
        self._pool.close()


def load_mask_predictor(name: str) -> Callable[..., Any]:
    """Return the function "module:function" that turns (band, row, col) values and bands into (row, col) codes.

    "brightness" names the built-in one: bright and white is cloud, dark in all bands is shadow.

    Raises:
        PluginError: it can't be imported.
    """
    if name == "brightness":
        from geolabel.raster.masks import brightness_mask

        return brightness_mask
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise PluginError(f"mask predictor {name!r} can't be loaded ({error}); name it module:function") from error
    if not callable(found):
        raise PluginError(f"the mask predictor {name!r} is no function")
    return found  # type: ignore[no-any-return]


def _footprint(scene: Scene) -> dict[str, Any] | None:
    from geolabel.raster.footprint import footprint_of

    try:
        return footprint_of(scene)
    except RasterReadError:
        return None  # a damaged file has issue RAS020; its outline stays the footprint


def iterate(windows: npt.NDArray[np.int64]) -> Iterator[Window]:
    """Yield the windows of an array."""
    for col, row, width, height in windows.tolist():
        yield Window(col=col, row=row, width=width, height=height)
