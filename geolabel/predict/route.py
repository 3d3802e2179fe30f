"""What happens to a chip's regions: shown, shown for review, dropped; or the chip goes to the next predictor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from geolabel.core.labels import Region
from geolabel.core.taxonomy import Taxonomy, Thresholds
from geolabel.predict.calibrate import Calibration
from geolabel.predict.contract import ChipPrediction

RouteName: TypeAlias = Literal["accept", "review", "empty", "next", "manual"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """A chip after routing.

    Attributes:
        regions: Shown, with calibrated scores; those for review carry the attribute ``review: true``.
        route: "accept" (all shown regions sure), "review" (some are not), "empty" (nothing there, and the model is
            sure), "next" (another predictor should try), "manual" (no predictor is left).
        reason: For people.
        dropped: Regions below their class's review threshold.
        raw_scores: Raw score by region id, of every region that is shown.
        calibrated: Whether every shown score is calibrated.
    """

    regions: tuple[Region, ...]
    route: RouteName
    reason: str
    dropped: int = 0
    raw_scores: Mapping[str, float]
    calibrated: bool = False


def thresholds_of(taxonomy: Taxonomy, score_floors: Mapping[str, float] | None = None) -> dict[str, Thresholds]:
    """Return the thresholds per class; `model_score_threshold` of a control raises the floor of its labels.

    Args:
        taxonomy: With the thresholds of each class.
        score_floors: Class name to the least score that the label config lets through.
    """
    out = {}
    for label_class in taxonomy.classes:
        limits = label_class.thresholds
        floor = (score_floors or {}).get(label_class.name)
        if floor is not None:
            floor = min(max(float(floor), 0.0), 1.0)
            limits = Thresholds(accept=max(limits.accept, floor), review=max(limits.review, floor))
        out[label_class.name] = limits
    return out


def route(
    prediction: ChipPrediction,
    calibration: Calibration,
    thresholds: Mapping[str, Thresholds],
    *,
    sure_empty: float = 0.5,
) -> Routed:
    """Calibrate a chip's regions and decide.

    A chip goes to the next predictor when this one failed, when a presence gate silenced it, when every region it
    found is below its review threshold, or when it found nothing and isn't sure of that.

    Args:
        prediction: Raw scores.
        calibration: Of the project and predictor.
        thresholds: Per class name.
        sure_empty: Chip score from which "nothing here" is believed.
    """
    if prediction.error:
        return _next(f"failed: {prediction.error}")
    if prediction.silenced:
        return _next("its presence gate silenced the chip although pixels supported labels")
    kept: list[Region] = []
    raw: dict[str, float] = {}
    sure = calibrated = True
    for region in prediction.regions:
        limits = thresholds.get(region.label, Thresholds())
        raw_score = region.score or 0.0
        score, is_calibrated = calibration.score(region.label, raw_score)
        if score < limits.review:
            continue
        calibrated = calibrated and is_calibrated
        raw[region.id] = raw_score
        accepted = score >= limits.accept
        sure = sure and accepted
        attributes = dict(region.attributes) if accepted else {**region.attributes, "review": True}
        kept.append(replace(region, score=score, attributes=attributes))
    dropped = len(prediction.regions) - len(kept)
    if not kept and prediction.regions:
        return _next(f"all {dropped} regions are below their review threshold")
    if not kept:
        if (prediction.score or 0.0) >= sure_empty:
            return Routed(regions=(), route="empty", reason=prediction.reason or "nothing found", raw_scores={})
        return _next(prediction.reason or "nothing found")
    marks = "" if calibrated else "; scores not calibrated yet"
    below = f"; {dropped} below the review threshold" if dropped else ""
    return Routed(
        regions=tuple(kept),
        route="accept" if sure else "review",
        reason=f"{prediction.reason}{below}{marks}",
        dropped=dropped,
        raw_scores=raw,
        calibrated=calibrated,
    )


def _next(why: str) -> Routed:
    return Routed(regions=(), route="next", reason=why, raw_scores={})


def chip_score(routed: Routed, model_score: float | None) -> float:
    """Return the prediction's score: how sure we are that this chip needs no one, 0 to 1; low is labelled next.

    The mean of the model's own certainty and of the least sure region shown; 0 for chips left to people.
    """
    if routed.route in ("manual", "next"):
        return 0.0
    own = 0.5 if model_score is None else min(max(model_score, 0.0), 1.0)
    scores = [region.score for region in routed.regions if region.score is not None]
    return own if not scores else (own + min(scores)) / 2


def join_reasons(parts: Iterable[tuple[str, str]]) -> str:
    """Return one sentence from (step, reason) pairs, in the order they were tried."""
    return " → ".join(f"{step}: {reason}" for step, reason in parts)
