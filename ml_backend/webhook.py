"""Label Studio's webhooks: checked, then queued; nothing is done here, since Label Studio waits one second at most."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from geolabel.pipeline.events import accept_event
from ml_backend.auth import require_secret
from ml_backend.labelstudio import Body, WithServices

router = APIRouter(tags=["label-studio"])


@router.post("/webhook", dependencies=[Depends(require_secret)])
def webhook(body: Body, services: WithServices) -> JSONResponse:
    """Take an event: 202 with the id of its job."""
    answer: dict[str, Any] = accept_event(services, body)
    return JSONResponse(answer, status_code=202)
