"""/predict and pre-labelling against a real Label Studio and Redis, without the HTTP server between."""

from __future__ import annotations

from typing import Any

import pytest
import shapely

from geolabel.core.shapes import to_shapely
from geolabel.errors import InputError
from geolabel.labelstudio.codec import decode_result
from geolabel.labelstudio.task import chip_of_task
from geolabel.pipeline.chain import NO_LABELS_VERSION, open_project
from geolabel.pipeline.models import active_version, fit_project, list_versions
from geolabel.pipeline.predict_tasks import predict_tasks, setup_version
from geolabel.pipeline.prelabel import attach_predictions, prelabel
from geolabel.pipeline.progress import queue_report
from geolabel.services import Services


def fresh(town: Any, count: int, skip: int = 0) -> list[int]:
    """Unannotated tasks."""
    return [i for n, i in enumerate(sorted(town.tasks)) if n % 4][skip : skip + count]


def overlap(town: Any, task_id: int, result: list[dict[str, Any]], label: str) -> float:
    """IoU of predicted and true area of a class on one chip."""
    chip = chip_of_task(town.tasks[task_id])
    decoded = decode_result(result, width_px=chip.georef.width, height_px=chip.georef.height)
    said = shapely.union_all([to_shapely(r.shape) for r in decoded.regions if r.label == label])
    true = shapely.union_all([to_shapely(r.shape) for r in town.drawn(chip) if r.label == label])
    return said.intersection(true).area / max(said.union(true).area, 1e-9)


def test_without_labels_every_task_says_so(new_town: Any) -> None:
    town = new_town(labels=("House", "River"), size=256, seed=5)
    services = town.stack.services
    assert setup_version(services, {"project": town.pid, "schema": town.config.xml}) == NO_LABELS_VERSION
    entries = predict_tasks(services, town.payload(sorted(town.tasks)))
    assert entries == [{"result": [], "score": 0.0, "model_version": NO_LABELS_VERSION}] * len(town.tasks)


def test_labels_become_predictions_of_their_classes(town: Any) -> None:
    services = town.stack.services
    chosen = fresh(town, 4)
    entries = predict_tasks(services, town.payload(chosen))
    assert len(entries) == 4
    version = setup_version(services, {"project": town.pid, "schema": town.config.xml})
    assert version.startswith("fewshot-")
    roofs = []
    for task_id, entry in zip(chosen, entries, strict=True):
        assert isinstance(entry, dict)
        assert entry["model_version"] == version
        assert 0 <= entry["score"] <= 1
        assert {label for item in entry["result"] for label in item["value"]["polygonlabels"]} <= {"Roof", "Canal"}
        roofs.append(overlap(town, task_id, entry["result"], "Roof"))
    assert sum(roofs) / len(roofs) > 0.7, roofs


def test_the_same_labels_give_the_same_version(town: Any) -> None:
    services = town.stack.services
    fit_project(services, town.pid, config=town.config)
    before = active_version(services, town.pid)
    again = fit_project(services, town.pid, config=town.config)
    assert before is not None
    assert again == before
    assert [item.version for item in list_versions(services, town.pid)].count(before.version) == 1


def test_a_button_pressed_twice_answers_each_task_once(town: Any) -> None:
    services = town.stack.services
    chosen = fresh(town, 3, skip=4)
    first = predict_tasks(services, town.payload(chosen))
    second = predict_tasks(services, town.payload(chosen))
    assert all(isinstance(entry, dict) for entry in first)
    assert second == [[], [], []]


def test_what_is_not_ready_is_queued_once_and_stored_by_a_worker(town: Any) -> None:
    services = town.stack.services
    chosen = fresh(town, 6, skip=7)
    few = services.settings.predict.model_copy(update={"inline_tasks": 2})
    slow = Services(services.settings.model_copy(update={"predict": few}))
    entries = predict_tasks(slow, town.payload(chosen))
    assert [isinstance(entry, dict) for entry in entries] == [True, True, False, False, False, False]
    assert entries[2:] == [[], [], [], []]
    jobs = [job for job in services.jobs.list() if job.name.endswith("prelabel")]
    assert [sorted(job.payload["tasks"]) for job in jobs] == [chosen[2:]]
    assert predict_tasks(slow, town.payload(chosen)) == [[]] * 6, "claimed tasks are not answered again"
    # The worker's part, twice, as after a crash between import and the end of the job.
    payload = jobs[0].payload
    first = prelabel(services, town.pid, payload["tasks"], claimed=True)
    second = prelabel(services, town.pid, payload["tasks"], claimed=True)
    assert (first.imported, first.failed) == (4, {})
    assert (second.imported, second.skipped) == (0, 4)
    stored = town.stored(chosen[2:])
    assert [len(predictions) for predictions in stored.values()] == [1, 1, 1, 1]
    version = open_project(services, town.pid, town.config).version
    assert services.labelstudio.project(town.project_id)["model_version"] == version
    task = services.labelstudio.task(chosen[2])
    assert task["data"]["route"] in ("accept", "review", "empty")
    assert "few-shot" in task["data"]["route_reason"]
    report = queue_report(services, town.pid)
    assert report["tasks"]["answered"] >= 6
    assert report["tasks"]["failed"] == 0


