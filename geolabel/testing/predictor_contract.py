"""The contract suite of predictors: subclass :class:`PredictorContract` in a test module and give `make`.

Example:
    class TestMine(PredictorContract):
        def make(self) -> Predictor:
            return MyPredictor()
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from geolabel.core.georef import Georeference, Window
from geolabel.core.scene import Band, Chip, RenderSpec
from geolabel.core.shapes import to_shapely
from geolabel.core.taxonomy import LabelClass, Taxonomy
from geolabel.predict.contract import PREDICTOR_API, ChipInput, ChipPrediction, PredictContext, Predictor

TAXONOMY = Taxonomy(
    name="contract",
    version="1",
    classes=(
        LabelClass(id=1, name="building", shapes=("polygon",), prompts=("roof",), rectangular=True),
        LabelClass(id=2, name="water", shapes=("polygon", "mask")),
    ),
)


def make_chip_input(pixels: Any, *, gsd_m: float = 0.5, valid: Any = None, chip_id: str = "contract-chip") -> ChipInput:
    """Make a chip from a (band, row, col) array of any dtype, on the ground near Kampala."""
    array = np.asarray(pixels)
    bands, height, width = array.shape
    georef = Georeference(crs="EPSG:32636", transform=(gsd_m, 0, 450000, 0, -gsd_m, 35000), width=width, height=height)
    render = RenderSpec(bands=(1, 2, 3) if bands >= 3 else (1,), rescale=((0.0, 255.0),) * (3 if bands >= 3 else 1))
    chip = Chip(
        id=chip_id,
        scene_id="contract",
        window=Window(col=0, row=0, width=width, height=height),
        georef=georef,
        render=render,
    )
    mask = np.isfinite(array).all(axis=0) if valid is None else np.asarray(valid, dtype=bool)
    finite = np.nan_to_num(array.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    scaled = ((finite - low) / max(high - low, 1e-9) * 255).astype(np.uint8)
    planes = scaled[:3] if bands >= 3 else np.repeat(scaled[:1], 3, axis=0)
    rgb = np.ascontiguousarray(np.moveaxis(planes, 0, -1)) * mask[..., None].astype(np.uint8)
    names = ("red", "green", "blue", "nir")
    return ChipInput(
        chip=chip,
        scene=None,
        pixels=array,
        valid=mask,
        rgb=rgb,
        bands=tuple(Band(index=i + 1, name=names[i] if i < 4 and bands >= 3 else f"b{i + 1}") for i in range(bands)),
    )


def odd_chips() -> dict[str, ChipInput]:
    """Return chips that a predictor must answer without failing: odd dtypes, holes, sizes."""
    rng = np.random.default_rng(7)
    nan = rng.random((3, 64, 64)).astype(np.float32)
    nan[:, 10:30, 10:30] = np.nan
    return {
        "uint8 rgb": make_chip_input(rng.integers(0, 255, (3, 64, 64), dtype=np.uint8)),
        "uint16 four bands": make_chip_input(rng.integers(0, 10000, (4, 64, 64), dtype=np.uint16)),
        "one band": make_chip_input(rng.integers(0, 4000, (1, 64, 64), dtype=np.uint16)),
        "float with NaN": make_chip_input(nan),
        "int16 negative": make_chip_input(rng.integers(-9999, 3000, (3, 40, 56), dtype=np.int16)),
        "all nodata": make_chip_input(np.zeros((3, 64, 64), np.uint8), valid=np.zeros((64, 64), bool)),
        "constant": make_chip_input(np.full((3, 64, 64), 80, np.uint8)),
        "tiny": make_chip_input(rng.integers(0, 255, (3, 3, 5), dtype=np.uint8)),
        "one pixel": make_chip_input(rng.integers(0, 255, (3, 1, 1), dtype=np.uint8)),
    }


class PredictorContract:
    """Tests that every predictor must pass; pytest collects them in a subclass whose name starts with Test."""

    device = "cpu"

    def make(self) -> Predictor:
        """Return a fresh, unloaded predictor."""
        raise NotImplementedError

    def context(self) -> PredictContext:
        """Return the project to predict for; override where a trained head is needed."""
        return PredictContext(project_id="contract", taxonomy=TAXONOMY)

    def loaded(self) -> Predictor:
        """Return a loaded predictor."""
        predictor = self.make()
        predictor.load(self.device)
        return predictor

    def test_spec_is_complete(self) -> None:
        """The spec names itself, its version and sane limits, before anything is loaded."""
        spec = self.make().spec
        _require(spec.api == PREDICTOR_API, f"api is {spec.api}, must be {PREDICTOR_API}")
        _require(bool(spec.name and spec.version), "name and version must not be empty")
        _require(spec.max_batch >= 1 and spec.min_bands >= 1, "max_batch and min_bands are at least 1")
        _require(spec.gsd_m is None or 0 < spec.gsd_m[0] <= spec.gsd_m[1], f"gsd_m {spec.gsd_m} must be (low, high)")

    def test_one_answer_per_chip_in_order(self) -> None:
        """A batch gives as many answers as chips, each with its chip's id."""
        predictor = self.loaded()
        chips = list(odd_chips().values())[: predictor.spec.max_batch]
        answers = predictor.predict(chips, self.context())
        _require(
            [a.chip_id for a in answers] == [c.chip.id for c in chips], "answers must follow the chips, one for each"
        )

    def test_odd_chips_are_answered(self) -> None:
        """Odd dtypes, holes and sizes give regions or a sentence, never an exception."""
        predictor = self.loaded()
        for name, chip in odd_chips().items():
            answers = predictor.predict([chip], self.context())
            _require(len(answers) == 1, f"{name}: one answer expected, got {len(answers)}")
            check_answer(answers[0], chip, self.context(), class_aware=predictor.spec.class_aware, what=name)

    def test_empty_batch(self) -> None:
        """No chips, no answers."""
        _require(self.loaded().predict([], self.context()) == [], "an empty batch gives an empty list")

    def test_same_input_same_output(self) -> None:
        """Predicting twice gives the same regions with the same ids."""
        predictor = self.loaded()
        chip = odd_chips()["uint8 rgb"]
        first = predictor.predict([chip], self.context())[0]
        second = predictor.predict([chip], self.context())[0]
        _require(first.regions == second.regions, "regions must be the same when asked twice")


