"""What is pending, done and failed, for the progress page and `geolabel status`."""

from __future__ import annotations

from collections import Counter
from typing import Any

from geolabel.adapters.jobs import JobStatus
from geolabel.errors import GeoLabelError
from geolabel.pipeline.answers import read_records
from geolabel.pipeline.labels import clean_project_id
from geolabel.services import Services

_UNFINISHED = ("queued", "started", "deferred", "scheduled")
_MOST_FAILURES = 50
_MOST_JOBS = 60


def queue_report(services: Services, project_id: str | None = None) -> dict[str, Any]:
    """Return counts of tasks, jobs and routes, the running jobs, and what failed and why (JSON types).

    Args:
        services: Queue and store.
        project_id: One project; all when None (then tasks are counted from jobs alone).
    """
    problem = ""
    try:
        jobs = services.jobs.list(limit=_MOST_JOBS * 4)
    except GeoLabelError as error:
        jobs, problem = [], error.message
    mine = [job for job in jobs if project_id is None or _project(job) == project_id]
    records = read_records(services, project_id) if project_id else {}
    routes = Counter(str(item["route"]) for item in records.values())
    failures = [
        {"task": task, "reason": str(item["reason"])} for task, item in records.items() if item["route"] == "failed"
    ]
    states = Counter(job.state for job in mine)
    return {
        "project": project_id,
        "problem": problem,
        "tasks": {
            "pending": sum(_pending(job) for job in mine if job.state in _UNFINISHED),
            "answered": sum(routes.values()) - routes["failed"] if project_id else _imported(mine),
            "failed": len(failures) if project_id else _failed(mine),
        },
        "jobs": {
            "queued": states["queued"] + states["scheduled"] + states["deferred"],
            "started": states["started"],
            "failed": states["failed"],
            "finished": states["finished"],
        },
        "routes": dict(sorted(routes.items())),
        "failures": failures[:_MOST_FAILURES],
        "job_list": [_row(job) for job in sorted(mine, key=_order)[:_MOST_JOBS]],
    }


def _order(job: JobStatus) -> tuple[int, str]:
    # What runs first, then what waits, then the rest; each newest first.
    rank = {"started": 0, "failed": 1, "queued": 2}.get(job.state, 3)
    return rank, "".join(chr(0x10FFFF - ord(c)) for c in job.created)


def _project(job: JobStatus) -> str:
    try:
        return clean_project_id(job.payload.get("project", job.payload.get("project_id")))
    except GeoLabelError:
        return ""


def _is_prelabel(job: JobStatus) -> bool:
    return job.name.endswith(".prelabel")


def _pending(job: JobStatus) -> int:
    if not _is_prelabel(job):
        return 0
    tasks = job.payload.get("tasks")
    total = len(tasks) if isinstance(tasks, list) else int(job.progress.get("total") or 0)
    return max(0, total - int(job.progress.get("done") or 0))


def _imported(jobs: list[JobStatus]) -> int:
    return sum(int(j.result.get("imported", 0)) for j in jobs if _is_prelabel(j) and isinstance(j.result, dict))


def _failed(jobs: list[JobStatus]) -> int:
    return sum(len(j.result.get("failed", {})) for j in jobs if _is_prelabel(j) and isinstance(j.result, dict))


def _row(job: JobStatus) -> dict[str, Any]:
    done, total = int(job.progress.get("done") or 0), int(job.progress.get("total") or 0)
    since = job.ended or job.started or job.created
    return {
        "id": job.id,
        "title": job.name.rpartition(".")[2].replace("_", " ") or "job",
        "project": _project(job),
        "state": job.state,
        "error": job.error,
        "done": done,
        "total": total,
        "percent": round(100 * done / total) if total else 0,
        "message": str(job.progress.get("message") or ""),
        "since": since[:19].replace("T", " "),
    }


def report_lines(report: dict[str, Any]) -> list[str]:
    """Return a report of `queue_report` as lines for a terminal: what is pending, what runs, what failed and why."""
    if report["problem"]:
        return [str(report["problem"])]
    tasks, jobs = report["tasks"], report["jobs"]
    waiting = f"{tasks['pending']} tasks wait for a prediction, {tasks['failed']} failed"
    lines = [f"{waiting}; jobs: {jobs['queued']} queued, {jobs['started']} running, {jobs['failed']} failed"]
    for job in report["job_list"]:
        if job["state"] == "started":
            share = f"{job['done']} of {job['total']}" if job["total"] else str(job["done"])
            lines.append(f"running: {job['title']} of project {job['project']}: {share} {job['message']}")
        elif job["state"] == "failed":
            lines.append(f"failed: {job['title']} of project {job['project']}: {job['error']}")
    return lines
