"""When an export starts by itself: N new reviewed tasks, the project is done, or a time has passed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from geolabel.errors import InputError, NotFoundError
from geolabel.pipeline.versions import list_versions
from geolabel.services import Services

EXPORT_JOB = "workers.jobs_export.export"
CHECK_JOB = "workers.jobs_export.check_triggers"
_SOON_S = 5.0
KINDS = ("reviewed", "done", "schedule")


def triggers_key(project_id: int) -> str:
    """Return the key of a project's triggers."""
    return f"projects/{project_id}/triggers.json"


def read_triggers(services: Services, project_id: int) -> list[dict[str, Any]]:
    """Return the triggers of a project: {"on": kind, "every": N or "hours": h, "recipe": {...}, "hooks": [names]}.

    Raises:
        InputError: a trigger is of no known kind or lacks its number.
    """
    try:
        value = services.store.get_json(triggers_key(project_id))
    except NotFoundError:
        return []
    for trigger in value if isinstance(value, list) else [None]:
        if not isinstance(trigger, dict) or trigger.get("on") not in KINDS:
            raise InputError(
                f"a trigger must be an object with `on` one of {', '.join(KINDS)}; got {str(trigger)[:100]}"
            )
        needs = {"reviewed": "every", "schedule": "hours"}.get(trigger["on"])
        if needs and not (isinstance(trigger.get(needs), int | float) and trigger[needs] > 0):
            raise InputError(f"trigger on {trigger['on']!r} needs {needs!r} above 0; got {trigger.get(needs)!r}")
    return list(value)


def follow_event(services: Services, project_id: int) -> None:
    """After an event of a project with triggers, look at them soon; events that come close together cause one look."""
    if services.store.exists(triggers_key(project_id)):
        services.jobs.enqueue(CHECK_JOB, {"project": project_id}, queue="export", delay_s=_SOON_S)


def due(trigger: Mapping[str, Any], state: Mapping[str, Any]) -> bool:
    """Tell whether a trigger fires.

    Args:
        trigger: As in `read_triggers`.
        state: finished and total tasks now; exported, tasks in the newest version; age_s of it, or None without one.
    """
    finished, exported, age_s = int(state["finished"]), int(state["exported"]), state["age_s"]
    match trigger["on"]:
        case "reviewed":
            return finished - exported >= int(trigger["every"])
        case "done":
            return 0 < int(state["total"]) <= finished and finished > exported
        case _:
            return age_s is None or age_s >= float(trigger["hours"]) * 3600


def fire(services: Services, project_id: int) -> list[str]:
    """Queue the exports whose trigger is due; return the job ids. The same state never queues one twice."""
    triggers = read_triggers(services, project_id)
    if not triggers:
        return []
    project = services.labelstudio.project(project_id)
    newest = list_versions(services, str(project_id))[-1:]
    age_s = None
    exported = 0
    if newest:
        exported = int(newest[0].counts.get("decoded", {}).get("annotations", 0))
        taken = time.strptime(newest[0].snapshot_time, "%Y-%m-%dT%H:%M:%SZ")
        age_s = time.time() - time.mktime(taken) + time.timezone
    state = {
        "finished": int(project.get("num_tasks_with_annotations") or project.get("finished_task_number") or 0),
        "total": int(project.get("task_number") or 0), "exported": exported, "age_s": age_s,
    }  # fmt: skip
    jobs = []
    for trigger in triggers:
        if due(trigger, state):
            payload = {"project": project_id, "recipe": trigger.get("recipe", {}), "hooks": trigger.get("hooks", []),
                       "cause": f"{trigger['on']} {state['finished']}/{state['total']} after {exported}"}  # fmt: skip
            jobs.append(services.jobs.enqueue(EXPORT_JOB, payload, queue="export").id)
    return jobs
