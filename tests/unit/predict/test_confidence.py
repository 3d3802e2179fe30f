"""Calibration and routing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geolabel.core.labels import Region
from geolabel.core.shapes import Box
from geolabel.core.taxonomy import LabelClass, Taxonomy, Thresholds
from geolabel.errors import InputError
from geolabel.predict.calibrate import (
    Calibration,
    Reviewed,
    calibration_error,
    fit_calibration,
    fit_curve,
    reliability,
    threshold_for_precision,
)
from geolabel.predict.contract import ChipPrediction
from geolabel.predict.route import chip_score, route, thresholds_of

TAXONOMY = Taxonomy(
    name="t",
    version="1",
    classes=(
        LabelClass(id=1, name="building", thresholds=Thresholds(accept=0.7, review=0.3)),
        LabelClass(id=2, name="water"),
    ),
)


def reviewed(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Raw scores that say too much: kept with probability score²."""
    rng = np.random.default_rng(seed)
    scores = rng.random(count)
    return scores, (rng.random(count) < scores**2).astype(float)


@pytest.mark.parametrize(("count", "method"), [(12, "none"), (150, "temperature"), (2000, "isotonic")])
def test_the_method_follows_the_number_of_reviews(count: int, method: str) -> None:
    scores, kept = reviewed(count)
    assert fit_curve(scores, kept).method == method


@pytest.mark.parametrize("count", [150, 2000])
def test_calibrated_scores_are_nearer_to_what_was_kept(count: int) -> None:
    curve = fit_curve(*reviewed(count, seed=1))
    scores, kept = reviewed(5000, seed=2)
    before = calibration_error(reliability(scores, kept))
    after = calibration_error(reliability(np.clip(curve.apply(scores), 0, 1), kept))
    assert before > 0.1
    assert after < before / 2


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30))
def test_a_surer_score_never_becomes_less_sure(values: list[float]) -> None:
    for count in (150, 400):
        curve = fit_curve(*reviewed(count, seed=3))
        ordered = curve.apply(np.sort(np.asarray(values)))
        assert (np.diff(ordered) >= -1e-9).all()


def test_unreviewed_classes_keep_raw_scores_and_say_so() -> None:
    items = [Reviewed(label="building", score=float(s), kept=bool(k)) for s, k in zip(*reviewed(300), strict=True)]
    calibration = Calibration.from_json(fit_calibration(items).to_json())
    assert calibration.score("water", 0.4) == (0.4, False)
    score, calibrated = calibration.score("building", 0.5)
    assert calibrated
    assert score == pytest.approx(0.25, abs=0.12)


def test_the_threshold_meets_the_wished_precision() -> None:
    scores, kept = reviewed(4000, seed=5)
    threshold = threshold_for_precision(scores, kept, 0.8)
    assert threshold is not None
    assert kept[scores >= threshold].mean() >= 0.8
    lower = scores >= threshold - 0.1
    assert kept[lower].mean() < 0.8
    assert threshold_for_precision(scores, np.zeros_like(kept), 0.8) is None
    with pytest.raises(InputError, match="precision is 1.5"):
        threshold_for_precision(scores, kept, 1.5)


def region(score: float, label: str = "building", number: int = 0) -> Region:
    return Region(
        id=f"region-{label}-{number}-{score}", shape=Box(xmin=0, ymin=0, xmax=4, ymax=4), label=label, score=score
    )


def routed(*regions: Region, score: float = 0.9, **fields):
    prediction = ChipPrediction(chip_id="c", regions=regions, score=score, reason="tried", **fields)
    return route(prediction, Calibration(), thresholds_of(TAXONOMY))


def test_regions_are_shown_reviewed_or_dropped() -> None:
    found = routed(region(0.9), region(0.5, number=1), region(0.1, number=2))
    assert found.route == "review"
    assert [r.attributes.get("review", False) for r in found.regions] == [False, True]
    assert found.dropped == 1
    assert "1 below the review threshold" in found.reason
    assert "not calibrated" in found.reason
    assert routed(region(0.9)).route == "accept"


def test_a_chip_goes_on_when_everything_is_dropped_or_silenced_or_fails() -> None:
    assert "below their review threshold" in routed(region(0.1)).reason
    for found in (routed(region(0.1)), routed(silenced=True), routed(error="broken"), routed(score=0.2)):
        assert found.route == "next"
        assert found.regions == ()
    assert "presence gate" in routed(silenced=True).reason
    assert routed(score=0.9).route == "empty"


def test_the_configs_score_threshold_raises_the_floor() -> None:
    limits = thresholds_of(TAXONOMY, {"building": 0.8, "water": 0.1})
    assert limits["building"] == Thresholds(accept=0.8, review=0.8)
    assert limits["water"] == TAXONOMY.classes[1].thresholds


def test_low_scores_are_labelled_next() -> None:
    sure, unsure, manual = routed(region(0.95)), routed(region(0.4)), routed(region(0.1))
    assert chip_score(sure, 0.9) > chip_score(unsure, 0.5) > chip_score(manual, 0.9) == 0.0
