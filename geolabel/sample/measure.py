"""Distances, ranks and densities that samplers share; all dense, none larger than rows × 2000."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from geolabel.sample.candidates import F64, Candidates, Ints

REFERENCE = 2000


def squared_distances(first: F64, second: F64) -> F64:
    """Return (n, m) squared Euclidean distances between the rows of (n, d) and (m, d)."""
    a, b = first.astype(np.float32), second.astype(np.float32)
    out = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2.0 * (a @ b.T)
    return np.asarray(np.maximum(out, 0.0), dtype=np.float64)


def nearest_distance(candidates: Candidates, rows: Ints, to: Ints) -> F64:
    """Return the distance in feature space of each row to the nearest of `to`; infinity when there is none."""
    if len(to) == 0:
        return np.full(len(rows), np.inf)
    best = np.full(len(rows), np.inf)
    for start in range(0, len(to), REFERENCE):
        part = squared_distances(candidates.features[rows], candidates.features[to[start : start + REFERENCE]])
        best = np.minimum(best, part.min(axis=1))
    return np.asarray(np.sqrt(best), dtype=np.float64)


def reference_rows(count: int, seed: int, most: int = REFERENCE) -> Ints:
    """Return at most so many rows that stand for all, drawn by the seed."""
    if count <= most:
        return np.arange(count, dtype=np.int64)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False)).astype(np.int64)


def typical_distance(features: F64, seed: int, neighbour: int = 8) -> float:
    """Return the median distance to the n-th neighbour: the scale at which two chips look alike."""
    rows = reference_rows(len(features), seed)
    if len(rows) < 2:
        return 1.0
    squared = squared_distances(features[rows], features[rows])
    at = min(neighbour, len(rows) - 1)
    found = float(np.sqrt(np.median(np.partition(squared, at, axis=1)[:, at])))
    return found if found > 1e-9 else 1.0


def unit_ranks(values: npt.NDArray[Any]) -> F64:
    """Return ranks scaled to 0 to 1 (highest value 1); equal values share the mean rank."""
    from scipy.stats import rankdata

    if len(values) < 2:
        return np.ones(len(values), dtype=np.float64)
    return np.asarray((rankdata(values) - 1.0) / (len(values) - 1.0), dtype=np.float64)


def tie_break(values: F64, seed: int) -> F64:
    """Return values with a seeded trifle added, so that equal ones are ordered by chance and not by row."""
    return values + np.random.default_rng(seed).random(len(values)) * 1e-9


def rarity(candidates: Candidates) -> F64:
    """Return (k,) weights 0 to 1: high for classes that few labelled chips show; background 0."""
    k = len(candidates.class_names)
    counts = candidates.label_counts if candidates.label_counts is not None else np.zeros(k)
    weights = 1.0 / np.sqrt(1.0 + counts)
    for index, name in enumerate(candidates.class_names):
        if name == "":
            weights[index] = 0.0
    top = weights.max(initial=0.0)
    return np.asarray(weights / top if top > 0 else weights, dtype=np.float64)
