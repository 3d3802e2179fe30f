"""Every job that can be asked for by name exists, and is one of the frame's."""

from __future__ import annotations

import importlib

import pytest

from geolabel.adapters.jobs import QUEUES
from geolabel.pipeline.events import EVENT_JOB, TRAIN_JOB
from geolabel.pipeline.requests import REQUESTS
from workers.run import ALL_QUEUES, FORK_QUEUES, WARM_QUEUES

NAMES = sorted({name for name, _, _ in REQUESTS.values()} | {EVENT_JOB, TRAIN_JOB, "workers.jobs_loop.reconcile"})


@pytest.mark.parametrize("name", NAMES)
def test_a_job_is_there_and_documented(name: str) -> None:
    module, _, function = name.rpartition(".")
    job = getattr(importlib.import_module(module), function)
    assert callable(job)
    assert job.__doc__
    assert hasattr(job, "__wrapped__"), f"{name} must be made by workers.frame.job"


def test_every_queue_is_served() -> None:
    assert {queue for _, queue, _ in REQUESTS.values()} <= set(QUEUES)
    assert set(ALL_QUEUES) == set(FORK_QUEUES) | set(WARM_QUEUES) == set(QUEUES)
