"""Errors as HTTP answers: a status, a code, a sentence. Never a traceback."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from geolabel.errors import GeoLabelError, InputError

_log = logging.getLogger("geolabel.backend")


class TooLargeError(InputError):
    """A body is over the limit."""

    code = "too_large"
    status = 413


def answer(error: GeoLabelError) -> JSONResponse:
    """Return the HTTP answer of an error."""
    headers = {"Retry-After": "5"} if error.retryable else {}
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="GeoLabel"'
    body = {"code": error.code, "message": error.message, "hint": error.hint}
    return JSONResponse(body, status_code=error.status, headers=headers)


def install(app: FastAPI) -> None:
    """Answer every error of the app in the same form."""

    @app.exception_handler(GeoLabelError)
    def ours(request: Request, error: GeoLabelError) -> JSONResponse:
        if error.status >= 500:
            _log.warning("%s %s: %s", request.method, request.url.path, error.message)
        return answer(error)

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        del request
        parts = [f"{'.'.join(str(p) for p in item['loc'])}: {item['msg']}" for item in error.errors()]
        return JSONResponse({"code": "input", "message": "; ".join(parts), "hint": ""}, status_code=400)

    @app.exception_handler(HTTPException)
    def http(request: Request, error: HTTPException) -> JSONResponse:
        detail = error.detail if error.status_code != 404 else f"there is nothing at {request.url.path}"
        return JSONResponse(
            {"code": "http", "message": str(detail), "hint": "/docs lists what there is"},
            status_code=error.status_code,
            headers=dict(error.headers or {}),
        )

    @app.exception_handler(Exception)
    def last(request: Request, error: Exception) -> JSONResponse:
        _log.exception("%s %s failed", request.method, request.url.path, exc_info=error)
        message = "GeoLabel made a mistake; the log of the backend holds the details"
        return JSONResponse({"code": "internal", "message": message, "hint": ""}, status_code=500)


def too_large(limit_bytes: int, size_bytes: int | None = None) -> TooLargeError:
    """Return the error of a body over the limit, its size where it was told."""
    size = f"{size_bytes} bytes" if size_bytes is not None else "too many bytes"
    return TooLargeError(f"the body has {size}; at most {limit_bytes} are read (GEOLABEL_SERVER__BODY_MAX_BYTES)")
