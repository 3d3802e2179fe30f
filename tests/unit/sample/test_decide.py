"""When a new model takes over."""

from __future__ import annotations

from typing import Any

from geolabel.pipeline.holdout import Judged
from geolabel.pipeline.models import ModelVersion
from geolabel.pipeline.train import decide


def _model(version: str, **metrics: Any) -> ModelVersion:
    return ModelVersion(
        project_id="1", version=version, sha256=version, created="2026-01-01", chips=1, labels={}, metrics=metrics
    )


def test_a_worse_model_is_not_kept_and_an_equal_one_is() -> None:
    old = _model("old", judged=4)
    assert not decide(Judged(mean_iou=0.5), Judged(mean_iou=0.6), old, _model("new"))[0]
    assert decide(Judged(mean_iou=0.6), Judged(mean_iou=0.6), old, _model("new"))[0]
    kept, reason = decide(Judged(mean_iou=0.7), Judged(mean_iou=0.6), old, _model("new"))
    assert kept
    assert "0.700" in reason
    assert "0.600" in reason


def test_an_old_model_that_may_have_seen_the_holdout_does_not_win_by_it() -> None:
    assert decide(Judged(mean_iou=0.5), Judged(mean_iou=0.9), _model("old"), _model("new"))[0]


def test_the_first_model_and_one_without_holdout_are_kept() -> None:
    assert decide(None, None, None, _model("new"))[0]
    assert decide(None, None, _model("old", judged=3), _model("new"))[0]
    assert decide(Judged(mean_iou=None), Judged(mean_iou=0.5), _model("old", judged=3), _model("new"))[0]
