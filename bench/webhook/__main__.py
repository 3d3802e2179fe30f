"""Webhook latency at a fixed rate: `python -m bench.webhook --redis redis://127.0.0.1:6379/9`.

A backend of its own is started. Every event is sent at its due time, whether the
one before was answered or not; then the queue is asked whether each of them arrived.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np

from geolabel.local.ports import free_port
from geolabel.pipeline.connect import SECRET_HEADER
from geolabel.services import Services
from geolabel.settings import load_settings

ROOT = Path(__file__).parents[2]
PROJECT = 990_000_001


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="bench.webhook", description=__doc__)
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--redis", required=True, help="address with a database number that may be used")
    parser.add_argument("--out", type=Path, default=ROOT / "bench-output" / "webhook.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        env = {
            "GEOLABEL_STATE_DIR": folder,
            "REDIS_URL": options.redis,
            "GEOLABEL_SERVER__PORT": str(port),
            "GEOLABEL_SERVER__WEBHOOK_SECRET": "bench",
        }
        argv = [sys.executable, "-m", "uvicorn", "ml_backend.app:create_app", "--factory", "--host", "127.0.0.1"]
        argv += ["--port", str(port), "--no-access-log", "--log-level", "warning"]
        server = subprocess.Popen(argv, env={**os.environ, **env}, cwd=ROOT)
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(url)
            value = asyncio.run(_send(url, options.rate, int(options.rate * options.seconds)))
        finally:
            server.terminate()
            server.wait(20)
        value["lost"] = value["events"] - _arrived(Services(load_settings(env)), value["events"])
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(value, indent=1) + "\n", "utf-8")
    print(json.dumps(value))


def _wait(url: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/health", timeout=2).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.3)
    raise SystemExit("the backend did not start")


async def _send(url: str, rate: float, count: int) -> dict[str, object]:
    times: list[float] = []
    failed = 0
    stamp = time.time_ns()

    async def one(client: httpx.AsyncClient, number: int) -> None:
        nonlocal failed
        annotation = {"id": number, "task": number, "updated_at": f"2026-01-01T00:00:00.{stamp}Z", "result": []}
        body = {"action": "ANNOTATION_CREATED", "project": {"id": PROJECT}, "annotation": annotation}
        started = time.perf_counter()
        try:
            answer = await client.post(f"{url}/webhook", json=body, headers={SECRET_HEADER: "bench"})
            failed += not answer.is_success
        except httpx.HTTPError:
            failed += 1
        times.append(time.perf_counter() - started)

    async with httpx.AsyncClient(timeout=30.0, limits=httpx.Limits(max_connections=100)) as client:
        began = time.perf_counter()
        tasks = []
        for number in range(count):
            await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
            tasks.append(asyncio.create_task(one(client, number)))
        await asyncio.gather(*tasks)
        wall = time.perf_counter() - began
    p50, p95, p99 = (round(float(v) * 1000, 1) for v in np.percentile(times, (50, 95, 99)))
    return {
        "events": count, "rate_asked": rate, "rate": round(count / wall, 1), "p50_ms": p50, "p95_ms": p95,
        "p99_ms": p99, "max_ms": round(max(times) * 1000, 1), "failed": failed, "load": os.getloadavg()[0],
    }  # fmt: skip


def _arrived(services: Services, count: int) -> int:
    """Count the annotations that wait in the queue, and take them out of it."""
    seen = set()
    queue = services.jobs.queue("fast")
    for job_id in queue.get_job_ids():
        job = queue.fetch_job(job_id)
        if job is not None and job.args[0].get("project") == PROJECT:
            seen |= {a["id"] for a in job.args[0]["annotations"]}
            job.delete()
    return min(len(seen), count)


if __name__ == "__main__":
    main()
