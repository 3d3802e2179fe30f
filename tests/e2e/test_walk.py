"""The walk of a new user: `geolabel up`, Label Studio in a browser, `geolabel export`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from geolabel.local.processes import alive
from tests.e2e.conftest import ROOT, Running
from tests.e2e.walking import login, open_project, open_task, retrieve_predictions, submit

pytestmark = pytest.mark.timeout(1800)  # a browser on a loaded machine
RETRIEVED_S = 600.0


def _geolabel(running: Running, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "geolabel", *words]
    return subprocess.run(command, env=running.env, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)


def _tasks(running: Running) -> list[dict[str, Any]]:
    with running.labelstudio as client:
        query = {"project": running.project_id, "page_size": 200, "fields": "all"}
        return list(client.get("/api/tasks", params=query).json()["tasks"])


def _predicted(running: Running, task: int) -> list[dict[str, Any]]:
    """Wait until a task has a prediction: at once, or when the worker has imported what was queued."""
    deadline = time.monotonic() + RETRIEVED_S
    with running.labelstudio as client:
        while time.monotonic() < deadline:
            found = client.get("/api/predictions/", params={"task": task}).json()
            if found and any(one["result"] for one in found):
                return list(found)
            time.sleep(0.5)
    log = running.settings.state_dir / "logs" / "backend.log"
    raise AssertionError(f"task {task} got no prediction; the backend's log ends: {log.read_text()[-3000:]}")


def test_the_sample_has_tasks_and_a_few_labels_to_learn_from(running: Running) -> None:
    tasks = _tasks(running)
    assert len(tasks) == 36
    labelled = [task for task in tasks if task["total_annotations"]]
    assert len(labelled) == 3
    assert not any(task["total_predictions"] for task in tasks)


def test_predict_correct_submit_export(running: Running, page: Page, screenshots: Path) -> None:
    group, local = running.settings.labelstudio, running.settings.local
    foreign: list[str] = []
    ours = (group.url, running.settings.backend_url, "data:", "blob:")
    page.on("request", lambda request: None if request.url.startswith(ours) else foreign.append(request.url))
    chosen = [task["id"] for task in _tasks(running) if not task["total_annotations"]][:4]

    login(page, group.url, local.email, local.password.get_secret_value())
    open_project(page, group.url, running.project_id, chosen[0])
    answer = retrieve_predictions(page, chosen)
    assert answer["detail"] == "Retrieved 4 predictions"
    found = {task: len(_predicted(running, task)[-1]["result"]) for task in chosen}
    page.screenshot(path=screenshots / "data-manager.png")

    fullest = max(found, key=lambda task: found[task])
    regions = open_task(page, group.url, running.project_id, fullest)
    assert regions, "the prediction is not shown as regions"
    assert {region["type"] for region in regions} & {"polygonregion", "brushregion"}
    page.wait_for_timeout(500)  # for the picture only: labels fade in
    page.screenshot(path=screenshots / "labelled-chip.png")

    removed = page.evaluate(
        "() => { const r = Htx.annotationStore.selected.regions[0]; const id = r.cleanId; r.deleteRegion(); return id }"
    )
    annotation = submit(page, fullest)
    kept = {result["id"] for result in annotation["result"]}
    assert removed not in kept
    assert kept == {region["id"] for region in regions} - {removed}
    assert annotation["parent_prediction"]
    assert not foreign, "the pages asked other servers"

    out = running.settings.state_dir.parent / "export"
    ended = _geolabel(running, "export", str(running.project_id), "--out", str(out))
    assert ended.returncode == 0, ended.stderr
    collections = [json.loads(path.read_text()) for path in sorted(out.rglob("*.geojson"))]
    assert sum(len(collection["features"]) for collection in collections) > 0


def test_status_and_doctor_find_everything_well(running: Running) -> None:
    status = json.loads(_geolabel(running, "status", "--json").stdout)
    states = {child["name"]: child["state"] for child in status["supervisor"]["children"]}
    assert states == {"redis": "running", "label-studio": "running", "backend": "running", "workers": "running"}
    assert status["label_studio"]
    doctor = _geolabel(running, "doctor", "--json")
    findings = json.loads(doctor.stdout)
    wrong = [finding for finding in findings if finding["level"] == "wrong"]
    assert not wrong
    assert doctor.returncode == 0


def test_setting_up_again_finds_the_same_project_and_adds_nothing(running: Running) -> None:
    ended = _geolabel(running, "setup")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(f"project {running.project_id}: 36 tasks, ")
    with running.labelstudio as client:
        assert client.get("/api/projects/").json()["count"] == 1
        assert len(client.get("/api/ml/", params={"project": running.project_id}).json()) == 1


def test_a_second_up_in_the_same_folder_is_a_sentence(running: Running) -> None:
    ended = _geolabel(running, "up")
    assert ended.returncode == 2
    assert "runs here already" in ended.stderr
    assert "Traceback" not in ended.stderr + ended.stdout


@pytest.mark.parametrize("which", ["backend", "workers"])
def test_what_is_killed_comes_back(running: Running, which: str) -> None:
    def child() -> dict[str, Any]:
        state = json.loads((running.settings.state_dir / "run.json").read_text())
        return next(one for one in state["children"] if one["name"] == which)

    before = child()
    os.kill(before["pid"], 9)
    deadline = time.monotonic() + 120
    while not (child()["restarts"] > before["restarts"] and child()["pid"] and alive(child()["pid"])):
        assert time.monotonic() < deadline
        time.sleep(0.2)
