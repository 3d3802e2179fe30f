"""Routes as columns of the Data Manager, for predictions that Label Studio stored itself."""

from __future__ import annotations

from collections.abc import Sequence

from geolabel.pipeline.answers import Answer, read_all_records
from geolabel.pipeline.labels import tasks_by_id
from geolabel.pipeline.prelabel import write_columns
from geolabel.services import Services


def write_recorded(services: Services, project_id: str, version: str, task_ids: Sequence[int]) -> int:
    """Write the recorded routes of tasks into their data; returns how many were written."""
    records = read_all_records(services, project_id, version)
    pairs = []
    for task in tasks_by_id(services, project_id, list(task_ids)):
        record = records.get((version, str(task["id"])))
        if record is not None:
            answer = Answer(
                task_id=int(task["id"]),
                item={"result": []},
                route=str(record["route"]),
                reason=str(record["reason"]),
                step=str(record.get("step", "")),
            )
            pairs.append((task, answer))
    return write_columns(services, pairs)
