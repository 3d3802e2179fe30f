"""The worker pool: `python -m workers.run`.

One process keeps models warm and takes the queues `fast` and `model` without forking; the others fork a process a job
and take all the rest. The pool starts them again when they die, and stops them all when it is stopped.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess

from redis.exceptions import RedisError

from geolabel.adapters.jobs import QUEUES, Jobs
from geolabel.errors import ConfigError, GeoLabelError
from geolabel.services import Services
from geolabel.settings import load_settings
from workers.orphans import requeue_orphans

_log = logging.getLogger("geolabel.workers")
WARM_QUEUES = ("fast", "model")
FORK_QUEUES = ("fast", "export", "cpu")
ALL_QUEUES = ("fast", "model", "export", "cpu")
_RESTART_S = 1.0
#: How often jobs without a living worker are looked for: a pool may start while its forerunner is still dying.
_ORPHANS_S = 5.0


@dataclass(slots=True)
class _Slot:
    name: str
    queues: tuple[str, ...]
    warm: bool
    process: BaseProcess | None = None
    started: float = 0.0


def work(name: str, queues: tuple[str, ...], warm: bool, burst: bool, level: str) -> None:
    """Run one worker until it is told to stop, or nothing waits any more (the body of a child process)."""
    from rq import SimpleWorker, Worker
    from rq.serializers import JSONSerializer

    _set_logging(level)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    jobs = Services(load_settings()).jobs
    kind = SimpleWorker if warm else Worker
    worker = kind(
        [jobs.queue(queue) for queue in queues],
        name=f"{name}-{os.getpid()}-{time.time_ns() % 1_000_000}",
        connection=jobs.connection,
        serializer=JSONSerializer,
        job_monitoring_interval=5,
        maintenance_interval=30,
    )
    worker.work(burst=burst, with_scheduler=not warm, logging_level=level)


def _end_with_parent(parent: int) -> None:
    # A pool that is killed outright can't stop its children; they notice and go.
    while os.getppid() == parent:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGTERM)


class Pool:
    """Keeps the workers running.

    Args:
        forking: Number of forking workers.
        warm: Whether one warm worker serves the model queue; else the forking ones serve it as well.
        level: Log level.
        queues: The only queues that are served.
        burst: Whether workers end, and the pool with them, when nothing waits any more.
    """

    def __init__(
        self, *, forking: int, warm: bool, level: str, queues: Sequence[str] = ALL_QUEUES, burst: bool = False
    ) -> None:
        self._level = level
        self._burst = burst
        self._stop = threading.Event()
        forked = tuple(name for name in (FORK_QUEUES if warm else ALL_QUEUES) if name in queues)
        kept_warm = tuple(name for name in WARM_QUEUES if name in queues) if warm else ()
        self._slots = [_Slot(name=f"worker{n}", queues=forked, warm=False) for n in range(forking if forked else 0)]
        if kept_warm and ("model" in queues or not forked):
            self._slots.append(_Slot(name="warm", queues=kept_warm, warm=True))

    def run(self, jobs: Jobs, *, reconcile_s: float) -> int:
        """Start all workers, restart what dies, until SIGINT or SIGTERM; then stop them and return 0."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._stop.set())
        context = multiprocessing.get_context("spawn")
        next_reconcile = time.monotonic() + reconcile_s
        next_look = time.monotonic() + _ORPHANS_S
        while not self._stop.is_set():
            for slot in self._slots:
                if slot.process is None or not slot.process.is_alive():
                    if slot.process is not None and self._burst:
                        continue
                    if slot.process is not None:
                        _log.warning("%s ended with status %s; it is started again", slot.name, slot.process.exitcode)
                        self._stop.wait(_RESTART_S)
                    self._start(slot, context, jobs)
            if self._burst and not any(slot.process and slot.process.is_alive() for slot in self._slots):
                break
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + _ORPHANS_S
                self._requeue_orphans(jobs)
            if reconcile_s > 0 and not self._burst and time.monotonic() >= next_reconcile:
                next_reconcile = time.monotonic() + reconcile_s
                self._reconcile(jobs)
            self._stop.wait(0.5)
        self._end()
        return 0

    def _start(self, slot: _Slot, context: multiprocessing.context.SpawnContext, jobs: Jobs) -> None:
        if self._stop.is_set():
            return
        self._requeue_orphans(jobs)
        arguments = (slot.name, slot.queues, slot.warm, self._burst, self._level)
        process = context.Process(target=work, args=arguments, name=slot.name)
        process.start()
        slot.process, slot.started = process, time.monotonic()
        _log.info("%s started as process %s for %s", slot.name, process.pid, ", ".join(slot.queues))

    def _requeue_orphans(self, jobs: Jobs) -> None:
        try:
            requeue_orphans(jobs)
        except (GeoLabelError, RedisError) as error:
            _log.warning("%s", error)

    def _reconcile(self, jobs: Jobs) -> None:
        try:
            jobs.enqueue("workers.jobs_loop.reconcile", {}, queue="cpu")
        except GeoLabelError as error:
            _log.warning("%s", error.message)

    def _end(self) -> None:
        for slot in self._slots:
            if slot.process is not None and slot.process.is_alive():
                slot.process.terminate()
        deadline = time.monotonic() + 20.0
        for slot in self._slots:
            if slot.process is not None:
                slot.process.join(max(0.1, deadline - time.monotonic()))
                if slot.process.is_alive():
                    slot.process.kill()
                    slot.process.join(5.0)


def _set_logging(level: str) -> None:
    logging.basicConfig(level=level, format="%(asctime)s %(name)s %(levelname)s %(message)s", stream=sys.stderr)


def _queues(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    unknown = [name for name in names if name not in QUEUES]
    if unknown:
        raise ConfigError(f"there is no queue {', '.join(unknown)}; there are {', '.join(QUEUES)}")
    return names or ALL_QUEUES


def main(argv: list[str] | None = None) -> int:
    """Run the pool; the command line of `python -m workers.run`."""
    parser = argparse.ArgumentParser(prog="workers.run", description="Run GeoLabel's workers.")
    parser.add_argument("--workers", type=int, default=None, help="forking workers (default: the setting jobs.workers)")
    parser.add_argument("--no-warm", action="store_true", help="no warm process; the forking workers take all queues")
    parser.add_argument("--queues", default="", help=f"names with commas, of {', '.join(ALL_QUEUES)} (default: all)")
    parser.add_argument("--burst", action="store_true", help="stop when nothing waits any more")
    options = parser.parse_args(argv)
    try:
        settings = load_settings()
        _set_logging(settings.log_level)
        services = Services(settings)
        services.jobs.ping()
        services.store.exists("scenes")
        pool = Pool(
            forking=options.workers or settings.jobs.workers,
            warm=not options.no_warm,
            level=settings.log_level,
            queues=_queues(options.queues),
            burst=options.burst,
        )
        return pool.run(services.jobs, reconcile_s=settings.jobs.reconcile_s)
    except GeoLabelError as error:
        sys.stderr.write(f"{error.message}\n")
        return error.exit_code


if __name__ == "__main__":
    raise SystemExit(main())
