"""Jobs of models: embeddings for the clicks of the tasks that come next."""

from __future__ import annotations

from typing import Any

from geolabel.pipeline.labels import clean_project_id
from geolabel.services import Services
from workers.frame import Payload, Progress, job


@job
def embed(services: Services, payload: Payload, progress: Progress) -> dict[str, Any]:
    """Compute embeddings ahead: {"project", "tasks"?: ids, "count"?, "model"?}."""
    from geolabel.pipeline.embed import embed_tasks

    tasks = payload.get("tasks")
    return embed_tasks(
        services,
        clean_project_id(payload.get("project")),
        task_ids=[int(i) for i in tasks] if isinstance(tasks, list) else None,
        count=int(payload.get("count") or 32),
        model=str(payload.get("model") or ""),
        report=progress,
    )
