"""60 annotations through Label Studio's API in random order while the workers are killed twice: nothing is lost."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from typing import Any

import pytest

from geolabel.pipeline.connect import connect
from geolabel.pipeline.labels import project_key
from geolabel.pipeline.loop_report import report_project
from geolabel.pipeline.loop_state import LoopState
from geolabel.pipeline.models import active_version, list_versions
from geolabel.pipeline.refresh import refresh_project
from geolabel.pipeline.train import train_project
from tests.servers import Stack

LABELLED = 60
SETTINGS = {
    "GEOLABEL_LOOP__RETRAIN_AFTER": str(LABELLED),
    "GEOLABEL_LOOP__RETRAIN_WAIT_S": "3600",
    "GEOLABEL_LOOP__RANK_WAIT_S": "1",
    "GEOLABEL_LOOP__COLUMN_TASKS": "0",
    "GEOLABEL_JOBS__RECONCILE_S": "3",
}


def _kill(stack: Stack, child: Any) -> None:
    """Kill the pool and all its workers outright; they are one process group."""
    os.killpg(child.pid, signal.SIGKILL)
    stack.stop_child(child)


def _end_state(loop: Any) -> dict[str, Any]:
    """What must be the same; chips instead of task ids, and no times."""
    services = loop.stack.services
    chips = {i: task["data"]["chip_id"] for i, task in loop.tasks.items()}
    active = active_version(services, loop.pid)
    assert active is not None
    queue = services.store.get_json(project_key(loop.pid, "loop/queue.json"))
    report = report_project(services, loop.pid, replay=False)
    return {
        "versions": [(v.version, v.sha256, v.metrics.get("snapshot")) for v in list_versions(services, loop.pid)],
        "active": (active.version, active.metrics["decision"], active.metrics["holdout"]),
        "queue": [chips[i] for i in queue["order"]],
        "counts": {key: queue[key] for key in ("reasons", "waiting", "unreadable", "skipped", "labelled", "tasks")},
        "version_served": loop.labelstudio.project(loop.project_id)["model_version"],
        "report": {
            "annotations": report["labels"]["annotations"],
            "trainings": [(t["decision"], t["version"], t["new"]) for t in report["trainings"]],
            "pending": LoopState(services, loop.pid).pending(),
        },
    }


def _settled(loop: Any) -> bool:
    services = loop.stack.services
    try:
        queue = services.store.get_json(project_key(loop.pid, "loop/queue.json"))
    except LookupError:
        return False
    active = active_version(services, loop.pid)
    busy = [j for j in services.jobs.list() if j.state in ("queued", "started") and "reconcile" not in j.name]
    return active is not None and queue["labelled"] == LABELLED and not queue["waiting"] and not busy


def _training_began(stack: Stack) -> bool:
    jobs = stack.services.jobs.list()
    return any(job.name.endswith("train") and job.state in ("started", "finished") for job in jobs)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_killed_workers_leave_the_state_that_none_would(
    stack: Stack, new_loop: Callable[..., Any], wait_until: Callable[..., Any]
) -> None:
    calm = new_loop(size=456, labelled=LABELLED)
    assert train_project(stack.services, calm.pid).decision == "kept"
    refresh_project(stack.services, calm.pid)
    expected = _end_state(calm)

    rough = new_loop(size=456)
    url = stack.backend(**SETTINGS)
    connect(stack.services, rough.project_id, url)
    done = {task["data"]["chip_id"] for task in calm.tasks.values() if task.get("annotations")}
    ids = [i for i, task in rough.tasks.items() if task["data"]["chip_id"] in done]
    random.Random(4).shuffle(ids)
    worker = stack.worker(**SETTINGS)
    for task_id in ids[:20]:
        rough.annotate(task_id)
    _kill(stack, worker)
    for task_id in ids[20:40]:  # nobody works; the events wait
        rough.annotate(task_id)
    worker = stack.worker(**SETTINGS)
    for task_id in ids[40:]:
        rough.annotate(task_id)
    wait_until(lambda: _training_began(stack), "no training began")
    _kill(stack, worker)
    stack.worker(**SETTINGS)
    wait_until(lambda: _settled(rough), "the loop did not come to rest")
    assert _end_state(rough) == expected
