"""How unsure a model is of a chip: from its pixels, from its regions, and from objects at seams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from geolabel.sample.candidates import F64

#: Share of the most uncertain pixels that speaks for the chip: small things must count.
WORST_SHARE = 0.25


def pixel_doubt(probabilities: npt.NDArray[Any]) -> dict[str, F64]:
    """Return the uncertainties of chips from class probabilities of their pixels.

    Args:
        probabilities: (n, m, k): n chips, m pixels, k classes, each pixel summing to 1.

    Returns:
        (n,) float64 0 to 1 for "entropy", "margin" and "least_confidence": the mean of the worst quarter of pixels.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    k = p.shape[2]
    if k < 2 or p.shape[0] == 0:
        return {name: np.zeros(p.shape[0]) for name in ("entropy", "margin", "least_confidence")}
    top = np.partition(p, k - 2, axis=2)[:, :, k - 2 :]
    entropy = -(p * np.log(np.maximum(p, 1e-12))).sum(axis=2) / np.log(k)
    return {
        "entropy": _worst(entropy),
        "margin": _worst(1.0 - (top[:, :, 1] - top[:, :, 0])),
        "least_confidence": _worst((1.0 - top[:, :, 1]) * k / (k - 1)),
    }


def committee_doubt(members: npt.NDArray[Any]) -> F64:
    """Return (n,) 0 to 1 how much members disagree: mean over pixels of Jensen–Shannon divergence, worst quarter.

    Args:
        members: (e, n, m, k) probabilities of e members.
    """
    p = np.asarray(members, dtype=np.float64)
    if p.shape[0] < 2 or p.shape[3] < 2:
        return np.zeros(p.shape[1])
    mean = p.mean(axis=0)
    total = -(mean * np.log(np.maximum(mean, 1e-12))).sum(axis=2)
    each = -(p * np.log(np.maximum(p, 1e-12))).sum(axis=3).mean(axis=0)
    return np.clip(_worst((total - each) / np.log(p.shape[3])), 0.0, 1.0)


def _worst(values: F64) -> F64:
    worst = max(1, int(values.shape[1] * WORST_SHARE))
    return np.asarray(np.partition(values, values.shape[1] - worst, axis=1)[:, -worst:].mean(axis=1), dtype=np.float64)


def region_doubt(scores: Sequence[float], areas_px: Sequence[float], raw_score: float | None) -> float:
    """Return how unsure a chip's regions are, 0 to 1.

    A calibrated score of 0.5 is the least sure, 0 and 1 the surest. Regions count by the root of their area, so that
    one wide field does not drown ten houses. The chip's own score (1 − pixel uncertainty) speaks for half.

    Args:
        scores: Of the regions, 0 to 1.
        areas_px: Of the regions.
        raw_score: 0 to 1 how sure the model is of the whole chip; None when not known.
    """
    own = None if raw_score is None else 1.0 - float(np.clip(raw_score, 0.0, 1.0))
    if not len(scores):
        return 0.5 if own is None else own
    doubts = 1.0 - np.abs(2.0 * np.clip(np.asarray(scores, dtype=np.float64), 0.0, 1.0) - 1.0)
    weights = np.sqrt(np.maximum(np.asarray(areas_px, dtype=np.float64), 1.0))
    mean = float((doubts * weights).sum() / weights.sum())
    return mean if own is None else (mean + own) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was predicted on one chip, in the pixels of its scene.

    Attributes:
        window: (xmin, ymin, xmax, ymax) of the chip, scene px.
        shapes: Polygons by class name, scene px.
    """

    window: tuple[float, float, float, float]
    shapes: Mapping[str, Sequence[shapely.Geometry]]


def seam_doubt(chips: Sequence[Seen], *, reach_px: float = 3.0) -> list[float]:
    """Return, per chip of one scene, how much its predictions contradict those of its neighbours, 0 to 1.

    Where two chips overlap, both have predicted the same ground: the doubt is one minus the IoU of what they say there,
    by class. Where they only touch, an object cut by the border that has no counterpart on the other side counts.
    The worst neighbour speaks; chips without neighbours, or with nothing at the seam, get 0.
    """
    if len(chips) < 2:
        return [0.0] * len(chips)
    windows = [shapely.box(*chip.window).buffer(reach_px, join_style="mitre") for chip in chips]
    merged = [
        {name: shapely.union_all([shapely.make_valid(s) for s in shapes]) for name, shapes in chip.shapes.items()}
        for chip in chips
    ]
    worst = [0.0] * len(chips)
    left, right = shapely.STRtree(windows).query(windows, predicate="intersects")
    for a, b in zip(left.tolist(), right.tolist(), strict=True):
        if a >= b:
            continue
        zone = shapely.box(*chips[a].window).intersection(shapely.box(*chips[b].window))
        if zone.area == 0:  # they only touch
            zone = windows[a].intersection(windows[b])
        doubt = _contradiction(merged[a], merged[b], zone, reach_px)
        worst[a], worst[b] = max(worst[a], doubt), max(worst[b], doubt)
    return worst


def _contradiction(
    first: Mapping[str, shapely.Geometry], second: Mapping[str, shapely.Geometry], zone: shapely.Geometry, reach: float
) -> float:
    same = either = 0.0
    for name in {*first, *second}:
        a = first.get(name, shapely.Polygon()).buffer(reach / 2).intersection(zone)
        b = second.get(name, shapely.Polygon()).buffer(reach / 2).intersection(zone)
        same += a.intersection(b).area
        either += a.union(b).area
    # A sliver in the zone is noise, not an object.
    if either < 4.0 * reach**2:
        return 0.0
    return float(np.clip(1.0 - same / either, 0.0, 1.0))
