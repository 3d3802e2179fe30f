"""Our own API: start the use cases that the command line has, and watch their jobs."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from geolabel.errors import NotFoundError
from geolabel.pipeline.requests import REQUESTS, request_job
from ml_backend.labelstudio import Body, WithServices

router = APIRouter(prefix="/v1", tags=["jobs"])


@router.get("/jobs")
def list_jobs(services: WithServices, state: str = "", limit: int = 200) -> dict[str, Any]:
    """List jobs, newest first; `state` keeps those in one state."""
    jobs = services.jobs.list(limit=max(1, min(limit, 1000)))
    found = [job.to_json() for job in jobs if not state or job.state == state]
    return {"jobs": found, "queues": services.jobs.counts()}


@router.get("/jobs/{job_id}")
def show_job(job_id: str, services: WithServices) -> dict[str, Any]:
    """Show one job with its progress, and its result or error."""
    return services.jobs.status(job_id).to_json()


@router.post("/jobs/{job_id}/cancel")
def cancel_job(job_id: str, services: WithServices) -> dict[str, Any]:
    """Take a waiting job out of its queue, or stop a running one."""
    return services.jobs.cancel(job_id).to_json()


@router.post("/{verb}")
def start(verb: str, body: Body, services: WithServices) -> JSONResponse:
    """Start a use case as a job: ingest, prelabel, export, select, train, validate …"""
    if verb not in REQUESTS:
        raise NotFoundError(f"there is no verb {verb!r}; there are {', '.join(sorted(REQUESTS))}")
    return JSONResponse(request_job(services, verb, body).to_json(), status_code=202)
