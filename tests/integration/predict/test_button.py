"""The Predictions button of a real Label Studio, the backend's server and a worker."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from geolabel.pipeline.connect import connect
from geolabel.pipeline.models import fit_project
from geolabel.pipeline.predict_tasks import setup_version

DEADLINE_S = 240.0


def wait_for(what: str, ready: Callable[[], bool]) -> None:
    """Poll until something is so."""
    end = time.monotonic() + DEADLINE_S
    while not ready():
        assert time.monotonic() < end, f"waited {DEADLINE_S:.0f} s for {what}"
        time.sleep(0.5)


def counts(town: Any, ids: list[int]) -> dict[int, int]:
    tasks = {int(t["id"]): t for t in town.stack.services.labelstudio.tasks(town.project_id)}
    return {i: len(tasks[i]["predictions"]) for i in ids}


def test_forty_tasks_pressed_twice_at_once_are_stored_once_each(new_town: Any) -> None:
    town = new_town(labels=("Shed", "Moat"), size=704, seed=21)
    stack, services = town.stack, town.stack.services
    ids = sorted(town.tasks)
    town.annotate(ids[:40:9])
    fit_project(services, town.pid, config=town.config)
    url = stack.backend(GEOLABEL_PREDICT__INLINE_TASKS="8")
    worker = stack.worker()
    connect(services, town.project_id, url)
    chosen = [i for i in ids if i not in ids[:40:9]][:40]
    with ThreadPoolExecutor(3) as pool:
        presses = [pool.submit(press, town, chosen) for _ in range(2)]
        # Label Studio stays usable meanwhile.
        assert services.labelstudio.project(town.project_id)["id"] == town.project_id
        answers = [item.result() for item in presses]
    assert all(answer["processed_items"] == len(chosen) for answer in answers)
    wait_for("all predictions", lambda: min(counts(town, chosen).values()) >= 1)
    wait_for("the jobs", lambda: all(job.state in ("finished", "failed") for job in prelabels(services)))
    press(town, chosen)
    assert set(counts(town, chosen).values()) == {1}
    assert {job.error for job in prelabels(services)} == {""}
    version = setup_version(services, {"project": town.pid, "schema": town.config.xml})
    assert services.labelstudio.project(town.project_id)["model_version"] == version
    page = httpx.get(f"{url}/progress", params={"project": town.pid}, auth=stack.auth, timeout=60, trust_env=False)
    assert page.status_code == 200
    assert "tasks predicted" in page.text
    versions = httpx.get(f"{url}/versions", auth=stack.auth, timeout=60, trust_env=False).json()["versions"]
    assert versions
    stack.stop_child(worker)


def prelabels(services: Any) -> list[Any]:
    return [job for job in services.jobs.list() if job.name == "workers.jobs_predict.prelabel"]


def press(town: Any, ids: list[int]) -> dict[str, Any]:
    """Actions → Retrieve Predictions."""
    return dict(
        town.stack.services.labelstudio.action(
            town.project_id, "retrieve_tasks_predictions", included=ids, timeout_s=120.0
        )
    )


@pytest.fixture(scope="module")
def two_towns(new_town: Any) -> list[Any]:
    towns = [
        new_town(labels=("Barn", "Brook"), size=256, seed=31),
        new_town(labels=("Tent", "Drain"), size=256, seed=32),
    ]
    for town in towns:
        town.annotate(sorted(town.tasks)[:2])
        fit_project(town.stack.services, town.pid, config=town.config)
    return towns


def labels_in(entries: list[Any]) -> set[str]:
    return {label for entry in entries for item in entry["result"] for label in item["value"]["polygonlabels"]}


def test_projects_are_never_mixed_even_when_servers_restart(two_towns: list[Any], stack: Any) -> None:
    from geolabel.local.ports import free_port

    port = free_port()
    url = stack.backend(workers=2, port=port)
    server = stack.children[-1]
    done = [0] * 8

    def ask(client: int) -> set[str]:
        wrong: set[str] = set()
        with httpx.Client(base_url=url, auth=stack.auth, timeout=120, trust_env=False) as http:
            for turn in range(3):
                town = two_towns[(client + turn) % 2]
                body = town.payload(sorted(town.tasks)[2:4])
                # Without ids nothing is claimed: every request gets its own answer.
                body["tasks"] = [{key: value for key, value in task.items() if key != "id"} for task in body["tasks"]]
                answer = post(http, "/predict", body)
                found = labels_in(answer["results"])
                if not found or not found <= set(town.labels) or len(answer["results"]) != 2:
                    wrong.add(f"{town.labels}: {found}")
                setup = post(http, "/setup", {"project": body["project"], "schema": town.config.xml})
                if setup["model_version"] != answer["results"][0]["model_version"]:
                    wrong.add("versions differ")
                done[client] += 1
        return wrong

    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(ask, n) for n in range(8)]
        wait_for("half of the answers", lambda: sum(done) >= 8)
        stack.stop_child(server)
        stack.backend(workers=2, port=port)
        wrong = set().union(*(item.result() for item in running))
    assert wrong == set()
    assert done == [3] * 8


def post(http: httpx.Client, path: str, body: dict[str, Any]) -> Any:
    """Post as Label Studio does, again while the server is away."""
    end = time.monotonic() + DEADLINE_S
    while True:
        try:
            answer = http.post(path, json=body)
        except httpx.TransportError:
            assert time.monotonic() < end, "the server did not come back"
            time.sleep(0.3)
            continue
        assert answer.status_code == 200, answer.text
        return answer.json()


def test_bad_requests_get_sentences(two_towns: list[Any], stack: Any) -> None:
    from geolabel.local.ports import free_port

    url = stack.backend(port=free_port())
    town = two_towns[0]
    with httpx.Client(base_url=url, auth=stack.auth, timeout=60, trust_env=False) as http:
        cases = [
            http.post("/predict", content=b"{not json", headers={"content-type": "application/json"}),
            http.post("/predict", json=[1, 2]),
            http.post("/predict", json={**town.payload([]), "tasks": "all"}),
            http.post("/setup", json={"project": town.pid, "schema": "<View>"}),
            http.post("/setup", json={}),
        ]
        for answer in cases:
            assert answer.status_code == 400, answer.text
            assert "Traceback" not in answer.text
            assert len(answer.text) > 20
        assert http.post("/predict", json=town.payload([])).json() == {"results": []}
        assert httpx.post(f"{url}/predict", json={}, trust_env=False).status_code == 401
        odd = town.payload([], tasks=[{"id": None, "data": None}, {}])
        assert [entry["result"] for entry in http.post("/predict", json=odd).json()["results"]] == [[], []]
