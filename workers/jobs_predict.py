"""Jobs of prediction: pre-label tasks, learn from a project's labels, fit its calibration."""

from __future__ import annotations

from typing import Any

from geolabel.errors import InputError
from geolabel.pipeline.labels import clean_project_id
from geolabel.services import Services
from workers.frame import Payload, Progress, job


def _task_ids(payload: Payload) -> list[int] | None:
    tasks = payload.get("tasks")
    if tasks is None:
        return None
    if not isinstance(tasks, list) or not all(isinstance(i, int) for i in tasks):
        raise InputError(f"tasks must be a list of task ids or left out; got {str(tasks)[:100]}")
    return tasks


@job
def prelabel(services: Services, payload: Payload, progress: Progress) -> dict[str, Any]:
    """Predict tasks and import the predictions: {"project", "tasks"?, "claimed"?, "refit"?, "columns"?}."""
    from geolabel.pipeline.prelabel import prelabel as run

    project = clean_project_id(payload.get("project"))
    result = run(
        services,
        project,
        _task_ids(payload),
        claimed=bool(payload.get("claimed")),
        columns=False,
        refit=bool(payload.get("refit")),
        report=progress,
    )
    if payload.get("columns", True) and result.answered:
        # A job of its own: it takes a request a task, and the next predictions must not wait for it.
        rest = {"project": project, "version": result.version, "tasks": result.answered}
        services.jobs.enqueue("workers.jobs_predict.route_columns", rest, queue="cpu")
    return result.to_json()


@job
def fit(services: Services, payload: Payload, progress: Progress) -> dict[str, Any]:
    """Learn from a project's labels and activate the result: {"project"}."""
    from geolabel.pipeline.models import fit_project

    progress(0, 1, "learning")
    model = fit_project(services, clean_project_id(payload.get("project")))
    progress(1, 1, "learned" if model else "no labels yet")
    return {"version": model.version if model else None, "labels": model.labels if model else {}}


@job
def route_columns(services: Services, payload: Payload, progress: Progress) -> dict[str, Any]:
    """Write recorded routes into tasks as columns of the Data Manager: {"project", "version", "tasks"}."""
    from geolabel.pipeline.columns import write_recorded

    project = clean_project_id(payload.get("project"))
    written = write_recorded(services, project, str(payload.get("version") or ""), _task_ids(payload) or [])
    progress(written, written, "columns written")
    return {"written": written}


@job
def calibrate(services: Services, payload: Payload, progress: Progress) -> dict[str, Any]:
    """Fit a project's calibration from what reviewers kept: {"project"}."""
    from geolabel.pipeline.calibrate import calibrate_project

    progress(0, 1, "comparing predictions with annotations")
    report = calibrate_project(services, clean_project_id(payload.get("project")))
    progress(1, 1, "fitted")
    return report.to_json()
