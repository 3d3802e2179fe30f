"""Ranks as prediction scores: unique numbers in 0–1, low is labelled next; few are rewritten when the order moves."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

#: Open ends, so that 0 and 1 stay free for "never predicted" and "needs no one".
LOW, HIGH = 0.001, 0.999
#: Two scores closer than this are no longer told apart safely; then all are written anew.
LEAST_GAP = 1e-7


def even_scores(count: int) -> list[float]:
    """Return so many scores, evenly spread and rising."""
    return [round(LOW + (HIGH - LOW) * (i + 0.5) / count, 9) for i in range(count)]


def assign_scores(current: Sequence[float | None]) -> list[float]:
    """Return rising, unique scores for tasks in the order in which to serve them, keeping as many as possible.

    The longest rising part of the current scores stays; the others get numbers between their neighbours.

    Args:
        current: Score that each task has now, in the wanted order; None where there is none.
    """
    kept = _longest_rising(current)
    scores: list[float] = []
    anchors = [(-1, LOW), *((i, float(current[i] or 0.0)) for i in kept), (len(current), HIGH)]
    for (left, low), (right, high) in pairwise(anchors):
        gap = right - left - 1
        step = (high - low) / (gap + 1)
        if gap and step < LEAST_GAP:
            return even_scores(len(current))
        scores += [round(low + step * (i + 1), 9) for i in range(gap)]
        if right < len(current):
            scores.append(high)
    return scores


def _longest_rising(values: Sequence[float | None]) -> list[int]:
    """Return the positions of the longest strictly rising part of the values inside the open ends."""
    tails: list[float] = []
    at: list[int] = []
    before: dict[int, int] = {}
    for i, value in enumerate(values):
        if value is None or not LOW < value < HIGH:
            continue
        place = bisect_left(tails, value)
        if place == len(tails):
            tails.append(value)
            at.append(i)
        else:
            tails[place], at[place] = value, i
        before[i] = at[place - 1] if place else -1
    out: list[int] = []
    i = at[-1] if at else -1
    while i >= 0:
        out.append(i)
        i = before[i]
    return out[::-1]
