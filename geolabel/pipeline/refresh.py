"""After a model changed or tasks came: predict the open tasks, the head of the queue first, then rank them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from geolabel.errors import NotFoundError
from geolabel.pipeline.labels import project_key
from geolabel.pipeline.prelabel import prelabel
from geolabel.pipeline.select import RankResult, rank_project
from geolabel.services import Services

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
    if still_open:
        # Claims of a run that was killed would keep its tasks for hours; what is stored already is found without them.
        predicted = prelabel(services, project_id, still_open, claimed=True, columns=False, report=report).to_json()
    return predicted, rank_project(services, project_id, report=report)
