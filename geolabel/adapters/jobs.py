"""The job queue: RQ on Redis, JSON arguments, ids computed from what is to be done."""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from geolabel.core.ids import digest
from geolabel.errors import NotFoundError, QueueError

if TYPE_CHECKING:
    import redis
    from rq import Queue
    from rq.job import Job

#: Queue names, in the order in which a worker that serves all of them takes work.
QUEUES = ("fast", "model", "cpu", "export")
_RETRY_INTERVALS_S = [2, 10, 30]
_UNFINISHED = ("queued", "started", "deferred", "scheduled")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """What is known of a job.

    Attributes:
        id: Computed from name and payload unless given.
        name: Dotted name of the function.
        state: queued, started, finished, failed, deferred, scheduled, stopped or canceled.
        progress: {"done", "total", "message"} as the job wrote it.
        result: What it returned, when finished.
        error: The sentence, when failed.
        created, started, ended: ISO 8601 UTC or "".
    """

    id: str
    name: str
    state: str
    queue: str = ""
    progress: Mapping[str, Any] = field(default_factory=dict)
    result: Any = None
    error: str = ""
    created: str = ""
    started: str = ""
    ended: str = ""
    payload: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return JSON types."""
        return {name: _plain(getattr(self, name)) for name in self.__slots__}


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


class Jobs:
    """Client of the queue; connects on first use.

    Args:
        url: redis:// address with the database number.
        timeout_s: Longest run of one job.
        result_ttl_s: How long results and failures can be asked for.
        retries: Further tries of a job whose error is retryable.
    """

    def __init__(self, url: str, *, timeout_s: int = 3600, result_ttl_s: int = 7 * 86400, retries: int = 3) -> None:
        self._url = url
        self.timeout_s = timeout_s
        self.result_ttl_s = result_ttl_s
        self.retries = retries

    @cached_property
    def connection(self) -> redis.Redis:
        """The Redis client."""
        import redis as redis_package
        from redis.backoff import ExponentialBackoff
        from redis.retry import Retry

        # Label Studio waits one second for an answer to a webhook: whether Redis is there must be known well before.
        return redis_package.Redis.from_url(
            self._url, socket_connect_timeout=3, health_check_interval=30, retry=Retry(ExponentialBackoff(0.2, 0.05), 1)
        )

    def ping(self) -> None:
        """Raise QueueError when Redis does not answer."""
        with self._guard():
            self.connection.ping()

    def queue(self, name: str = "cpu") -> Queue:
        """Return the RQ queue of a name."""
        from rq import Queue
        from rq.serializers import JSONSerializer

        return Queue(name, connection=self.connection, serializer=JSONSerializer, default_timeout=self.timeout_s)

    def enqueue(
        self,
        name: str,
        payload: Mapping[str, Any],
        *,
        queue: str = "cpu",
        job_id: str | None = None,
        delay_s: float = 0.0,
    ) -> JobStatus:
        """Queue a job, unless the same one waits or runs already.

        Args:
            name: "workers.jobs_x.function"; it is called with the payload.
            payload: JSON object: ids and options, never arrays of pixels.
            queue: One of `QUEUES`.
            job_id: Instead of the id computed from name and payload.
            delay_s: Start no sooner than this, seconds.

        Returns:
            Status of the job; an unfinished one of the same id is returned as it is.

        Raises:
            QueueError: Redis does not answer.
        """
        identity = job_id or f"{name.rsplit('.', 1)[-1]}-{digest(name, dict(payload))}"
        with self._guard():
            job = self._fetch(identity)
            if job is not None and job.get_status(refresh=True) in _UNFINISHED:
                return self._status(job)
            job = self._create(identity, name, dict(payload), queue, delay_s)
            return self._status(job)

    def _create(self, identity: str, name: str, payload: dict[str, Any], queue: str, delay_s: float) -> Job:
        from datetime import timedelta

        from rq import Retry
        from rq.exceptions import DuplicateJobError

        target = self.queue(queue)
        options: dict[str, Any] = {
            "job_id": identity,
            "result_ttl": self.result_ttl_s,
            "failure_ttl": self.result_ttl_s,
            "description": name,
            "job_timeout": self.timeout_s,
            "meta": {"progress": {}, "tries": 0},
            # Jobs end their own retries when the error can't pass; see workers.frame.
            "retry": Retry(max=self.retries, interval=_RETRY_INTERVALS_S) if self.retries else None,
        }
        # Two processes may queue the same work at once: the lock lets one of them do it.
        with self.connection.lock(f"geolabel:enqueue:{identity}", timeout=10, blocking_timeout=10):
            found = self._fetch(identity)
            if found is not None and found.get_status(refresh=True) in _UNFINISHED:
                return found
            if found is not None:
                found.delete()
            try:
                if delay_s > 0:
                    return target.enqueue_in(timedelta(seconds=delay_s), name, payload, **options)
                return target.enqueue_call(
                    name, args=(payload,), timeout=self.timeout_s,
                    **{k: v for k, v in options.items() if k != "job_timeout"},
                )  # fmt: skip
            except DuplicateJobError:
                again = self._fetch(identity)
                if again is None:
                    raise
                return again

    def first_time(self, key: str, *, ttl_s: int) -> bool:
        """Tell whether this key is seen for the first time within `ttl_s` seconds, by any process."""
        with self._guard():
            return bool(self.connection.set(f"geolabel:seen:{key}", 1, nx=True, ex=ttl_s))

    def forget(self, key: str) -> None:
        """Make `first_time` true again for a key."""
        with self._guard():
            self.connection.delete(f"geolabel:seen:{key}")

    def status(self, job_id: str) -> JobStatus:
        """Return what is known of a job.

        Raises:
            NotFoundError: there is none of this id.
            QueueError: Redis does not answer.
        """
        with self._guard():
            job = self._fetch(job_id)
            if job is None:
                raise NotFoundError(f"there is no job {job_id!r}; results are kept for {self.result_ttl_s} s")
            return self._status(job)

    def list(self, *, limit: int = 200) -> list[JobStatus]:
        """Return the jobs of all queues and states, newest first."""
        found: dict[str, JobStatus] = {}
        with self._guard():
            for name in QUEUES:
                queue = self.queue(name)
                registries = (
                    queue.started_job_registry, queue.failed_job_registry, queue.finished_job_registry,
                    queue.scheduled_job_registry, queue.deferred_job_registry, queue.canceled_job_registry,
                )  # fmt: skip
                ids = [*queue.get_job_ids(0, limit)]
                for registry in registries:
                    ids += registry.get_job_ids()[-limit:]
                for job_id in ids:
                    job = self._fetch(job_id)
                    if job is not None:
                        found[job.id] = self._status(job)
        return sorted(found.values(), key=lambda s: s.created, reverse=True)[:limit]

    def counts(self) -> dict[str, dict[str, int]]:
        """Return how many jobs each queue has in each state."""
        with self._guard():
            out = {}
            for name in QUEUES:
                queue = self.queue(name)
                out[name] = {
                    "queued": queue.count,
                    "started": queue.started_job_registry.count,
                    "failed": queue.failed_job_registry.count,
                    "finished": queue.finished_job_registry.count,
                    "scheduled": queue.scheduled_job_registry.count,
                }
            return out

    def workers(self) -> builtins.list[str]:
        """Return the names of the worker processes that Redis knows."""
        from rq import Worker

        with self._guard():
            return sorted(worker.name for worker in Worker.all(connection=self.connection))

    def cancel(self, job_id: str) -> JobStatus:
        """Take a waiting job out of its queue, or stop a running one."""
        from rq.command import send_stop_job_command

        with self._guard():
            job = self._fetch(job_id)
            if job is None:
                raise NotFoundError(f"there is no job {job_id!r}")
            state = job.get_status(refresh=True)
            if state == "started":
                send_stop_job_command(self.connection, job_id)
            elif state in _UNFINISHED:
                job.cancel()
            return self.status(job_id)

    def wait(self, job_id: str, *, timeout_s: float = 600.0, poll_s: float = 0.2) -> JobStatus:
        """Wait until a job has ended, whatever way; its status says which.

        Raises:
            QueueError: it has not ended in time.
        """
        import time

        deadline = time.monotonic() + timeout_s
        while True:
            status = self.status(job_id)
            if status.state not in _UNFINISHED:
                return status
            if time.monotonic() > deadline:
                raise QueueError(f"job {job_id} is still {status.state} after {timeout_s:.0f} s; see `geolabel status`")
            time.sleep(poll_s)

    def _fetch(self, job_id: str) -> Job | None:
        from rq.exceptions import NoSuchJobError
        from rq.job import Job
        from rq.serializers import JSONSerializer

        try:
            return Job.fetch(job_id, connection=self.connection, serializer=JSONSerializer)
        except NoSuchJobError:
            return None

    def _status(self, job: Job) -> JobStatus:
        state = str(getattr(job.get_status(refresh=False), "value", job.get_status(refresh=False)) or "queued")
        meta = job.get_meta(refresh=True) if state != "finished" else job.meta
        result = job.return_value() if state == "finished" else None
        args = job.args or ()
        return JobStatus(
            id=job.id,
            name=job.func_name or "",
            state=state,
            queue=job.origin or "",
            progress=dict((meta or {}).get("progress") or {}),
            result=result,
            error=str((meta or {}).get("error") or "") or ("the worker died while it ran" if state == "failed" else ""),
            created=_iso(job.created_at),
            started=_iso(job.started_at),
            ended=_iso(job.ended_at),
            payload=dict(args[0]) if args and isinstance(args[0], Mapping) else {},
        )

    @contextmanager
    def _guard(self) -> Iterator[None]:
        import redis as redis_package

        try:
            yield
        except redis_package.RedisError as error:
            where = self._url.rsplit("@", 1)[-1]
            if isinstance(error, redis_package.ResponseError):
                raise QueueError(f"Redis at {where} refuses: {str(error)[:200]}") from error
            raise QueueError(
                f"Redis at {where} does not answer ({type(error).__name__}); start it, or set REDIS_URL"
            ) from error


def _iso(moment: Any) -> str:
    return "" if moment is None else str(moment.isoformat())
