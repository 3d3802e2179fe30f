"""Routes as columns of the Data Manager."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from geolabel.errors import GeoLabelError
from geolabel.labelstudio.task import task_data
from geolabel.pipeline.answers import read_all_records
from geolabel.pipeline.labels import tasks_by_id
from geolabel.services import Services

_AT_ONCE = 200


def write_recorded(services: Services, project_id: str, version: str, task_ids: Sequence[int]) -> int:
    """Write the recorded routes of tasks into their data; returns how many tasks have them now.

    A task that changed meanwhile or is gone is left as it is: the columns are a convenience, the prediction is stored.
    """
    records = read_all_records(services, project_id, version)
    written = 0
    for start in range(0, len(task_ids), _AT_ONCE):
        pairs = [
            (task, records[version, str(task["id"])])
            for task in tasks_by_id(services, project_id, list(task_ids[start : start + _AT_ONCE]))
            if (version, str(task["id"])) in records
        ]
        with ThreadPoolExecutor(max_workers=2) as pool:
            written += sum(pool.map(lambda pair: _write(services, *pair), pairs))
    return written


def _write(services: Services, task: Mapping[str, Any], record: Mapping[str, Any]) -> bool:
    try:
        data = dict(task_data(task))
        wanted = route_columns(str(record["route"]), str(record.get("step", "")), str(record["reason"]))
        if any(data.get(key) != value for key, value in wanted.items()):
            services.labelstudio.update_task(int(task["id"]), {**data, **wanted})
    except GeoLabelError:
        return False
    return True


def route_columns(route: str, step: str, reason: str) -> dict[str, str]:
    """Return the columns of a route as they stand in `task.data`."""
    return {"route": route, "route_step": step, "route_reason": reason[:300]}
