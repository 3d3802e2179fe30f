"""Who is asked, who next and why."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from geolabel.core.labels import Region
from geolabel.core.shapes import Box
from geolabel.labelstudio.config import LabelConfig
from geolabel.pipeline import chain
from geolabel.pipeline.chain import ChainStep, ProjectView, predicted_values, run_chain, score_floors
from geolabel.predict.contract import ChipInput, ChipPrediction, PredictContext, PredictorSpec
from geolabel.predict.route import thresholds_of
from geolabel.testing.predictor_contract import make_chip_input

CONFIG = LabelConfig.parse("""
<View>
  <Image name="image" value="$image"/>
  <PolygonLabels name="polygon" toName="image" model_score_threshold="0.4">
    <Label value="Roof" predicted_values="building, house"/>
    <Label value="Canal"/>
  </PolygonLabels>
</View>
""")


class Model:
    """A predictor that does as told."""

    def __init__(self, name: str, answers: dict[str, ChipPrediction], broken: tuple[str, ...] = ()) -> None:
        self.spec = PredictorSpec(name=name, version="1", max_batch=2)
        self._answers = answers
        self._broken = broken
        self.asked: list[str] = []

    def load(self, device: str) -> None:
        raise AssertionError("the chain must take models from the process's own")

    def predict(self, batch: Sequence[ChipInput], context: PredictContext) -> list[ChipPrediction]:
        if any(item.chip.id in self._broken for item in batch):
            raise RuntimeError("out of luck")
        self.asked += [item.chip.id for item in batch]
        return [
            self._answers.get(item.chip.id, ChipPrediction(chip_id=item.chip.id, score=0.1, reason="nothing"))
            for item in batch
        ]


def region(label: str, score: float, number: int = 0) -> Region:
    return Region(id=f"region-{label}-{number}", shape=Box(xmin=1, ymin=1, xmax=9, ymax=9), label=label, score=score)


def said(chip_id: str, *regions: Region, **fields: Any) -> ChipPrediction:
    return ChipPrediction(chip_id=chip_id, regions=regions, **{"score": 0.9, "reason": "looked", **fields})


def chips(*names: str) -> list[ChipInput]:
    return [make_chip_input(np.zeros((3, 16, 16), np.uint8), chip_id=name) for name in names]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(models: list[Model], *names: str) -> dict[str, chain.ChipOutcome]:
        by_name = {model.spec.name: model for model in models}
        loaded = SimpleNamespace(get=lambda name, device, options: by_name[name])
        monkeypatch.setattr(chain, "make_predictor", lambda name, options: by_name[name])
        monkeypatch.setattr(chain, "process_models", lambda: loaded)
        taxonomy = CONFIG.taxonomy()
        view = ProjectView(
            project_id="1",
            config=CONFIG,
            taxonomy=taxonomy,
            steps=tuple(ChainStep(name=name) for name in by_name),
            left_out={},
            context=PredictContext(
                project_id="1", taxonomy=taxonomy, options={"predicted_values": predicted_values(CONFIG)}
            ),
            calibration={},
            thresholds=thresholds_of(taxonomy, score_floors(CONFIG)),
            version="v",
        )
        services = SimpleNamespace(settings=SimpleNamespace(predict=SimpleNamespace(device="cpu")))
        outcomes = run_chain(services, view, chips(*names))  # type: ignore[arg-type]
        assert [outcome.chip.chip.id for outcome in outcomes] == list(names)
        return {outcome.chip.chip.id: outcome for outcome in outcomes}

    return run


def test_the_attributes_of_the_label_config_are_read() -> None:
    assert score_floors(CONFIG) == {"Roof": 0.4, "Canal": 0.4}
    assert predicted_values(CONFIG) == {"building": "Roof", "house": "Roof"}


def test_only_chips_that_need_it_go_on(ask: Any) -> None:
    first = Model(
        "text",
        {
            "sure": said("sure", region("building", 0.9)),
            "gated": said("gated", silenced=True),
            "weak": said("weak", region("Canal", 0.3)),
            "empty": said("empty"),
        },
    )
    second = Model("fewshot", {"gated": said("gated", region("Roof", 0.8)), "weak": said("weak", region("Canal", 0.5))})
    found = ask([first, second], "sure", "gated", "weak", "empty", "unknown")
    assert [found[name].step for name in found] == ["text", "fewshot", "fewshot", "text", "manual"]
    assert second.asked == ["gated", "weak", "unknown"]
    assert found["sure"].regions[0].label == "Roof", "predicted_values names the class"
    assert "presence gate" in found["gated"].reason
    assert found["gated"].reason.startswith("text: ")
    assert " → fewshot: " in found["gated"].reason
    assert found["empty"].routed.route == "empty"
    assert found["unknown"].score == 0.0


def test_a_chip_that_breaks_a_model_costs_no_other(ask: Any) -> None:
    names = [f"chip-{n}" for n in range(5)]
    model = Model("text", {name: said(name, region("Roof", 0.9)) for name in names}, broken=("chip-3",))
    found = ask([model], *names)
    assert [found[name].routed.route for name in names] == ["accept"] * 3 + ["manual", "accept"]
    assert "out of luck" in found["chip-3"].reason


def test_classes_that_the_project_lacks_are_counted_out(ask: Any) -> None:
    model = Model("text", {"a": said("a", region("ship", 0.9), region("Roof", 0.9))})
    found = ask([model], "a")
    assert [r.label for r in found["a"].regions] == ["Roof"]
    assert "1 of classes that the project doesn't have" in found["a"].reason
