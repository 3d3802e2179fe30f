"""Jobs on a real Redis with a real pool: progress, retries, doubles, kills, cancelling."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from rq import Worker

from geolabel.adapters.jobs import Jobs, JobStatus
from geolabel.errors import NotFoundError, QueueError
from geolabel.local.ports import free_port
from tests.servers import Stack

PROBE = "workers.jobs.probe"
PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def jobs(stack: Stack) -> Jobs:
    stack.worker()
    return stack.services.jobs


def until(jobs: Jobs, job_id: str, wanted: Callable[[JobStatus], Any]) -> JobStatus:
    """Wait until a status is as wanted."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        status = jobs.status(job_id)
        if wanted(status):
            return status
        assert time.monotonic() < deadline, f"{job_id} is still {status}"
        time.sleep(0.1)


def finished(jobs: Jobs, job_id: str) -> JobStatus:
    return jobs.wait(job_id, timeout_s=PATIENCE_S)


@pytest.mark.parametrize("queue", ["cpu", "model", "fast", "export"])
def test_a_job_of_every_queue_is_done(jobs: Jobs, queue: str) -> None:
    made = jobs.enqueue(PROBE, {"steps": 3, "queue": queue}, queue=queue)
    done = finished(jobs, made.id)
    assert (done.state, done.result, done.error) == ("finished", {"steps": 3}, "")
    assert dict(done.progress) == {"done": 3, "total": 3, "message": "counted"}
    assert done.created <= done.started <= done.ended
    assert dict(done.payload) == {"steps": 3, "queue": queue}


def test_progress_is_seen_while_a_job_runs_and_doubles_join_it(jobs: Jobs) -> None:
    payload = {"steps": 200, "pause_s": 0.05, "what": "progress"}
    made = jobs.enqueue(PROBE, payload)
    running = until(jobs, made.id, lambda status: status.progress.get("done", 0) >= 2)
    assert running.state == "started"
    assert jobs.enqueue(PROBE, dict(reversed(payload.items()))).id == made.id
    assert [job.id for job in jobs.list()].count(made.id) == 1
    assert jobs.counts()["cpu"]["queued"] == 0
    jobs.cancel(made.id)
    stopped = until(jobs, made.id, lambda status: status.state not in ("started", "queued"))
    assert stopped.state in ("stopped", "failed", "canceled")


def test_what_is_done_can_be_done_again(jobs: Jobs) -> None:
    payload = {"steps": 1, "what": "again"}
    first = finished(jobs, jobs.enqueue(PROBE, payload).id)
    again = jobs.enqueue(PROBE, payload)
    assert again.id == first.id
    second = finished(jobs, again.id)
    assert second.state == "finished"
    assert second.ended > first.ended


def test_wrong_input_fails_at_once_with_a_sentence(jobs: Jobs) -> None:
    made = jobs.enqueue(PROBE, {"fail": "input"})
    failed = finished(jobs, made.id)
    assert failed.state == "failed"
    assert failed.error.startswith("the probe was asked to fail as on wrong input")
    assert "Traceback" not in str(failed.to_json())


def test_what_may_pass_is_tried_again_until_it_does(jobs: Jobs, stack: Stack) -> None:
    made = jobs.enqueue(PROBE, {"fail": "retryable"})
    waiting = until(jobs, made.id, lambda status: status.error)
    assert "broken network" in waiting.error
    stack.services.store.put("probe/mended", b"")
    done = until(jobs, made.id, lambda status: status.state == "finished")
    assert done.error == ""


def test_a_job_of_a_killed_worker_is_done_by_another(jobs: Jobs) -> None:
    payload = {"steps": 40, "pause_s": 0.1, "what": "killed"}
    made = jobs.enqueue(PROBE, payload)
    until(jobs, made.id, lambda status: status.state == "started" and status.progress.get("done", 0) >= 1)
    holders = [w for w in Worker.all(connection=jobs.connection) if w.get_current_job_id() == made.id]
    assert len(holders) == 1
    os.kill(int(holders[0].pid), signal.SIGKILL)
    done = until(jobs, made.id, lambda status: status.state in ("finished", "failed"))
    assert (done.state, done.result) == ("finished", {"steps": 40})


def test_a_job_whose_own_process_is_killed_says_so(jobs: Jobs) -> None:
    made = jobs.enqueue(PROBE, {"steps": 400, "pause_s": 0.1, "what": "horse"})
    until(jobs, made.id, lambda status: status.state == "started" and status.progress.get("done", 0) >= 1)
    holder = next(w for w in Worker.all(connection=jobs.connection) if w.get_current_job_id() == made.id)
    children = [int(pid) for pid in _children(int(holder.pid))]
    assert children
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    ended = until(jobs, made.id, lambda status: status.state in ("failed", "scheduled", "queued"))
    if ended.state == "failed":
        assert "died" in ended.error
    jobs.cancel(made.id)


def _children(pid: int) -> list[str]:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return file.read().split()


def test_waiting_jobs_can_be_cancelled(jobs: Jobs) -> None:
    made = jobs.enqueue(PROBE, {"what": "later"}, delay_s=3600)
    assert made.state == "scheduled"
    assert jobs.cancel(made.id).state == "canceled"
    with pytest.raises(NotFoundError, match="no job"):
        jobs.cancel("no-such-job")
    with pytest.raises(NotFoundError, match="no job"):
        jobs.status("no-such-job")


def test_without_redis_there_is_a_sentence() -> None:
    alone = Jobs(f"redis://:secret@127.0.0.1:{free_port()}/0")
    for ask in (alone.ping, alone.counts, alone.list, lambda: alone.enqueue(PROBE, {}), lambda: alone.status("x")):
        with pytest.raises(QueueError, match="does not answer") as caught:
            ask()
        assert "secret" not in caught.value.message
        assert caught.value.retryable