def test_deleted_predictions_can_be_asked_for_again(town: Any) -> None:
    services = town.stack.services
    task_id = fresh(town, 1, skip=13)[0]
    assert prelabel(services, town.pid, [task_id]).imported == 1
    assert predict_tasks(services, town.payload([task_id])) == [[]]
    for prediction in services.labelstudio.predictions(task_id):
        services.labelstudio.delete_prediction(prediction["id"])
    assert isinstance(predict_tasks(services, town.payload([task_id]))[0], dict)


def test_an_object_across_chips_is_joined(town: Any) -> None:
    services = town.stack.services
    fit_project(services, town.pid, config=town.config)
    row = [i for i in sorted(town.tasks) if chip_of_task(town.tasks[i]).window.row == 224]
    tasks = [{"data": town.tasks[i]["data"]} for i in row]
    out, result = attach_predictions(services, town.pid, tasks)
    assert result.imported == len(row)
    canals = [
        item["meta"]["geolabel"]["attributes"].get("object")
        for task in out
        for item in task["predictions"][0]["result"]
        if item["value"]["polygonlabels"] == ["Canal"] and "meta" in item
    ]
    assert len(canals) >= len(row)
    assert len(set(canals)) == 1


def test_one_bad_task_never_costs_the_others(town: Any) -> None:
    services = town.stack.services
    good = fresh(town, 2, skip=15)
    tasks = town.payload(good)["tasks"]
    unknown = {**tasks[0], "id": 900_000_001, "data": {**tasks[0]["data"]}}
    unknown["data"]["geo"] = {**unknown["data"]["geo"], "scene_id": "0" * 20}
    strangers = [
        {"id": 900_000_002, "data": {"image": "http://x/y.jpg"}},
        {"id": 900_000_003, "data": {"image": "x", "geo": {"schema": "geolabel.chip/1"}}},
        {"id": 900_000_004},
        unknown,
    ]
    entries = predict_tasks(services, town.payload([], tasks=[strangers[0], tasks[0], *strangers[1:], tasks[1]]))
    assert len(entries) == 6
    assert [bool(isinstance(e, dict) and e["result"] is not None) for e in entries] == [True] * 6
    assert [len(e["result"]) for n, e in enumerate(entries) if n not in (1, 5)] == [0, 0, 0, 0]
    assert entries[1]["model_version"] == entries[0]["model_version"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"tasks": None}, "no list of tasks"),
        ({"project": "x.y"}, "project is 'x.y'"),
        ({"label_config": "<View"}, "no XML"),
    ],
)
def test_bad_bodies_are_refused_with_a_sentence(town: Any, change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        predict_tasks(town.stack.services, town.payload(fresh(town, 1), **change))


def test_more_labels_give_another_version_that_sees_more(new_town: Any) -> None:
    town = new_town(labels=("Tank", "Ditch"), size=256, seed=9)
    services = town.stack.services
    ids = sorted(town.tasks)
    town.annotate(ids[:1])
    first = fit_project(services, town.pid, config=town.config)
    town.annotate(ids[1:3])
    second = fit_project(services, town.pid, config=town.config)
    assert first is not None
    assert second is not None
    assert first.version != second.version
    assert sum(second.labels.values()) > sum(first.labels.values())
    assert {item.version for item in list_versions(services, town.pid)} == {first.version, second.version}


def test_predictions_travel_with_new_tasks(town: Any) -> None:
    from geolabel.pipeline.import_chips import import_tasks

    services = town.stack.services
    fit_project(services, town.pid, config=town.config)
    source = [town.tasks[i]["data"] for i in sorted(town.tasks)[:3]]
    tasks = [{"data": {**data, "chip_id": f"copy-{n}"}} for n, data in enumerate(source)]
    known: dict[str, tuple[int, dict[str, Any]]] = {}
    made = import_tasks(services, town.project_id, tasks, known=known, report=lambda done, total, message: None)
    assert made.created == 3
    ids = [known[f"copy-{n}"][0] for n in range(3)]
    stored = town.stored(ids)
    version = open_project(services, town.pid, town.config).version
    assert [[p["model_version"] for p in predictions] for predictions in stored.values()] == [[version]] * 3
    assert services.labelstudio.task(ids[0])["data"]["route"]
    services.labelstudio.delete_tasks(town.project_id, ids)
