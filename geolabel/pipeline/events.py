"""Label Studio's events: read, made small and free of secrets, recognised when they come twice, queued or spooled."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from geolabel.core.ids import digest
from geolabel.errors import InputError, QueueError
from geolabel.services import Services

EVENT_JOB = "workers.jobs_loop.process_event"
TRAIN_JOB = "workers.jobs_loop.train"
START_TRAINING = "START_TRAINING"
#: How long an event is known again. Without times in it, the same text may be news: ids are used again, and a project
#: changes many times; then only an immediate repeat is taken for the same.
_SEEN_TTL_S = 86_400
_SEEN_TTL_UNDATED_S = 5
_SPOOL = "events.jsonl"


def read_event(body: Mapping[str, Any]) -> dict[str, Any]:
    """Keep of a webhook what later steps need: ids, times, who; never the project's invite token.

    Raises:
        InputError: the body names no action or no project.
    """
    action = body.get("action")
    if not isinstance(action, str) or not action:
        raise InputError("the event has no action; Label Studio's webhooks carry one, such as ANNOTATION_CREATED")
    project = body.get("project")
    project_id = project.get("id") if isinstance(project, Mapping) else project
    if not isinstance(project_id, int | str) or not str(project_id).split(".")[0].isdigit():
        raise InputError(f"event {action} names no project; it must carry project.id")
    annotations = [a for a in _many(body.get("annotation")) + _many(body.get("annotations")) if "id" in a]
    tasks = [t for t in _many(body.get("task")) + _many(body.get("tasks")) if "id" in t]
    try:
        task_ids = {int(t["id"]) for t in tasks} | {int(a["task"]) for a in annotations if a.get("task")}
        annotation_ids = [int(a["id"]) for a in annotations]
    except (TypeError, ValueError) as error:
        raise InputError(f"event {action} has an id that is no number ({error})") from error
    return {
        "action": action,
        "project": int(str(project_id).split(".")[0]),
        "tasks": sorted(task_ids),
        "annotations": [
            {
                "id": number,
                "task": a.get("task"),
                "updated_at": a.get("updated_at"),
                "completed_by": _id_of(a.get("completed_by")),
                "was_cancelled": bool(a.get("was_cancelled", False)),
                "regions": len(a["result"]) if isinstance(a.get("result"), list) else None,
            }
            for number, a in zip(annotation_ids, annotations, strict=True)
        ],
    }


def _many(value: Any) -> list[Mapping[str, Any]]:
    items: Iterable[Any] = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, Mapping)]


def _id_of(value: Any) -> int | None:
    found = value.get("id") if isinstance(value, Mapping) else value
    return found if isinstance(found, int) else None


def event_key(event: Mapping[str, Any]) -> str:
    """Return the identity of an event: the same change told twice has the same."""
    return digest("event", event["action"], event["project"], event["tasks"], event["annotations"])


def accept_event(services: Services, body: Mapping[str, Any]) -> dict[str, Any]:
    """Queue an event, or keep it on disk while Redis is away; nothing is processed here.

    Returns:
        {"status": "queued" | "duplicate" | "spooled", "job": id or None}

    Raises:
        InputError: it is no event.
    """
    event = read_event(body)
    try:
        replay_spool(services)
        return _queue(services, event)
    except QueueError:
        _spool(services, event)
        return {"status": "spooled", "job": None}


def _queue(services: Services, event: Mapping[str, Any]) -> dict[str, Any]:
    if event["action"] == START_TRAINING:
        job = services.jobs.enqueue(TRAIN_JOB, {"project": event["project"]}, queue="model")
        return {"status": "queued", "job": job.id}
    key = event_key(event)
    dated = bool(event["annotations"]) and all(item["updated_at"] for item in event["annotations"])
    if not services.jobs.first_time(f"event:{key}", ttl_s=_SEEN_TTL_S if dated else _SEEN_TTL_UNDATED_S):
        return {"status": "duplicate", "job": f"event-{key}"}
    try:
        job = services.jobs.enqueue(EVENT_JOB, event, queue="fast", job_id=f"event-{key}")
    except QueueError:
        services.jobs.forget(f"event:{key}")
        raise
    return {"status": "queued", "job": job.id}


def _spool(services: Services, event: Mapping[str, Any]) -> None:
    path = spool_path(services)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(str(path) + ".lock"), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(event) + "\n")
        file.flush()


def spool_path(services: Services) -> Path:
    """Return the file that holds events while Redis is away."""
    return services.settings.state_dir.absolute() / "spool" / _SPOOL


def replay_spool(services: Services) -> int:
    """Queue the events that were kept on disk; return how many.

    Raises:
        QueueError: Redis is still away; the events stay.
    """
    path = spool_path(services)
    if not path.is_file():
        return 0
    with FileLock(str(path) + ".lock"):
        if not path.is_file():
            return 0
        lines = [line for line in path.read_text("utf-8").splitlines() if line.strip()]
        for line in lines:
            _queue(services, json.loads(line))
        path.unlink()
    return len(lines)
