"""Use cases by name, as jobs: one table for the HTTP API and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geolabel.adapters.jobs import JobStatus
from geolabel.errors import InputError, NotFoundError
from geolabel.services import Services

#: verb -> (job function, queue, fields that the payload must have)
REQUESTS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "ingest": ("workers.jobs_ingest.ingest", "cpu", ("uris",)),
    "prerender": ("workers.jobs_ingest.prerender", "cpu", ("scene", "plan")),
    "prelabel": ("workers.jobs_predict.prelabel", "model", ("project",)),
    "calibrate": ("workers.jobs_predict.calibrate", "cpu", ("project",)),
    "fit": ("workers.jobs_predict.fit", "model", ("project",)),
    "embed": ("workers.jobs_models.embed", "model", ("project",)),
    "select": ("workers.jobs_loop.select", "cpu", ("project",)),
    "refresh": ("workers.jobs_loop.refresh", "model", ("project",)),
    "train": ("workers.jobs_loop.train", "model", ("project",)),
    "reconcile": ("workers.jobs_loop.reconcile", "cpu", ()),
    "exports": ("workers.jobs_export.export", "export", ()),
    "probe": ("workers.jobs.probe", "fast", ()),
}


def request_job(services: Services, verb: str, payload: Mapping[str, Any]) -> JobStatus:
    """Queue a use case.

    Raises:
        NotFoundError: there is no such verb.
        InputError: the payload lacks a field.
        QueueError: Redis does not answer.
    """
    if verb not in REQUESTS:
        raise NotFoundError(f"there is no verb {verb!r}; there are {', '.join(sorted(REQUESTS))}")
    name, queue, needed = REQUESTS[verb]
    missing = [field for field in needed if payload.get(field) in (None, "")]
    if missing:
        raise InputError(f"{verb} needs {', '.join(missing)}; got the fields {sorted(payload) or 'none'}")
    return services.jobs.enqueue(name, dict(payload), queue=queue)
