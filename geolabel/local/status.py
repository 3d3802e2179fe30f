"""What runs now: the supervisor's children, the queues, the projects."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from geolabel.local.label_studio import healthy
from geolabel.local.probe import LabelStudioProbe
from geolabel.local.supervisor import read_state
from geolabel.settings import Settings

STATE_FILE = "run.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """One look at everything.

    Attributes:
        supervisor: What `geolabel up` wrote, or None when it does not run here.
        label_studio: Whether Label Studio answers.
        queues: Waiting, running and failed jobs by queue; None when Redis does not answer.
        projects: Id, title, tasks and finished tasks of each project.
        ingests: Records of the last ingests: state, counts, chips that can't be read.
    """

    supervisor: dict[str, Any] | None
    label_studio: bool
    queues: dict[str, dict[str, int]] | None
    projects: list[dict[str, Any]]
    ingests: list[dict[str, Any]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "supervisor": self.supervisor,
            "label_studio": self.label_studio,
            "queues": self.queues,
            "projects": self.projects,
            "ingests": self.ingests,
        }


def look(settings: Settings) -> Status:
    """Collect the status; a part that does not answer is said to be so."""
    up = healthy(settings.labelstudio.url)
    return Status(
        supervisor=read_state(settings.state_dir / STATE_FILE),
        label_studio=up,
        queues=_queues(settings),
        projects=_projects(settings) if up else [],
        ingests=_ingests(settings),
    )


def _ingests(settings: Settings) -> list[dict[str, Any]]:
    from geolabel.errors import StoreError
    from geolabel.pipeline.ingest_report import list_records
    from geolabel.services import Services

    try:
        records = list(list_records(Services(settings)))
    except StoreError:
        return []
    return sorted(records, key=lambda record: str(record.get("updated")), reverse=True)[:20]


def _queues(settings: Settings) -> dict[str, dict[str, int]] | None:
    import redis
    from rq import Queue

    with redis.Redis.from_url(settings.redis.url.get_secret_value(), socket_connect_timeout=3) as client:
        try:
            return {
                queue.name: {
                    "waiting": len(queue),
                    "running": queue.started_job_registry.get_job_count(cleanup=False),
                    "failed": queue.failed_job_registry.get_job_count(cleanup=False),
                }
                for queue in Queue.all(connection=client)
            }
        except redis.RedisError:
            return None


def _projects(settings: Settings) -> list[dict[str, Any]]:
    with LabelStudioProbe(settings.labelstudio.url, settings.labelstudio.api_key.get_secret_value()) as probe:
        if probe.login() is not None:
            return []
        return [
            {
                "id": row["id"],
                "title": row["title"],
                "tasks": row.get("task_number", 0),
                "finished": row.get("finished_task_number", 0),
                "predictions": row.get("total_predictions_number", 0),
            }
            for row in probe.list("/api/projects/?page_size=100")
        ]
