"""The report's page, and how predictions are compared with what people drew."""

from __future__ import annotations

from typing import Any

from geolabel.core.labels import Region
from geolabel.core.shapes import Polygon
from geolabel.pipeline.agreement import compare
from geolabel.pipeline.loop_page import render_page


def _square(name: str, x: float, label: str = "Roof", size: float = 10.0) -> Region:
    ring = ((x, 0.0), (x + size, 0.0), (x + size, size), (x, size))
    return Region(id=name, shape=Polygon(exterior=ring), label=label)


def test_kept_edited_rejected_missed() -> None:
    said = [_square("a", 0), _square("b", 20), _square("c", 40), _square("d", 60)]
    drawn = [_square("1", 0), _square("2", 23), _square("3", 60, "Canal"), _square("4", 90)]
    found = compare(said, drawn)
    assert [kind for _, kind in found] == ["kept", "edited", "rejected", "edited", "missed"]


def test_one_drawn_region_answers_one_prediction() -> None:
    assert sorted(kind for _, kind in compare([_square("a", 0), _square("b", 1)], [_square("1", 0)])) == [
        "kept",
        "rejected",
    ]
    assert compare([], []) == []


def _report(**more: Any) -> dict[str, Any]:
    empty = {
        "project": 1, "title": "<b>town</b>", "made": "2026-01-01T00:00:00", "active": None, "models": [],
        "labels": {"tasks": 5, "annotations": 0, "times": [], "by_day": {}}, "trainings": [],
        "calibration": {"reason": "nothing reviewed"}, "queue": {"reason": "never ranked"},
        "agreement": {"tasks": 0, "without_prediction": 0, "classes": {}}, "saved": {"reason": "too few"},
    }  # fmt: skip
    return {**empty, **more}


def test_a_project_without_anything_has_a_page() -> None:
    page = render_page(_report())
    assert "never ranked" in page
    assert "&lt;b&gt;town" in page
    assert "<img" not in page


def test_every_part_has_a_real_plot() -> None:
    judged = {
        "classes": {"Roof": 0.6},
        "mean_iou": 0.6,
        "regions": {"town": 0.6},
        "region_classes": {"town": {"Roof": 0.6}},
    }
    curve = {"labels": [3, 9], "mean": [0.5, 0.9], "low": [0.4, 0.8], "high": [0.6, 1.0]}
    bins = [{"low": 0, "high": 1, "count": 3, "mean_score": 0.7, "kept_share": 0.6}]
    page = render_page(
        _report(
            active="v1",
            models=[{"version": "v1", "decision": "kept", "chips": 9, "holdout": judged, "reason": "first"}],
            labels={"tasks": 5, "annotations": 2, "times": ["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]},
            trainings=[{"at": "2026-01-02T00:00:00+00:00", "decision": "kept"}],
            calibration={"classes": [{"label": "Roof", "count": 3, "before": bins}]},
            queue={"order": [1, 2], "reasons": {"unsure": 2}, "sampler": "mix", "version": "v1"},
            agreement={
                "tasks": 1, "without_prediction": 0,
                "classes": {"Roof": {"kept": 1, "edited": 1, "rejected": 0, "missed": 2}},
            },
            saved={
                "seeds": 10, "sampler": "mix", "labels": [9, 8, 10], "labels_by_chance": [20, 15, 25], "target": 0.95,
                "saved_share": [0.55, 0.4, 0.7], "curves": {"random": curve, "mix": curve},
            },
        )
    )  # fmt: skip
    assert page.count('src="data:image/png;base64,') == 6
