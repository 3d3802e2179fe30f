"""What the learning loop remembers: annotations not yet learned, jobs asked for, and who works on a project now.

Label Studio holds the truth; this is a list of hints that may be lost (then `reconcile` makes it anew), in Redis, and a
record of what was learned last, in the store.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from geolabel.core.ids import new_region_id
from geolabel.errors import NotFoundError, NotReadyError, QueueError
from geolabel.pipeline.labels import project_key
from geolabel.services import Services

#: Job by what it does: (function, queue).
LOOP_JOBS: dict[str, tuple[str, str]] = {
    "train": ("workers.jobs_loop.train", "model"),
    "tick": ("workers.jobs_loop.tick", "fast"),
    "rank": ("workers.jobs_loop.select", "model"),
    "refresh": ("workers.jobs_loop.refresh", "model"),
}
DELETED = "deleted"
_LOCK_S = 12.0
_BEAT_S = 3.0
_WAITING_S = 1800


class LoopState:
    """The loop of one project.

    Args:
        services: Redis and the store.
        project_id: Of Label Studio.
    """

    def __init__(self, services: Services, project_id: str) -> None:
        self._services = services
        self.project_id = project_id
        self._start = f"{services.settings.redis.prefix}:loop:{project_id}"

    # -- annotations that no model has learned -----------------------------------------------------------------------

    def note(self, annotation_id: int, updated: str) -> bool:
        """Remember that an annotation came, changed ("" or older times are ignored) or went (`DELETED`).

        Returns whether that was news: the same event again, or an older one after a newer one, is none.
        """
        with _redis(self._services) as redis:
            key, field = f"{self._start}:pending", str(annotation_id)
            known = _text(redis.hget(key, field))
            # Nothing comes back after its deletion; ids are not given twice while a project lives.
            if known == DELETED or (updated != DELETED and known >= updated and known):
                return False
            if self.learned().get(field) == updated:
                return False
            redis.hset(key, field, updated)
            redis.hset(f"{self._start}:since", field, repr(time.time()))
        return True

    def pending(self) -> dict[str, str]:
        """Return annotation id → time of change, of everything that no model has learned."""
        with _redis(self._services) as redis:
            return {_text(k): _text(v) for k, v in redis.hgetall(f"{self._start}:pending").items()}

    def settle(self, seen: Mapping[str, str]) -> None:
        """Forget hints that are not newer than what was just looked at."""
        with _redis(self._services) as redis:
            for field, updated in seen.items():
                if _text(redis.hget(f"{self._start}:pending", field)) == updated:
                    redis.hdel(f"{self._start}:pending", field)
                    redis.hdel(f"{self._start}:since", field)

    # -- what was learned last ---------------------------------------------------------------------------------------

    def learned(self) -> dict[str, str]:
        """Return annotation id → time of change, as of the last training."""
        try:
            value = self._services.store.get_json(project_key(self.project_id, "loop/learned.json"))
        except NotFoundError:
            return {}
        return {str(k): str(v) for k, v in value.get("annotations", {}).items()}

    def set_learned(self, annotations: Mapping[str, str], snapshot: str) -> None:
        """Record what a training has seen, whether its model was kept or not."""
        value = {"annotations": dict(annotations), "snapshot": snapshot}
        self._services.store.put_json(project_key(self.project_id, "loop/learned.json"), value)

    # -- asking for jobs ---------------------------------------------------------------------------------------------

    def ask(self, what: str, *, delay_s: float = 0.0) -> str:
        """Queue a job of the loop, unless one of its kind waits already; return its id or "".

        A job calls `started` first of all, so that whatever happens after is asked for anew and never lost.
        """
        name, queue = LOOP_JOBS[what]
        with _redis(self._services) as redis:
            waiting = f"{self._start}:waiting:{what}"
            if not redis.set(waiting, "1", nx=True, ex=int(delay_s) + _WAITING_S):
                return ""
            number = int(redis.incr(f"{self._start}:asked:{what}"))
        try:
            job = self._services.jobs.enqueue(
                name, {"project": int(self.project_id), "asked": number}, queue=queue, delay_s=delay_s,
                job_id=f"{what}-{self.project_id}-{number}",
            )  # fmt: skip
        except QueueError:
            self.started(what)
            raise
        return job.id

    def started(self, what: str) -> None:
        """Let the next job of this kind be asked for."""
        with _redis(self._services) as redis:
            redis.delete(f"{self._start}:waiting:{what}")

    def waits(self, what: str) -> bool:
        """Tell whether a job of this kind waits."""
        with _redis(self._services) as redis:
            return bool(redis.exists(f"{self._start}:waiting:{what}"))

    # -- one at a time -----------------------------------------------------------------------------------------------

    @contextmanager
    def alone(self, wait_s: float = 600.0) -> Iterator[None]:
        """Hold the project, so that training and ranking never run twice at once; a killed holder is gone in 12 s.

        Raises:
            NotReadyError: somebody else holds it for longer than `wait_s`.
        """
        token, key = new_region_id(), f"{self._start}:lock"
        deadline = time.monotonic() + wait_s
        with _redis(self._services) as redis:
            while not redis.set(key, token, nx=True, px=int(_LOCK_S * 1000)):
                if time.monotonic() > deadline:
                    raise NotReadyError(f"project {self.project_id} is being trained or ranked for over {wait_s:.0f} s")
                time.sleep(0.2)
        done = threading.Event()
        beat = threading.Thread(target=self._beat, args=(key, token, done), daemon=True)
        beat.start()
        try:
            yield
        finally:
            done.set()
            beat.join()
            with _redis(self._services) as redis:
                if _text(redis.get(key)) == token:
                    redis.delete(key)

    def _beat(self, key: str, token: str, done: threading.Event) -> None:
        while not done.wait(_BEAT_S):
            try:
                with _redis(self._services) as redis:
                    if _text(redis.get(key)) == token:
                        redis.pexpire(key, int(_LOCK_S * 1000))
            except QueueError:
                continue

    def forget(self) -> None:
        """Drop every hint; for a project that is gone."""
        with _redis(self._services) as redis:
            for key in redis.scan_iter(f"{self._start}:*"):
                redis.delete(key)


def known_projects(services: Services) -> list[str]:
    """Return the projects that have a loop: something of them lies in the store."""
    found = {key.split("/")[1] for key in services.store.list("projects") if key.count("/") > 1}
    found |= {key.split("/")[1] for key in services.store.list("models") if key.count("/") > 1}
    return sorted((p for p in found if p.isdigit()), key=int)


@contextmanager
def _redis(services: Services) -> Iterator[Any]:
    import redis

    try:
        yield services.jobs.connection
    except redis.RedisError as error:
        raise QueueError(f"Redis does not answer ({type(error).__name__}); start it, or set REDIS_URL") from error


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value or "")
