"""Every job by name: payload in, use case, JSON out."""

from __future__ import annotations

import time
from typing import Any

from geolabel.errors import AdapterError, InputError
from geolabel.services import Services
from workers.frame import Payload, Progress, job


@job
def probe(services: Services, payload: Payload, progress: Progress) -> dict[str, Any]:
    """Check the queue itself: count to `steps`, `pause_s` each; fail as told by `fail` ("input" or "retryable").

    `geolabel doctor` sends it to see that a worker answers.
    """
    steps = int(payload.get("steps", 1))
    for step in range(steps):
        progress(step, steps, "counting")
        time.sleep(float(payload.get("pause_s", 0.0)))
    if payload.get("fail") == "input":
        raise InputError("the probe was asked to fail as on wrong input; leave out `fail`")
    if payload.get("fail") == "retryable" and not services.store.exists("probe/mended"):
        raise AdapterError("the probe was asked to fail as on a broken network", retryable=True)
    progress(steps, steps, "counted")
    return {"steps": steps}
