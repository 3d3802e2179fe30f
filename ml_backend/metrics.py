"""Figures for Prometheus, as text: jobs by queue and state, workers, whether Redis answers."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from geolabel import __version__
from geolabel.errors import QueueError
from geolabel.services import Services
from ml_backend.labelstudio import WithServices

router = APIRouter(tags=["operations"])


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(services: WithServices) -> PlainTextResponse:
    """Return the figures; without Redis only that it is away."""
    text = "\n".join([*_lines(services), ""])
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")


def _lines(services: Services) -> Iterator[str]:
    yield "# HELP geolabel_info Version of GeoLabel."
    yield "# TYPE geolabel_info gauge"
    yield f'geolabel_info{{version="{__version__}"}} 1'
    try:
        counts, workers = services.jobs.counts(), services.jobs.workers()
    except QueueError:
        counts, workers = {}, []
        redis_up = 0
    else:
        redis_up = 1
    yield "# HELP geolabel_redis_up Whether Redis answers."
    yield "# TYPE geolabel_redis_up gauge"
    yield f"geolabel_redis_up {redis_up}"
    if not redis_up:
        return
    yield "# HELP geolabel_jobs Jobs by queue and state."
    yield "# TYPE geolabel_jobs gauge"
    for queue, states in counts.items():
        for state, number in states.items():
            yield f'geolabel_jobs{{queue="{queue}",state="{state}"}} {number}'
    yield "# HELP geolabel_workers Worker processes that Redis knows."
    yield "# TYPE geolabel_workers gauge"
    yield f"geolabel_workers {len(workers)}"
