"""Tasks into Label Studio exactly once: what is there is asked first, and again after an answer was lost."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from geolabel.errors import GeoLabelError, LabelStudioError, NotReadyError, QueueError
from geolabel.pipeline.travel import after_import, with_predictions
from geolabel.services import Services

Progress = Callable[[int, int | None, str], None]
_TRIES = 6
_SETTLE_S = 2.0
_LOCK_S = 20.0
_WAIT_S = 600.0


@dataclass(slots=True, kw_only=True)
class Imported:
    """How many tasks an import made, found, refreshed and had to leave out."""

    created: int = 0
    existing: int = 0
    refreshed: int = 0
    batches: int = 0
    resent: int = 0


def known_chips(services: Services, project_id: int) -> dict[str, tuple[int, dict[str, Any]]]:
    """Return the tasks of a project by chip id: (task id, data)."""
    found = {}
    for task in services.labelstudio.tasks(project_id, fields="task_only", page_size=500):
        data = task.get("data") or {}
        identity = data.get("chip_id")
        if isinstance(identity, str):
            found[identity] = (int(task["id"]), data)
    return found


@contextlib.contextmanager
def importing(services: Services, project_id: int) -> Iterator[bool]:
    """Let one import at a time work on a project, when Redis is there to say so; gives whether it is guarded.

    The lock lasts 20 seconds and is renewed while the import lives, so that a killed one blocks nobody for long.

    Raises:
        NotReadyError: another import works on the project for longer than ten minutes.
    """
    from redis.exceptions import LockError, RedisError

    lock = services.jobs.connection.lock(
        f"{services.settings.redis.prefix}:import:{services.settings.labelstudio.url}:{project_id}",
        timeout=_LOCK_S, blocking_timeout=_WAIT_S, thread_local=False,
    )  # fmt: skip
    try:
        guarded = bool(lock.acquire())
    except (RedisError, QueueError):
        # Without a queue there are no workers that could import beside this process.
        yield False
        return
    if not guarded:
        raise NotReadyError(f"another import has been at work on project {project_id} for minutes; try again later")
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(_LOCK_S / 4):
            with contextlib.suppress(LockError, RedisError):
                lock.reacquire()

    thread = threading.Thread(target=renew, name="import-lock", daemon=True)
    thread.start()
    try:
        yield True
    finally:
        ended.set()
        thread.join()
        with contextlib.suppress(LockError, RedisError):
            lock.release()


def import_tasks(
    services: Services,
    project_id: int,
    tasks: Sequence[Mapping[str, Any]],
    *,
    known: dict[str, tuple[int, dict[str, Any]]],
    report: Progress,
    done: int = 0,
    total: int | None = None,
) -> Imported:
    """Import the tasks ({"data": {"chip_id", …}}) that a project lacks, in batches.

    Args:
        services: For Label Studio.
        project_id: Project.
        tasks: All tasks wanted.
        known: What `known_chips` found; what is made here is added.
        report: Called after every batch.
        done, total: For the report.

    Raises:
        LabelStudioError: it refused, or did not answer after six tries.
    """
    out = Imported()
    missing = []
    for task in tasks:
        identity = str(task["data"]["chip_id"])
        if identity in known:
            out.existing += 1
        else:
            missing.append(dict(task))
    size = min(max(services.settings.labelstudio.import_batch, 1), 500)
    started = time.monotonic()
    versions: set[str] = set()
    for start in range(0, len(missing), size):
        batch = with_predictions(services, project_id, missing[start : start + size], of=len(missing))
        versions |= {p["model_version"] for task in batch for p in task.get("predictions", ())}
        _send(services, project_id, batch, known, out)
        out.batches += 1
        sent = start + len(batch)
        rate = sent / max(time.monotonic() - started, 1e-6)
        report(done + sent, total, f"tasks imported, {rate:.0f} a second")
    after_import(services, project_id, versions, len(missing))
    return out


def _send(
    services: Services, project_id: int, batch: list[dict[str, Any]], known: dict[str, tuple[int, dict[str, Any]]],
    out: Imported,
) -> None:  # fmt: skip
    """Send one batch until all of it is there; after an unclear answer we look before anything is sent again."""
    pending = batch
    for attempt in range(_TRIES):
        try:
            ids = services.labelstudio.import_tasks(project_id, pending)
        except GeoLabelError as error:
            if not error.retryable or attempt == _TRIES - 1:
                raise
            time.sleep(min(30.0, 0.5 * 2**attempt) * random.uniform(0.5, 1.5))
            settled = wait_settled(services, project_id)
            pending = [task for task in pending if str(task["data"]["chip_id"]) not in settled]
            found = len(batch) - len(pending)
            known.update({k: v for k, v in settled.items() if k not in known})
            out.resent += 1
            if not pending:
                out.created += found
                return
            continue
        numbers: list[int] = ids if len(ids) == len(pending) else [0] * len(pending)
        for task, number in zip(pending, numbers, strict=True):
            known[str(task["data"]["chip_id"])] = (number, dict(task["data"]))
        out.created += len(batch)
        return
    raise LabelStudioError(
        f"project {project_id} did not take a batch of {len(batch)} tasks in {_TRIES} tries", retryable=True
    )


def wait_settled(services: Services, project_id: int, *, most_s: float = 60.0) -> dict[str, tuple[int, dict[str, Any]]]:
    """Look until two looks two seconds apart agree: a request whose answer was lost may still be at work."""
    deadline = time.monotonic() + most_s
    before = known_chips(services, project_id)
    while True:
        time.sleep(_SETTLE_S)
        now = known_chips(services, project_id)
        if len(now) == len(before) or time.monotonic() > deadline:
            return now
        before = now


def refresh_urls(
    services: Services, tasks: Sequence[Mapping[str, Any]], known: Mapping[str, tuple[int, dict[str, Any]]]
) -> int:
    """Write the addresses of `tasks` into existing tasks whose own differ (expired, or signed by an older key)."""
    changed = 0
    for task in tasks:
        data = task["data"]
        number, before = known.get(str(data["chip_id"]), (0, {}))
        keys = [key for key in ("image", "images", "context") if key in data and key in before]
        if number and any(before[key] != data[key] for key in keys):
            services.labelstudio.update_task(number, {**before, **{key: data[key] for key in keys}})
            changed += 1
    return changed
