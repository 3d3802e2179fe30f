"""Samplers that score every chip by itself: chance, uncertainty, disagreement."""

from __future__ import annotations

import numpy as np

from geolabel.sample.candidates import F64, Candidates, Selection, select
from geolabel.sample.measure import tie_break


def random(candidates: Candidates, count: int, seed: int) -> Selection:
    """Choose by chance."""
    order = np.random.default_rng(seed).permutation(candidates.open)[:count]
    return select(candidates, order, np.full(len(order), 0.5), "random")


def _by_uncertainty(kind: str, words: str, candidates: Candidates, count: int, seed: int) -> Selection:
    values = candidates.uncertainty.get(kind)
    if values is None:
        return random(candidates, count, seed)
    return highest(candidates, values, count, seed, words)


def highest(candidates: Candidates, values: F64, count: int, seed: int, words: str) -> Selection:
    """Choose the open chips with the highest values; equal ones by chance."""
    rows = candidates.open
    order = rows[np.argsort(-tie_break(values[rows], seed), kind="stable")][:count]
    return select(candidates, order, values[order], [f"{words} {values[row]:.2f}" for row in order])


def entropy(candidates: Candidates, count: int, seed: int) -> Selection:
    """Choose where the predicted classes are most evenly likely; by chance before the first model."""
    return _by_uncertainty("entropy", "unsure: entropy", candidates, count, seed)


def margin(candidates: Candidates, count: int, seed: int) -> Selection:
    """Choose where the two likeliest classes are closest; by chance before the first model."""
    return _by_uncertainty("margin", "unsure: margin", candidates, count, seed)


def least_confidence(candidates: Candidates, count: int, seed: int) -> Selection:
    """Choose where the likeliest class is least likely; by chance before the first model."""
    return _by_uncertainty("least_confidence", "unsure: confidence lacks", candidates, count, seed)


def committee(candidates: Candidates, count: int, seed: int) -> Selection:
    """Choose where the members of an ensemble disagree; by chance when there is none."""
    return _by_uncertainty("committee", "models disagree", candidates, count, seed)
