"""Scores that mean what they say: the probability that a reviewer keeps a region, fitted per class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from geolabel.errors import InputError

Method: TypeAlias = Literal["none", "temperature", "isotonic"]
#: Below this many reviewed regions of a class its scores stay raw and are marked so.
FEWEST = 20
#: From this many on the free form of isotonic regression is trusted; below, two numbers (Platt 1999) are enough.
ISOTONIC_FROM = 200
_BINS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewed:
    """One predicted region that a person has seen: its raw score, and whether it was kept."""

    label: str
    score: float
    kept: bool
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassCurve:
    """How one class's raw scores become probabilities.

    Attributes:
        method: "temperature" (slope and shift of the log-odds), "isotonic" (steps), or "none" (left raw).
        count: Reviewed regions behind it.
        kept: How many of them were kept.
        slope: Of the log-odds.
        shift: Of the log-odds.
        xs: Raw scores of the isotonic steps.
        ys: Their probabilities.
    """

    method: Method = "none"
    count: int = 0
    kept: int = 0
    slope: float = 1.0
    shift: float = 0.0
    xs: tuple[float, ...] = ()
    ys: tuple[float, ...] = ()

    def apply(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return (n,) probabilities of (n,) raw scores; never decreasing in the score."""
        if self.method == "temperature":
            return np.asarray(1.0 / (1.0 + np.exp(-(self.slope * _logit(scores) + self.shift))), dtype=np.float64)
        if self.method == "isotonic":
            return np.asarray(np.interp(scores, self.xs, self.ys), dtype=np.float64)
        return scores

    def to_json(self) -> dict[str, Any]:
        """Return JSON types."""
        return {name: getattr(self, name) for name in self.__slots__} | {"xs": list(self.xs), "ys": list(self.ys)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The curves of one project, by class name."""

    curves: Mapping[str, ClassCurve] = field(default_factory=dict)

    def score(self, label: str, raw: float) -> tuple[float, bool]:
        """Return the probability of a raw score and whether it is calibrated; without a curve the raw value itself."""
        curve = self.curves.get(label)
        clipped = min(max(raw, 0.0), 1.0)
        if curve is None or curve.method == "none":
            return clipped, False
        return float(np.clip(curve.apply(np.array([clipped]))[0], 0.0, 1.0)), True

    def to_json(self) -> dict[str, Any]:
        """Return JSON types."""
        return {"curves": {name: curve.to_json() for name, curve in self.curves.items()}}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Calibration:
        """Rebuild from `to_json`.

        Raises:
            InputError: a curve is malformed.
        """
        try:
            curves = {
                str(name): ClassCurve(**{**item, "xs": tuple(item.get("xs", ())), "ys": tuple(item.get("ys", ()))})
                for name, item in value.get("curves", {}).items()
            }
        except (TypeError, AttributeError) as error:
            raise InputError(f"the stored calibration is malformed: {error}; run geolabel calibrate again") from error
        return cls(curves=curves)


def fit_calibration(reviewed: Sequence[Reviewed]) -> Calibration:
    """Fit one curve per class from what reviewers kept and threw away."""
    curves = {}
    for label in sorted({item.label for item in reviewed}):
        items = [item for item in reviewed if item.label == label]
        scores = np.array([item.score for item in items], dtype=np.float64)
        kept = np.array([item.kept for item in items], dtype=np.float64)
        curves[label] = fit_curve(scores, kept)
    return Calibration(curves=curves)


def fit_curve(scores: npt.NDArray[np.float64], kept: npt.NDArray[np.float64]) -> ClassCurve:
    """Fit the curve of one class: raw below 20 reviews or with one outcome only, isotonic from 200 on.

    Args:
        scores: (n,) raw scores, 0 to 1.
        kept: (n,) 1 where the reviewer kept the region, else 0.
    """
    count, total = len(scores), int(kept.sum())
    if count < FEWEST or total in (0, count):
        return ClassCurve(method="none", count=count, kept=total)
    if count >= ISOTONIC_FROM:
        from sklearn.isotonic import IsotonicRegression

        steps = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(scores, kept)
        xs, ys = steps.X_thresholds_, steps.y_thresholds_
        return ClassCurve(
            method="isotonic", count=count, kept=total, xs=tuple(map(float, xs)), ys=tuple(map(float, ys))
        )
    slope, shift = _platt(scores, kept)
    return ClassCurve(method="temperature", count=count, kept=total, slope=slope, shift=shift)


def _platt(scores: npt.NDArray[np.float64], kept: npt.NDArray[np.float64]) -> tuple[float, float]:
    from scipy.optimize import minimize

    odds = _logit(scores)
    # Platt's targets: a little away from 0 and 1, so that few reviews never give certainty.
    positive, negative = kept.sum(), len(kept) - kept.sum()
    target = np.where(kept > 0, (positive + 1) / (positive + 2), 1 / (negative + 2))

    def loss(parameters: npt.NDArray[np.float64]) -> float:
        value = np.exp(parameters[0]) * odds + parameters[1]
        # A weak pull of the slope to 1: scores that say nothing new are left alone.
        return float((np.logaddexp(0.0, value) - target * value).mean() + 0.01 * parameters[0] ** 2)

    found = minimize(loss, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-7, "maxiter": 800})
    return float(math.exp(found.x[0])), float(found.x[1])


def _logit(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    clipped = np.clip(scores, 1e-4, 1 - 1e-4)
    return np.asarray(np.log(clipped / (1 - clipped)), dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityBin:
    """Regions whose score lies in one bin: how many, their mean score, and the share that was kept."""

    low: float
    high: float
    count: int
    mean_score: float
    kept_share: float


def reliability(
    scores: npt.NDArray[np.float64], kept: npt.NDArray[np.float64], bins: int = _BINS
) -> list[ReliabilityBin]:
    """Return the reliability curve: bins without regions are left out."""
    out = []
    index = np.minimum((scores * bins).astype(int), bins - 1)
    for i in range(bins):
        chosen = index == i
        if chosen.any():
            out.append(
                ReliabilityBin(
                    low=i / bins,
                    high=(i + 1) / bins,
                    count=int(chosen.sum()),
                    mean_score=float(scores[chosen].mean()),
                    kept_share=float(kept[chosen].mean()),
                )
            )
    return out


def calibration_error(curve: Sequence[ReliabilityBin]) -> float:
    """Return the expected calibration error (Naeini 2015): mean gap between score and kept share, by count."""
    total = sum(item.count for item in curve)
    return sum(item.count * abs(item.mean_score - item.kept_share) for item in curve) / total if total else 0.0


def threshold_for_precision(
    scores: npt.NDArray[np.float64], kept: npt.NDArray[np.float64], precision: float
) -> float | None:
    """Return the lowest score from which on at least this share was kept; None when no threshold reaches it.

    Raises:
        InputError: the precision is not within 0 to 1.
    """
    if not 0.0 < precision <= 1.0:
        raise InputError(f"precision is {precision}; it is a share above 0 and up to 1, e.g. 0.9")
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(kept[order])
    share = hits / np.arange(1, len(order) + 1)
    # Only where the score changes: a threshold can't part regions of equal score.
    last = np.append(ranked[1:] != ranked[:-1], True)
    good = np.flatnonzero(last & (share >= precision - 1e-12))
    return float(ranked[good[-1]]) if good.size else None
