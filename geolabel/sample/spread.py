"""Samplers with a sense of place and of rarity: spatially spread, class balanced."""

from __future__ import annotations

import numpy as np

from geolabel.sample.candidates import F64, Candidates, Ints, Selection, select
from geolabel.sample.measure import rarity, squared_distances, tie_break, unit_ranks
from geolabel.sample.single import random

#: Width of a block in chips: one block is served once before any is served twice.
BLOCK_CHIPS = 4.0


def blocks(candidates: Candidates, width_chips: float = BLOCK_CHIPS) -> Ints:
    """Return (n,) the number of the square block that each chip lies in."""
    cells = np.floor((candidates.xy_m - candidates.xy_m.min(axis=0)) / (candidates.spacing_m * width_chips))
    _, number = np.unique(cells.astype(np.int64), axis=0, return_inverse=True)
    return np.asarray(number.reshape(-1), dtype=np.int64)


def place_factor(candidates: Candidates, rows: Ints, chosen: Ints, reach_chips: float = 1.5) -> F64:
    """Return (n,) 0 to 1: near 0 beside a chosen chip, 1 far from all of them."""
    factor = np.ones(len(rows))
    if len(chosen) == 0:
        return factor
    squared = squared_distances(
        candidates.xy_m[rows] - candidates.xy_m[0], candidates.xy_m[chosen] - candidates.xy_m[0]
    ).min(axis=1)
    return np.asarray(1.0 - np.exp(-squared / (reach_chips * candidates.spacing_m) ** 2 / 2), dtype=np.float64)


def spatially_spread(candidates: Candidates, count: int, seed: int) -> Selection:
    """Choose from the least labelled block first, and in it the most uncertain chip far from all labelled ones.

    Before the first model the distance alone decides.
    """
    rows = candidates.open
    wanted = min(count, len(rows))
    if wanted == 0:
        return select(candidates, [], [], [])
    block = blocks(candidates)
    served = np.bincount(block[candidates.labelled], minlength=int(block.max()) + 1).astype(np.float64)
    unsure = candidates.uncertainty.get("margin", np.zeros(len(candidates)))
    factor = place_factor(candidates, rows, np.flatnonzero(candidates.labelled))
    value = tie_break((0.2 + unsure[rows]) * factor, seed)
    free = np.ones(len(rows), dtype=bool)
    order: list[int] = []
    for _ in range(wanted):
        score = np.where(free, value - 10.0 * served[block[rows]], -np.inf)
        pick = int(score.argmax())
        order.append(pick)
        free[pick] = False
        served[block[rows[pick]]] += 1
        value *= place_factor(candidates, rows, rows[pick : pick + 1])
    chosen = rows[np.array(order, dtype=np.int64)]
    return select(candidates, chosen, 0.5 + unsure[chosen] / 2, "a part of the map with few labels")


def class_balanced(candidates: Candidates, count: int, seed: int) -> Selection:
    """Choose chips that probably show the class with the fewest labels, class after class.

    After every choice the class counts as labelled once more. By chance before the first model.
    """
    rows = candidates.open
    if candidates.presence is None or len(rows) == 0:
        return random(candidates, count, seed)
    presence = candidates.presence[rows]
    counts = (
        candidates.label_counts.copy() if candidates.label_counts is not None else np.zeros(len(candidates.class_names))
    )
    foreground = np.array([name != "" for name in candidates.class_names])
    if not foreground.any():
        return random(candidates, count, seed)
    free = np.ones(len(rows), dtype=bool)
    jitter = np.random.default_rng(seed).random(len(rows)) * 1e-6
    order, value, reasons = [], [], []
    for _ in range(min(count, len(rows))):
        weight = np.where(foreground, 1.0 / (1.0 + counts), 0.0)
        score = np.where(free, (presence * weight).max(axis=1) + jitter, -1.0)
        pick = int(score.argmax())
        rare = int((presence[pick] * weight).argmax())
        order.append(pick)
        free[pick] = False
        counts += presence[pick]
        value.append(float(presence[pick, rare]))
        reasons.append(f"rare class: {candidates.class_names[rare]}")
    return select(candidates, rows[np.array(order, dtype=np.int64)], value, reasons)


def rare_value(candidates: Candidates) -> tuple[F64, Ints]:
    """Return (n,) 0 to 1 how much a chip probably shows of classes with few labels, and the (n,) class that counts."""
    if candidates.presence is None or not candidates.class_names:
        return np.zeros(len(candidates)), np.zeros(len(candidates), dtype=np.int64)
    weighted = candidates.presence * rarity(candidates)
    return unit_ranks(weighted.max(axis=1)), np.asarray(weighted.argmax(axis=1), dtype=np.int64)
