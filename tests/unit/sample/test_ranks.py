"""Scores that carry the order of the queue."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from geolabel.sample.ranks import assign_scores, even_scores


@given(st.lists(st.none() | st.floats(0, 1), max_size=60))
def test_scores_rise_and_stay_inside(current: list[float | None]) -> None:
    scores = assign_scores(current)
    assert len(scores) == len(current)
    assert all(a < b for a, b in pairwise(scores))
    assert all(0 < score < 1 for score in scores)


def test_an_order_that_holds_is_not_rewritten() -> None:
    scores = even_scores(100)
    assert assign_scores(list(scores)) == scores
    assert assign_scores(scores[1:]) == scores[1:]


def test_one_task_that_moves_costs_one_write() -> None:
    scores: list[float | None] = list(even_scores(50))
    moved = [scores[30], *scores[:30], *scores[31:]]
    new = assign_scores(moved)
    assert sum(a != b for a, b in zip(new, moved, strict=True)) == 1


def test_new_tasks_are_put_between_without_moving_others() -> None:
    scores: list[float | None] = list(even_scores(10))
    new = assign_scores([*scores[:5], None, None, *scores[5:]])
    assert [new[i] for i in (*range(5), *range(7, 12))] == scores


def test_scores_are_made_anew_when_there_is_no_room() -> None:
    tight: list[float | None] = [0.5, None, 0.5 + 1e-8]
    new = assign_scores(tight)
    assert new[0] < new[1] < new[2]
    assert new[2] - new[0] > 1e-3
