"""Events in any order, twice, forged; and what no event told of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from geolabel.pipeline.events_loop import follow_up, process_event, tick
from geolabel.pipeline.loop_state import DELETED, LoopState
from geolabel.pipeline.reconcile import reconcile, reconcile_project
from tests.servers import Stack


def _event(action: str, project: int, *annotations: tuple[int, str]) -> dict[str, Any]:
    rows = [{"id": i, "task": i, "updated_at": at} for i, at in annotations]
    return {"action": action, "project": project, "tasks": [], "annotations": rows}


def test_any_order_and_any_number_of_times_gives_the_same_hints(stack: Stack) -> None:
    created = _event("ANNOTATION_CREATED", 900001, (1, "2026-01-01T10:00:00Z"))
    updated = _event("ANNOTATION_UPDATED", 900001, (1, "2026-01-01T11:00:00Z"))
    deleted = _event("ANNOTATIONS_DELETED", 900001, (1, ""))
    other = _event("ANNOTATION_CREATED", 900001, (2, "2026-01-01T10:30:00Z"))
    state = LoopState(stack.services, "900001")
    for order in ((created, updated, other), (updated, created, other), (other, updated, updated, created, created)):
        state.forget()
        for event in order:
            process_event(stack.services, event)
        assert state.pending() == {"1": "2026-01-01T11:00:00Z", "2": "2026-01-01T10:30:00Z"}
    for order in ((created, updated, deleted), (deleted, created, updated), (created, deleted, updated, deleted)):
        state.forget()
        for event in order:
            process_event(stack.services, event)
        assert state.pending() == {"1": DELETED}


def test_at_most_one_training_waits_however_many_annotations_come(stack: Stack) -> None:
    state = LoopState(stack.services, "900002")
    for number in range(40):
        process_event(stack.services, _event("ANNOTATION_CREATED", 900002, (number, "2026-01-01")))
    waiting = [job for job in stack.services.jobs.list() if job.payload.get("project") == 900002]
    names = sorted(job.name.rsplit(".", 1)[-1] for job in waiting if job.state in ("queued", "scheduled"))
    assert names.count("train") == 1
    assert names.count("select") <= 1
    assert names.count("tick") <= 1
    # A job that has begun does not swallow what comes after.
    state.started("train")
    assert follow_up(stack.services, state, set()) == {"train"}


def test_few_annotations_are_learned_after_a_while(stack: Stack) -> None:
    process_event(stack.services, _event("ANNOTATION_CREATED", 900003, (5, "2026-01-01")))
    state = LoopState(stack.services, "900003")
    assert not state.waits("train")
    assert tick(stack.services, "900003")["job"].startswith("train-900003-")
    assert tick(stack.services, "900003")["job"] == ""


def test_reconcile_finds_what_no_webhook_told_of(new_loop: Callable[..., Any]) -> None:
    loop = new_loop(size=192, labelled=11)
    services, state = loop.stack.services, LoopState(loop.stack.services, loop.pid)
    # A forged or overtaken hint about an annotation that does not exist.
    state.note(10**9, "2026-01-01")
    found = reconcile_project(services, loop.pid)
    assert (found["changed"], found["ghosts"], found["news"]) == (11, 1, 11)
    assert "train" in found["asked"]
    assert str(10**9) not in state.pending()
    # What was learned is not news any more, what was deleted since is.
    state.settle(state.pending())
    annotations = {
        str(a["id"]): str(a["updated_at"]) for t in loop.labelstudio.tasks(loop.project_id) for a in t["annotations"]
    }
    state.set_learned(annotations, "x")
    assert reconcile_project(services, loop.pid)["news"] == 0
    loop.labelstudio.delete_annotation(int(next(iter(annotations))))
    found = reconcile_project(services, loop.pid)
    assert (found["gone"], found["changed"]) == (1, 0)
    assert state.pending() == {next(iter(annotations)): DELETED}


def test_a_deleted_project_is_forgotten_and_costs_no_other(new_loop: Callable[..., Any]) -> None:
    loop = new_loop(size=128)
    services = loop.stack.services
    services.store.put_json(f"projects/{loop.pid}/loop/queue.json", {"tasks": 1, "version": ""})
    LoopState(services, loop.pid).note(1, "2026-01-01")
    loop.labelstudio.delete_project(loop.project_id)
    assert "gone" in reconcile(services)["projects"][loop.pid]
    assert LoopState(services, loop.pid).pending() == {}
    from workers.jobs_loop import _gone

    assert _gone(services, loop.pid, LookupError("x"))["gone"] is True  # type: ignore[arg-type]
