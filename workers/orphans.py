"""Jobs whose worker was killed: put back into their queue as soon as a worker starts, not minutes later."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path

from rq import Worker
from rq.registry import StartedJobRegistry

from geolabel.adapters.jobs import QUEUES, Jobs

_log = logging.getLogger("geolabel.workers")


def requeue_orphans(jobs: Jobs) -> list[str]:
    """Put started jobs without a living worker back; return their ids.

    A worker lives when Redis knows it and, if it ran on this machine, its process exists.
    """
    living = {worker.name for worker in Worker.all(connection=jobs.connection) if _lives(worker)}
    back = []
    for name in QUEUES:
        queue = jobs.queue(name)
        registry = StartedJobRegistry(queue=queue)
        for job_id, execution_id in registry.get_job_and_execution_ids(cleanup=False):
            job = queue.fetch_job(job_id)
            if job is None or job.worker_name in living:
                continue
            # Only one of several pools that start at once takes the entry out, and queues the job.
            if not jobs.connection.zrem(registry.key, f"{job_id}:{execution_id}"):
                continue
            queue.enqueue_job(job)
            back.append(job.id)
            _log.warning("job %s lost its worker %s; it is queued again", job.id, job.worker_name)
    return back


def _lives(worker: Worker) -> bool:
    if worker.hostname != socket.gethostname() or not worker.pid:
        return True
    if _process_runs(int(worker.pid)):
        return True
    worker.register_death()
    return False


def _process_runs(pid: int) -> bool:
    """Tell whether a process works on; one that has ended and that nobody has collected yet (a zombie) does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
    except OSError:  # gone in between, or a system without /proc
        return not Path("/proc/self").exists()
    return state not in ("Z", "X")
