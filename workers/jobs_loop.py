"""Jobs of active learning: events, training, ranking, reconciling. Thin."""

from __future__ import annotations

from typing import Any

from geolabel.errors import NotFoundError
from geolabel.pipeline.labels import clean_project_id
from geolabel.pipeline.loop_state import LoopState
from geolabel.services import Services
from workers.frame import Payload, Progress, job


@job
def process_event(services: Services, payload: Payload, progress: Progress) -> dict[str, Any]:
    """Take one event of Label Studio: see `geolabel.pipeline.events.read_event`."""
    from geolabel.pipeline.events_loop import process_event as run
    from geolabel.pipeline.triggers import follow_event

    progress(0, 1, str(payload.get("action") or ""))
    result = run(services, payload)
    follow_event(services, int(clean_project_id(payload.get("project"))))
    return result


@job
def tick(services: Services, payload: Payload, progress: Progress) -> dict[str, Any]:
    """Train when annotations have waited long enough, however few: {"project"}."""
    from geolabel.pipeline.events_loop import tick as run

    progress(0, 1, "waited long enough")
    return run(services, clean_project_id(payload.get("project")))


@job
def train(services: Services, payload: Payload, progress: Progress) -> dict[str, Any]:
    """Learn, judge, keep if not worse, then predict and rank: {"project"}."""
    from geolabel.pipeline.refresh import refresh_project
    from geolabel.pipeline.train import train_project

    project_id = clean_project_id(payload.get("project"))
    state = LoopState(services, project_id)
    state.started("train")
    try:
        with state.alone():
            result = train_project(services, project_id, report=progress)
            predicted, ranked = refresh_project(services, project_id, report=progress)
    except NotFoundError as error:
        return _gone(services, project_id, error)
    return {**result.to_json(), "predicted": predicted.get("imported", 0), "ranked": len(ranked.order)}


@job
def refresh(services: Services, payload: Payload, progress: Progress) -> dict[str, Any]:
    """Predict what lacks a prediction and rank: {"project"}."""
    from geolabel.pipeline.refresh import refresh_project

    project_id = clean_project_id(payload.get("project"))
    state = LoopState(services, project_id)
    state.started("refresh")
    try:
        with state.alone():
            predicted, ranked = refresh_project(services, project_id, report=progress)
    except NotFoundError as error:
        return _gone(services, project_id, error)
    return {"predicted": predicted, "ranked": ranked.to_json()}


@job
def select(services: Services, payload: Payload, progress: Progress) -> dict[str, Any]:
    """Rank the open tasks: {"project", "sampler"?}."""
    from geolabel.pipeline.select import rank_project

    project_id = clean_project_id(payload.get("project"))
    state = LoopState(services, project_id)
    state.started("rank")
    try:
        with state.alone():
            ranked = rank_project(services, project_id, sampler=str(payload.get("sampler") or ""), report=progress)
    except NotFoundError as error:
        return _gone(services, project_id, error)
    return ranked.to_json()


@job
def reconcile(services: Services, payload: Payload, progress: Progress) -> dict[str, Any]:
    """Find what no webhook told of: {"project"?}; all projects that have a loop without one."""
    from geolabel.pipeline.reconcile import reconcile as run

    progress(0, 1, "comparing with Label Studio")
    project = payload.get("project")
    return run(services, clean_project_id(project) if project else None)


def _gone(services: Services, project_id: str, error: NotFoundError) -> dict[str, Any]:
    """Answer for a project that was deleted while its jobs waited; anything else that is missing is an error."""
    try:
        services.labelstudio.project(int(project_id))
    except NotFoundError:
        LoopState(services, project_id).forget()
        return {"gone": True, "reason": f"project {project_id} was deleted"}
    raise error
