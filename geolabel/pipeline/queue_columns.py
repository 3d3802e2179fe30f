"""The queue where people see it: columns of the Data Manager and the tab "Next to label"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from geolabel.errors import GeoLabelError
from geolabel.labelstudio.task import task_data
from geolabel.pipeline.queue_table import QueueTask
from geolabel.services import Services

VIEW_TITLE = "Next to label"
COLUMNS = ("queue_rank", "queue_reason", "queue_doubt")


def write_queue_columns(
    services: Services,
    items: Sequence[QueueTask],
    order: Sequence[int],
    reasons: Mapping[int, str],
    doubts: Mapping[int, float],
) -> int:
    """Write rank, reason and doubt into the first tasks of the queue, and take them from all others.

    Label Studio sends no webhook for it. Returns how many tasks were changed; a task that is gone is left.
    """
    rank = {task_id: place for place, task_id in enumerate(order[: services.settings.loop.column_tasks], start=1)}

    def write(item: QueueTask) -> bool:
        try:
            data = dict(task_data(item.task))
            kept = {key: value for key, value in data.items() if key not in COLUMNS}
            wanted = dict(kept)
            if item.id in rank:
                wanted["queue_rank"] = rank[item.id]
                wanted["queue_reason"] = reasons.get(item.id, "")
                if item.id in doubts:
                    wanted["queue_doubt"] = round(doubts[item.id], 3)
            if wanted == data:
                return False
            services.labelstudio.update_task(item.id, wanted)
        except GeoLabelError:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(write, items))


def view_data() -> dict[str, Any]:
    """Return the tab: open tasks by rank, with reason, doubt, score and version."""
    shown = [f"tasks:data.{name}" for name in COLUMNS]
    wanted = ["tasks:id", *shown, "tasks:predictions_score", "tasks:predictions_model_versions", "tasks:data.image"]
    hidden = [
        "tasks:inner_id", "tasks:total_annotations", "tasks:cancelled_annotations", "tasks:total_predictions",
        "tasks:annotators", "tasks:annotations_results", "tasks:annotations_ids", "tasks:predictions_results",
        "tasks:file_upload", "tasks:storage_filename", "tasks:created_at", "tasks:updated_at", "tasks:updated_by",
        "tasks:avg_lead_time", "tasks:draft_exists", "tasks:completed_at", "tasks:data.geo", "tasks:data.chip_id",
    ]  # fmt: skip
    return {
        "title": VIEW_TITLE,
        "type": "list",
        "target": "tasks",
        "ordering": ["tasks:data.queue_rank"],
        "hiddenColumns": {"explore": hidden, "labeling": hidden},
        "columnsWidth": {"tasks:data.queue_reason": 320},
        "columnsDisplayType": {"tasks:data.queue_rank": "Number", "tasks:data.queue_doubt": "Number"},
        "visibleColumns": wanted,
        "filters": {
            "conjunction": "and",
            "items": [
                {"filter": "filter:tasks:data.queue_rank", "operator": "empty", "type": "String", "value": "false"},
            ],
        },
    }


def ensure_view(services: Services, project_id: int) -> int:
    """Make the tab unless it is there, and return its id; what people changed in it stays."""
    for view in services.labelstudio.views(project_id):
        data = view.get("data")
        if isinstance(data, Mapping) and data.get("title") == VIEW_TITLE:
            return int(view["id"])
    return int(services.labelstudio.create_view(project_id, view_data())["id"])
