"""After a model changed or tasks came: predict the open tasks, the head of the queue first, then rank them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from geolabel.adapters.claims import QUEUED_S, Claims
from geolabel.errors import NotFoundError
from geolabel.pipeline.chain import ProjectView, open_project
from geolabel.pipeline.labels import project_config, project_key
from geolabel.pipeline.loop_state import LoopState
from geolabel.pipeline.prelabel import prelabel
from geolabel.pipeline.select import RankResult, rank_project
from geolabel.services import Services

_AGAIN_S = 60.0
Report = Callable[[int, int | None, str], None]


def refresh_project(
    services: Services, project_id: str, *, report: Report | None = None
) -> tuple[dict[str, Any], RankResult]:
    """Predict open tasks that lack a prediction of the current model, then rank; returns both results.

    Raises:
        NotFoundError: the project is gone.
    """
    try:
        before = [int(i) for i in services.store.get_json(project_key(project_id, "loop/queue.json"))["order"]]
    except NotFoundError:
        before = []
    query = {
        "filters": {
            "conjunction": "and",
            "items": [
                {"filter": "filter:tasks:total_annotations", "operator": "equal", "type": "Number", "value": 0},
            ],
        },
        "ordering": ["tasks:id"],
    }
    still_open = [
        int(task["id"])
        for task in services.labelstudio.tasks(int(project_id), fields="task_only", query=query)
        if not task.get("is_labeled")
    ]
    rank = {task_id: place for place, task_id in enumerate(before)}
    still_open.sort(key=lambda task_id: (rank.get(task_id, len(rank)), task_id))
    predicted: dict[str, Any] = {}
    # Predicting would learn by itself where there is no model yet; in the loop only a training does that.
    view = open_project(services, project_id, project_config(services, project_id))
    mine = _claimed(services, view, still_open) if view.ready else still_open
    if mine and view.ready:
        predicted = prelabel(services, project_id, mine, claimed=True, columns=False, report=report).to_json()
    ranked = rank_project(services, project_id, report=report)
    if set(ranked.waiting) - set(mine):
        # Somebody else answers them now; they are ranked when that is done.
        LoopState(services, project_id).ask("refresh", delay_s=_AGAIN_S)
    return predicted, ranked


def _claimed(services: Services, view: ProjectView, task_ids: list[int]) -> list[int]:
    """Claim tasks for the loop and return those that are its own.

    The owner is the project's loop and not this run, so that a run takes over what one before it, killed, had claimed.
    """
    claims = Claims(services.jobs.connection, services.settings.redis.prefix, view.project_id, view.version)
    mine = claims.take(task_ids, f"loop:{view.project_id}", QUEUED_S)
    return [task_id for task_id in task_ids if task_id in mine]
