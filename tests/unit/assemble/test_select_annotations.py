"""Which annotations of a task are taken."""

from __future__ import annotations

from typing import Any

import pytest

from geolabel.assemble import select_annotations
from geolabel.errors import InputError


def region(label: str, score: float | None = None) -> dict[str, Any]:
    out: dict[str, Any] = {"id": label, "type": "polygonlabels", "value": {"points": [], "polygonlabels": [label]}}
    return out if score is None else {**out, "score": score}


TASK: dict[str, Any] = {
    "id": 7,
    "data": {"geo": {"bounds_lonlat": [32.5, 0.3, 32.6, 0.4]}},
    "annotations": [
        {"id": 1, "completed_by": {"id": 4, "email": "ann@example.org"}, "updated_at": "2026-03-01T10:00:00Z",
         "ground_truth": True, "result": [region("house")]},
        {"id": 2, "completed_by": 5, "updated_at": "2026-03-02T10:00:00Z", "result": [region("road"), region("house")],
         "review_state": "accepted"},
        {"id": 3, "completed_by": 5, "updated_at": "2026-03-03T10:00:00Z", "was_cancelled": True, "result": []},
    ],
    "predictions": [
        {"id": 8, "model_version": "a", "created_at": "2026-01-01T00:00:00Z", "result": [region("house", 0.9)]},
        {"id": 9, "model_version": "b", "created_at": "2026-01-02T00:00:00Z",
         "result": [region("house", 0.4), region("road", 0.8)]},
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    "rules, ids",
    [
        ({}, [1]),
        ({"which": "all"}, [1, 2]),
        ({"which": "first"}, [1]),
        ({"which": "ground_truth"}, [1]),
        ({"not_annotators": ["ann@example.org"]}, [2]),
        ({"annotators": [5]}, [2]),
        ({"annotators": ["5"], "skipped": True}, [3]),
        ({"annotators": ["nobody@example.org"]}, []),
        ({"updated_after": "2026-03-02"}, [2]),
        ({"updated_before": "2026-03-02"}, [1]),
        ({"states": ["accepted"]}, [2]),
        ({"states": ["accepted", "ground_truth"], "which": "all"}, [1, 2]),
        ({"predictions": True}, [1]),
        ({"predictions": "all"}, [1, 9]),
        ({"predictions": "all", "models": ["a"]}, [1, 8]),
        ({"annotators": ["x"], "predictions": True}, [9]),
        ({"aoi": [32.0, 0.0, 33.0, 1.0]}, [1]),
        ({"aoi": [10.0, 0.0, 11.0, 1.0]}, []),
        ({"aoi": {"type": "Polygon", "coordinates": [[[32.55, 0.35], [33, 0.35], [33, 1], [32.55, 0.35]]]}}, [1]),
    ],
)
def test_choice(rules: dict[str, Any], ids: list[int]) -> None:
    assert [a["id"] for a in select_annotations(TASK, rules)] == ids


def test_predictions_are_marked_and_filtered_by_score_and_label() -> None:
    chosen = select_annotations(TASK, {"predictions": "all", "min_score": 0.5, "labels": ["road"]})
    assert [(a["_predicted"], [r["id"] for r in a["result"]]) for a in chosen] == [(False, []), (True, ["road"])]


@pytest.mark.parametrize(
    "rules",
    [{"which": "newest"}, {"predictions": "some"}, {"min_score": 2}, {"labls": ["a"]}, {"aoi": [1, 2, 3]}, {"aoi": 5}],
)
def test_wrong_rules_are_refused_with_a_sentence(rules: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        select_annotations(TASK, rules)


def test_an_area_over_the_antimeridian_takes_chips_on_both_sides() -> None:
    def task(west: float, east: float) -> dict[str, Any]:
        return {**TASK, "data": {"geo": {"bounds_lonlat": [west, -1, east, 1]}}}

    rules = {"aoi": [179, -2, -179, 2]}
    assert select_annotations(task(179.5, 179.6), rules)
    assert select_annotations(task(-179.6, -179.5), rules)
    assert select_annotations(task(179.9, 180.1), rules)
    assert not select_annotations(task(0.0, 1.0), rules)
