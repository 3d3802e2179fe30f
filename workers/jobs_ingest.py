"""Jobs of ingestion: rasters into tasks, pictures written ahead."""

from __future__ import annotations

from typing import Any

from geolabel.errors import InputError
from geolabel.services import Services
from workers.frame import Payload, Progress, job


@job
def ingest(services: Services, payload: Payload, progress: Progress) -> dict[str, Any]:
    """Ingest rasters: {"uris": [...], "project"?, "options"?}; killed in the middle, the same job goes on."""
    from geolabel.pipeline.ingest import ingest as run
    from geolabel.pipeline.ingest_report import IngestOptions

    uris = payload.get("uris")
    if not isinstance(uris, list) or not uris or not all(isinstance(uri, str) for uri in uris):
        raise InputError(f"uris must be a list of addresses; got {str(uris)[:100]}")
    project = payload.get("project")
    if project is not None and (not isinstance(project, int) or isinstance(project, bool)):
        raise InputError(f"project must be a number or left out; got {str(project)[:40]}")
    options = payload.get("options")
    asked = IngestOptions.from_json(options) if isinstance(options, dict) else None
    return run(services, uris, project, options=asked, report=progress).to_json()


@job
def prerender(services: Services, payload: Payload, progress: Progress) -> dict[str, Any]:
    """Write the pictures of a plan into the store: {"scene", "plan"}."""
    from geolabel.pipeline.prerender import prerender as run

    return run(services, str(payload.get("scene") or ""), str(payload.get("plan") or ""), progress)