def check_answer(
    answer: ChipPrediction, chip: ChipInput, context: PredictContext, *, class_aware: bool, what: str = "chip"
) -> None:
    """Check one answer against the contract.

    Raises:
        AssertionError: with a sentence that says what broke it.
    """
    _require(bool(answer.reason or answer.error), f"{what}: a reason or an error must be given")
    _require(not (answer.error and answer.regions), f"{what}: an answer with an error has no regions")
    _require(answer.score is None or 0.0 <= answer.score <= 1.0, f"{what}: score {answer.score} must lie in 0 to 1")
    ids = [region.id for region in answer.regions]
    _require(len(set(ids)) == len(ids), f"{what}: region ids must be unique")
    for region in answer.regions:
        _require(len(region.id) >= 10, f"{what}: region id {region.id!r} must have at least 10 characters")
        score = region.score
        _require(score is not None and math.isfinite(score) and 0 <= score <= 1, f"{what}: region score {score}")
        if class_aware:
            _require(region.label in context.taxonomy, f"{what}: label {region.label!r} is not in the taxonomy")
        geometry = to_shapely(region.shape)
        xmin, ymin, xmax, ymax = geometry.bounds
        inside = xmin >= -1e-6 and ymin >= -1e-6 and xmax <= chip.width + 1e-6 and ymax <= chip.height + 1e-6
        _require(inside, f"{what}: region {region.id} reaches outside the chip: {geometry.bounds}")
    if answer.uncertainty is not None:
        _require(answer.uncertainty.shape == chip.valid.shape, f"{what}: uncertainty must have the chip's shape")


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise AssertionError(sentence)
