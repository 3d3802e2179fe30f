"""The default: cover the world first, then ask where the model is unsure, and never the same place twice.

Three terms are mixed, each scaled by rank so that none drowns the others:

* *coverage*: how much of feature space a chip would newly stand for, thin regions counting more than their share;
* *doubt*: uncertainty of pixels, regions and seams, more where classes with few labels may be;
* *rarity*: the surest sight of the class with the fewest labels.

With few labels a model's doubt says little, so coverage leads; its weight falls as labels per class grow (compare
DCoM, Mishal and Weinshall 2024). Every choice lowers the worth of its look-alikes and neighbours, so that a batch, and
several annotators working at once, get different things.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geolabel.sample.candidates import F64, Candidates, Ints, Selection, select
from geolabel.sample.measure import (
    nearest_distance,
    rarity,
    reference_rows,
    squared_distances,
    typical_distance,
    unit_ranks,
)

#: Labelled chips per class at which doubt and rarity weigh as much as coverage.
TURN_PER_CLASS = 4.0
_SEAM_WEIGHT = 0.25
_FLOOR = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class _Terms:
    doubt: F64
    presence: F64
    weight_cover: float


def mix(candidates: Candidates, count: int, seed: int) -> Selection:
    """Choose by coverage, doubt and rarity, mixed by how much is labelled, with diversity in space and looks."""
    rows = candidates.open
    wanted = min(count, len(rows))
    if wanted == 0:
        return select(candidates, [], [], [])
    terms = _terms(candidates, rows)
    cover = _Coverage(candidates, rows, seed)
    fresh: F64 = np.ones(len(rows))
    place = _place(candidates, rows, np.flatnonzero(candidates.labelled))
    jitter = np.random.default_rng(seed).random(len(rows)) * 1e-6
    counts: F64 = np.zeros(terms.presence.shape[1])
    base = rarity(candidates)[: terms.presence.shape[1]]
    free = np.ones(len(rows), dtype=bool)
    order, value, reasons = [], [], []
    for _ in range(wanted):
        rare_each = terms.presence * (base / np.sqrt(1.0 + counts))
        rare: F64 = rare_each.max(axis=1, initial=0.0) if rare_each.shape[1] else np.zeros(len(rows))
        parts = np.stack(
            [
                terms.weight_cover * unit_ranks(cover.gain),
                (1 - terms.weight_cover) * 0.6 * terms.doubt * (0.5 + 0.5 * rare),
                (1 - terms.weight_cover) * 0.4 * rare,
            ]
        )
        score = parts.sum(axis=0) * (_FLOOR + (1 - _FLOOR) * fresh) * place + jitter
        pick = int(np.where(free, score, -1.0).argmax())
        order.append(pick)
        free[pick] = False
        value.append(float(score[pick]))
        reasons.append(_reason(candidates, parts[:, pick], rare_each[pick], rows[pick]))
        fresh = np.minimum(fresh, 1.0 - cover.likeness(pick))
        place = place * _place(candidates, rows, rows[pick : pick + 1])
        counts += terms.presence[pick]
        cover.take(pick)
    return select(candidates, rows[np.array(order, dtype=np.int64)], value, reasons)


def _terms(candidates: Candidates, rows: Ints) -> _Terms:
    labels = int(candidates.labelled.sum())
    classes = max(1, sum(name != "" for name in candidates.class_names))
    known = candidates.presence is not None
    doubt: F64 = np.zeros(len(rows))
    for kind, weight in (("margin", 1.0), ("committee", 0.5), ("seam", _SEAM_WEIGHT)):
        if kind in candidates.uncertainty:
            values = candidates.uncertainty[kind][rows]
            doubt = doubt + weight * (unit_ranks(values) if kind != "seam" else values)
    competence = labels / (labels + TURN_PER_CLASS * classes)
    return _Terms(
        doubt=unit_ranks(doubt) if doubt.any() else doubt,
        presence=candidates.presence[rows] if candidates.presence is not None else np.zeros((len(rows), 0)),
        weight_cover=1.0 - competence if known else 1.0,
    )


class _Coverage:
    """How much of feature space each open chip would newly stand for (facility location over soft balls)."""

    def __init__(self, candidates: Candidates, rows: Ints, seed: int) -> None:
        reference = reference_rows(len(candidates), seed)
        self._features = candidates.features[rows]
        self._scale = typical_distance(candidates.features, seed)
        squared = squared_distances(self._features, candidates.features[reference])
        self._near = np.exp(-squared / (2 * (2.0 * self._scale) ** 2)).astype(np.float32)
        everywhere = squared_distances(candidates.features[reference], candidates.features[reference])
        density = np.exp(-everywhere / (2 * self._scale**2)).sum(axis=1)
        # Crowded regions count by the root of their size: fields do not drown the quarry.
        self._weight = (1.0 / np.sqrt(density)).astype(np.float32)
        distance = nearest_distance(candidates, reference, np.flatnonzero(candidates.labelled))
        self._covered = np.where(
            np.isinf(distance), 0.0, np.exp(-(np.minimum(distance, 1e6) ** 2) / (2 * (2.0 * self._scale) ** 2))
        ).astype(np.float32)
        self.gain = self._gain()

    def _gain(self) -> F64:
        more = np.maximum(self._near - self._covered, 0.0)
        return np.asarray(more @ self._weight, dtype=np.float64)

    def likeness(self, pick: int) -> F64:
        """Return (n,) 0 to 1 how much each open chip looks like the chosen one."""
        squared = squared_distances(self._features, self._features[pick : pick + 1])[:, 0]
        return np.asarray(np.exp(-squared / (2 * self._scale**2)), dtype=np.float64)

    def take(self, pick: int) -> None:
        """Count a chip as covered."""
        self._covered = np.maximum(self._covered, self._near[pick])
        self.gain = self._gain()


def _place(candidates: Candidates, rows: Ints, chosen: Ints) -> F64:
    """Return (n,) 0.3 to 1: neighbours of chosen chips are worth less, since they show the same ground."""
    if len(chosen) == 0:
        return np.ones(len(rows))
    origin = candidates.xy_m[0]
    squared = squared_distances(candidates.xy_m[rows] - origin, candidates.xy_m[chosen] - origin).min(axis=1)
    return np.asarray(1.0 - 0.7 * np.exp(-squared / (2 * candidates.spacing_m**2)), dtype=np.float64)


def _reason(candidates: Candidates, parts: F64, rare: F64, row: np.int64) -> str:
    lead = int(parts.argmax())
    if lead == 0:
        return "far from all labels"
    if lead == 2 and len(rare):
        return f"rare class: {candidates.class_names[int(rare.argmax())]}"
    seam = candidates.uncertainty.get("seam")
    margin = candidates.uncertainty.get("margin")
    if seam is not None and seam[row] > 0.5 and (margin is None or seam[row] > margin[row]):
        return "predictions differ at the seam with a neighbour"
    return f"unsure: margin {margin[row]:.2f}" if margin is not None else "models disagree"
