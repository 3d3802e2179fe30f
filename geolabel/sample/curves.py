"""What many replays say together: labels to the target, their spread, and what is saved against chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from geolabel.sample.replay import Replay

_RESAMPLES = 2000


def mean_interval(values: Sequence[float]) -> tuple[float, float, float] | None:
    """Return mean, low and high of the 95 % interval (Student's t); None without values, a point with one."""
    if not values:
        return None
    table = np.asarray(values, dtype=np.float64)
    mean = float(table.mean())
    if len(table) < 2:
        return mean, mean, mean
    from scipy.stats import t

    half = float(t.ppf(0.975, len(table) - 1)) * float(table.std(ddof=1)) / float(np.sqrt(len(table)))
    return mean, mean - half, mean + half


def ratio_interval(ours: Sequence[float], theirs: Sequence[float], seed: int = 0) -> tuple[float, float, float] | None:
    """Return the ratio of means with its 95 % interval, resampling pairs of one seed together (bootstrap)."""
    if not ours or len(ours) != len(theirs):
        return None
    a, b = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    rows = np.random.default_rng(seed).integers(len(a), size=(_RESAMPLES, len(a)))
    ratios = a[rows].mean(axis=1) / b[rows].mean(axis=1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(a.mean() / b.mean()), float(low), float(high)


def summarise(replays: Sequence[Replay], *, baseline: str = "random") -> dict[str, Any]:
    """Return JSON: per sampler the labels to the target (a run that never reaches it counts with all it labelled).

    Such runs are counted in "not_reached"; then the mean is a lower bound.
    """
    by_sampler: dict[str, dict[int, Replay]] = {}
    for item in replays:
        by_sampler.setdefault(item.sampler, {})[item.seed] = item
    chance = by_sampler.get(baseline, {})
    out: dict[str, Any] = {}
    for name, runs in sorted(by_sampler.items()):
        seeds = sorted(runs)
        needed = [_needed(runs[seed]) for seed in seeds]
        pairs = [seed for seed in seeds if seed in chance]
        ratio = ratio_interval([_needed(runs[s]) for s in pairs], [_needed(chance[s]) for s in pairs])
        out[name] = {
            "seeds": len(seeds),
            "not_reached": sum(runs[seed].reached is None for seed in seeds),
            "labels_to_target": _rounded(mean_interval(needed), 1),
            "ratio_to_random": _rounded(ratio, 3),
            "full_score": round(float(np.mean([runs[seed].full_score for seed in seeds])), 4),
            "curve": mean_curve([runs[seed] for seed in seeds]),
        }
    return out


def _needed(item: Replay) -> float:
    return float(item.labels[-1]) if item.reached is None else float(item.reached)


def mean_curve(runs: Sequence[Replay]) -> dict[str, list[float]]:
    """Return labels and mean share of the all-labels score with its 95 % interval; runs that ended keep their last."""
    at = sorted({count for run in runs for count in run.labels})
    table = np.array([_share_at(run, at) for run in runs])
    mean = table.mean(axis=0)
    half = 1.96 * table.std(axis=0, ddof=1) / np.sqrt(len(runs)) if len(runs) > 1 else np.zeros(len(at))
    return {
        "labels": [float(count) for count in at],
        "mean": [round(float(v), 4) for v in mean],
        "low": [round(float(v), 4) for v in mean - half],
        "high": [round(float(v), 4) for v in mean + half],
    }


def _share_at(run: Replay, at: Sequence[int]) -> list[float]:
    found = np.interp(np.asarray(at, dtype=np.float64), run.labels, run.scores)
    return [float(v) / run.full_score if run.full_score > 0 else 0.0 for v in found]


def _rounded(values: tuple[float, float, float] | None, digits: int) -> list[float] | None:
    return None if values is None else [round(v, digits) for v in values]
