"""The built-in trained predictors, run through the suite that plugin authors run."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from geolabel.core.labels import Region
from geolabel.core.shapes import Box
from geolabel.predict.contract import ChipInput, PredictContext, Predictor
from geolabel.predict.fewshot import FewShotPredictor
from geolabel.predict.pixelhead import LabelledChip, PixelHead, fit_pixel_head
from geolabel.predict.regions import RegionPredictor, fit_region_head
from geolabel.predict.registry import LoadedModels, make_extractor, make_predictor
from geolabel.testing.predictor_contract import TAXONOMY, PredictorContract, make_chip_input


def picture(seed: int = 3) -> tuple[ChipInput, tuple[Region, ...]]:
    """A green chip with six bright roofs."""
    rng = np.random.default_rng(seed)
    pixels = np.stack([rng.normal(level, 6, (96, 96)) for level in (60, 90, 50)]).clip(0, 255)
    regions = []
    for n, (x, y) in enumerate([(8, 8), (40, 8), (72, 8), (8, 50), (40, 50), (72, 50)]):
        pixels[:, y : y + 18, x : x + 18] = rng.normal(190, 8, (3, 18, 18))
        regions.append(
            Region(id=f"drawn-roof-{n}", shape=Box(xmin=x, ymin=y, xmax=x + 18, ymax=y + 18), label="building")
        )
    return make_chip_input(pixels.clip(0, 255).astype(np.uint8), chip_id=f"roofs-{seed}"), tuple(regions)


@lru_cache(maxsize=1)
def pixel_head() -> PixelHead:
    chip, regions = picture()
    head = fit_pixel_head([LabelledChip(chip=chip, regions=regions)], TAXONOMY, make_extractor("classical"))
    assert head is not None
    return head


@lru_cache(maxsize=1)
def region_head() -> PixelHead:
    chip, regions = picture()
    head = fit_region_head([LabelledChip(chip=chip, regions=regions)], TAXONOMY)
    assert head is not None
    return head


class TestFewShot(PredictorContract):
    def make(self) -> Predictor:
        return FewShotPredictor()

    def context(self) -> PredictContext:
        return PredictContext(project_id="7", taxonomy=TAXONOMY, heads={"fewshot": pixel_head()})


class TestFewShotWithoutLabels(PredictorContract):
    def make(self) -> Predictor:
        return FewShotPredictor()


class TestRegions(PredictorContract):
    def make(self) -> Predictor:
        return RegionPredictor()

    def context(self) -> PredictContext:
        return PredictContext(project_id="7", taxonomy=TAXONOMY, heads={"regions": region_head()})


@pytest.mark.parametrize(
    ("name", "predictor", "head"),
    [("fewshot", FewShotPredictor, pixel_head), ("regions", RegionPredictor, region_head)],
)
def test_roofs_of_another_chip_are_found(name, predictor, head) -> None:
    chip, drawn = picture(seed=11)
    context = PredictContext(project_id="7", taxonomy=TAXONOMY, heads={name: head()})
    model = predictor()
    model.load("cpu")
    answer = model.predict([chip], context)[0]
    assert len(answer.regions) == len(drawn), answer.reason
    assert {region.label for region in answer.regions} == {"building"}


def test_without_labels_it_says_so() -> None:
    chip, _ = picture()
    answer = FewShotPredictor().predict([chip], PredictContext(project_id="7", taxonomy=TAXONOMY))[0]
    assert answer.regions == ()
    assert "no labels yet" in answer.reason


def test_a_head_comes_back_from_its_bytes() -> None:
    head = pixel_head()
    again = PixelHead.from_bytes(head.to_bytes())
    assert again.sha256() == head.sha256()
    vectors = head.table.features[:50]
    assert np.array_equal(again.probabilities(vectors), head.probabilities(vectors))


def test_large_chips_are_predicted_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    chip, _ = picture()
    tiled = make_chip_input(np.tile(chip.pixels, (1, 3, 3)))
    context = PredictContext(project_id="7", taxonomy=TAXONOMY, heads={"fewshot": pixel_head()})
    whole = FewShotPredictor().predict([tiled], context)[0]
    monkeypatch.setattr("geolabel.predict.fewshot._BLOCK_PX", 96)
    blocks = FewShotPredictor().predict([tiled], context)[0]
    assert blocks.error == ""
    assert len(blocks.regions) == len(whole.regions) == 54


def test_a_model_is_loaded_once_for_all_threads() -> None:
    from concurrent.futures import ThreadPoolExecutor

    models = LoadedModels()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: models.get("fewshot"), range(16)))
    assert len({id(item) for item in found}) == 1
    assert models.loaded() == ["fewshot@cpu"]
    assert make_predictor("fewshot") is not found[0]
