"""What every job shares: services, progress, sentences instead of tracebacks, retries only where they can help."""

from __future__ import annotations

import functools
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from redis.exceptions import RedisError
from rq import get_current_job
from rq.job import Job

from geolabel.errors import GeoLabelError
from geolabel.services import Services

Payload: TypeAlias = Mapping[str, Any]
Body: TypeAlias = Callable[[Services, Payload, "Progress"], dict[str, Any]]
_log = logging.getLogger("geolabel.workers")


class Progress:
    """Writes how far a job is into its meta, where `/v1/jobs` and `geolabel status` read it."""

    def __init__(self, job: Job | None) -> None:
        self._job = job

    def __call__(self, done: int, total: int | None = None, message: str = "") -> None:
        """Tell how many of how many items are done, and what is being done."""
        if self._job is None:
            return
        self._job.meta["progress"] = {"done": done, "total": total, "message": message}
        try:
            self._job.save_meta()
        except RedisError as error:
            # The work itself needs no Redis: a moment without it costs a figure on a page, not the job.
            _log.warning("progress of job %s not written: %s", self._job.id, type(error).__name__)


def job(body: Body) -> Callable[[Payload], dict[str, Any]]:
    """Make an RQ job of a function (services, payload, progress) → JSON object.

    A GeoLabelError becomes a sentence in the job's meta. Only one that says it is retryable is tried again; everything
    else fails at once, since the same input would fail the same way.
    """

    @functools.wraps(body)
    def run(payload: Payload) -> dict[str, Any]:
        _watch_parent()
        current = get_current_job()
        try:
            result = body(Services(), payload, Progress(current))
        except GeoLabelError as error:
            _note(current, error.message, error.code, retry=error.retryable)
            raise
        except Exception as error:
            _note(current, f"{type(error).__name__}: {error}", "internal", retry=False)
            raise
        if current is not None and current.meta.pop("error", None):
            current.save_meta()
        return result

    return run


@functools.cache
def _watch_parent() -> None:
    """End this process when its worker is killed: its job is queued again and must not run twice at once."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent-watch").start()


def _note(current: Job | None, message: str, code: str, *, retry: bool) -> None:
    _log.warning("job %s: %s", current.id if current else "?", message)
    if current is None:
        return
    current.meta["error"] = message
    current.meta["error_code"] = code
    current.meta["tries"] = int(current.meta.get("tries", 0)) + 1
    current.save_meta()
    if not retry:
        current.retries_left = 0
        current.save()
