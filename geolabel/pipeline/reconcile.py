"""Find what no webhook told of: Label Studio sends each once, waits a second, and sends none for imports."""

from __future__ import annotations

from typing import Any

from geolabel.errors import GeoLabelError, NotFoundError
from geolabel.pipeline.events import replay_spool
from geolabel.pipeline.events_loop import follow_up
from geolabel.pipeline.labels import project_config, project_key
from geolabel.pipeline.loop_state import DELETED, LoopState, known_projects
from geolabel.pipeline.train import take_snapshot
from geolabel.services import Services


def reconcile(services: Services, project_id: str | None = None) -> dict[str, Any]:
    """Compare Label Studio with what was processed, for one project or all that have a loop; ask for what is missing.

    A project that fails costs no other; one that is gone is forgotten.
    """
    replayed = replay_spool(services)
    found: dict[str, Any] = {"replayed": replayed, "projects": {}}
    for number in [project_id] if project_id else known_projects(services):
        try:
            found["projects"][number] = reconcile_project(services, number)
        except NotFoundError as error:
            if project_id:
                raise
            LoopState(services, number).forget()
            found["projects"][number] = {"gone": error.message}
        except GeoLabelError as error:
            if project_id:
                raise
            found["projects"][number] = {"error": error.message}
    return found


def reconcile_project(services: Services, project_id: str) -> dict[str, Any]:
    """Make the hints of a project anew from Label Studio, and ask for jobs as events would have done.

    Raises:
        NotFoundError: the project is gone.
    """
    state = LoopState(services, project_id)
    noted = state.pending()
    config = project_config(services, project_id)
    now = take_snapshot(services, project_id, config).annotations
    learned = state.learned()
    changed = {key: updated for key, updated in now.items() if learned.get(key) != updated}
    gone = [key for key in learned if key not in now]
    # A hint about an annotation that is neither here nor was ever learned is a ghost, forged or overtaken.
    ghosts = {key: value for key, value in noted.items() if key not in changed and key not in gone}
    state.settle(ghosts)
    news = sum(state.note(int(key), updated) for key, updated in changed.items())
    news += sum(state.note(int(key), DELETED) for key in gone)
    asked: set[str] = {"rank"} if news or ghosts else set()
    if _queue_is_stale(services, project_id):
        asked.add("refresh")
    return {
        "changed": len(changed),
        "gone": len(gone),
        "ghosts": len(ghosts),
        "news": news,
        "asked": sorted(follow_up(services, state, asked)),
    }


def _queue_is_stale(services: Services, project_id: str) -> bool:
    """Tell whether tasks came or went, or the version changed, since the queue was written."""
    try:
        queue = services.store.get_json(project_key(project_id, "loop/queue.json"))
    except NotFoundError:
        return True
    project = services.labelstudio.project(int(project_id))
    same = queue.get("tasks") == project.get("task_number") and queue.get("version") == project.get("model_version")
    return not same
