"""The HTTP server: Label Studio's contract, chip images, our own API. Thin: parse, call a use case, answer."""

from __future__ import annotations

import importlib
import logging
from importlib.util import find_spec
from typing import Any

from fastapi import Depends, FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from geolabel import __version__
from geolabel.services import Services
from ml_backend import errors, jobs_api, labelstudio, webhook
from ml_backend.auth import require_login, require_login_or_token

#: Routers of other subjects: module -> whether the backend's login is asked (chip images carry signatures instead).
_MORE: dict[str, bool] = {
    "ml_backend.progress": True,
    "ml_backend.metrics": True,
    "ml_backend.chips": False,
    "ml_backend.tiles": False,
}


class BodyLimit:
    """Refuses bodies over a size, before they are read into memory."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on while its body stays under the limit."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._max_bytes:
            refusal = errors.answer(errors.too_large(self._max_bytes, int(declared)))
            await refusal(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._max_bytes:
                raise errors.too_large(self._max_bytes)
            return message

        await self._app(scope, counted, send)


def create_app(services: Services | None = None) -> FastAPI:
    """Make the app.

    Args:
        services: For tests; read from the settings when not given. No connection is opened and no model loaded here.
    """
    made = Services() if services is None else services
    settings = made.settings
    logging.getLogger("geolabel").setLevel(settings.log_level)
    app = FastAPI(title="GeoLabel", version=__version__, description="ML backend of Label Studio, geospatial.")
    app.state.services = made
    errors.install(app)
    login = [Depends(require_login)]
    app.include_router(labelstudio.router, dependencies=login)
    app.include_router(webhook.router)
    for name, guarded in _MORE.items():
        if find_spec(name) is not None:
            app.include_router(importlib.import_module(name).router, dependencies=login if guarded else [])
    app.include_router(jobs_api.router, dependencies=[Depends(require_login_or_token)])

    @app.get("/health", tags=["label-studio"])
    @app.get("/", include_in_schema=False)
    async def health() -> dict[str, Any]:
        """Answer that the server is up; nothing is loaded or asked."""
        return {"status": "UP", "model_class": "GeoLabelModel", "version": __version__}

    app.add_middleware(
        CORSMiddleware,
        allow_origins=settings.server.cors_origins or _origins(settings.labelstudio.url),
        allow_methods=["GET", "HEAD", "OPTIONS"],
        allow_headers=["*"],
        expose_headers=["ETag"],
    )
    app.add_middleware(BodyLimit, max_bytes=settings.server.body_max_bytes)
    return app


def _origins(url: str) -> list[str]:
    # People open the same Label Studio as localhost and as 127.0.0.1; browsers hold these for two origins.
    plain = url.rstrip("/")
    swapped = plain.replace("//127.0.0.1", "//localhost") if "//127.0.0.1" in plain else plain
    swapped = plain.replace("//localhost", "//127.0.0.1") if "//localhost" in plain else swapped
    return list(dict.fromkeys([plain, swapped]))


def __getattr__(name: str) -> Any:
    # `uvicorn ml_backend.app:app` makes the app on first use; importing this module opens and reads nothing.
    if name == "app":
        made = create_app()
        globals()["app"] = made
        return made
    raise AttributeError(name)
