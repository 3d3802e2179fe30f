"""What the learning loop has gained: one JSON and one page with plots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from geolabel.errors import GeoLabelError, InputError, NotFoundError
from geolabel.pipeline.agreement import agreement_of
from geolabel.pipeline.calibrate import calibrate_project
from geolabel.pipeline.labels import ANNOTATED, project_config, project_key
from geolabel.pipeline.models import active_version, list_versions
from geolabel.pipeline.train import history
from geolabel.sample.replay import ReplayOptions
from geolabel.services import Services

#: Labelled chips from which a replay on the project's own labels says anything.
REPLAY_FROM = 24


def report_project(services: Services, project_id: str, *, replay: bool = True, seeds: int = 10) -> dict[str, Any]:
    """Gather the report of a project as JSON.

    Args:
        services: Everything.
        project_id: Of Label Studio.
        replay: Estimate the labels saved against chance by replaying the project's own labels (takes a while).
        seeds: Of that replay.

    Raises:
        NotFoundError: the project is gone.
    """
    project = services.labelstudio.project(int(project_id))
    taxonomy = project_config(services, project_id).taxonomy()
    tasks = list(services.labelstudio.tasks(int(project_id), query=ANNOTATED))
    active = active_version(services, project_id)
    try:
        queue = services.store.get_json(project_key(project_id, "loop/queue.json"))
    except NotFoundError:
        queue = {"reason": "the queue was never ranked; run `geolabel select`"}
    return {
        "project": int(project_id),
        "title": str(project.get("title")),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "labels": _labels(tasks, int(project.get("task_number") or 0)),
        "models": [_model(item) for item in list_versions(services, project_id)],
        "active": active.version if active else None,
        "trainings": [
            {key: item.get(key) for key in ("at", "decision", "reason", "version", "taught", "judged", "new", "old")}
            for item in history(services, project_id)
        ],
        "calibration": _calibration(services, project_id),
        "queue": queue,
        "agreement": agreement_of(tasks, taxonomy).to_json(),
        "saved": _saved(services, project_id, len(tasks), replay=replay, seeds=seeds),
    }


def _labels(tasks: Sequence[Mapping[str, Any]], total: int) -> dict[str, Any]:
    days: Counter[str] = Counter()
    people: Counter[str] = Counter()
    times: list[str] = []
    skipped = 0
    seconds: list[float] = []
    for task in tasks:
        for annotation in task.get("annotations") or []:
            if annotation.get("was_cancelled"):
                skipped += 1
                continue
            at = str(annotation.get("created_at") or "")
            times.append(at)
            days[at[:10]] += 1
            people[str(annotation.get("completed_by"))] += 1
            if annotation.get("lead_time"):
                seconds.append(float(annotation["lead_time"]))
    seconds.sort()
    return {
        "tasks": total,
        "annotations": len(times),
        "skipped": skipped,
        "by_day": dict(sorted(days.items())),
        "by_person": dict(sorted(people.items())),
        "times": sorted(times),
        "median_s": seconds[len(seconds) // 2] if seconds else None,
    }


def _model(item: Any) -> dict[str, Any]:
    keys = ("snapshot", "decision", "reason", "holdout", "taught", "judged", "labelled")
    return {
        "version": item.version,
        "created": item.created,
        "sha256": item.sha256,
        "chips": item.chips,
        **{key: item.metrics.get(key) for key in keys},
    }


def _calibration(services: Services, project_id: str) -> dict[str, Any]:
    try:
        found = calibrate_project(services, project_id, save=False)
    except GeoLabelError as error:
        return {"reason": error.message}
    return found.to_json() if found.classes else {"reason": "no predicted region was reviewed yet"}


def _saved(services: Services, project_id: str, labelled: int, *, replay: bool, seeds: int) -> dict[str, Any]:
    """Replay the project's labels: how many the project's sampler needs, against chance."""
    sampler = services.settings.loop.sampler
    if not replay:
        return {"reason": "not asked for"}
    if labelled < REPLAY_FROM:
        return {"reason": f"{labelled} labelled chips are too few for a replay; {REPLAY_FROM} are enough"}
    from geolabel.pipeline.labelled_tables import table_from_project
    from geolabel.pipeline.simulate import simulate

    try:
        table = table_from_project(services, project_id)
        options = ReplayOptions(first=3, least=2, budget=max(6, int(len(table) * 0.7)), block_chips=3.0, trees=12)
        with TemporaryDirectory(prefix="geolabel-replay-") as folder:
            found = simulate(
                table, Path(folder), sorted({"random", sampler}), seeds=seeds, options=options, processes=1
            )
    except InputError as error:
        return {"reason": error.message}
    ours = found.summary.get(sampler)
    if ours is None or ours["ratio_to_random"] is None:
        return {"reason": "; ".join(found.failed.values()) or "the replay gave no pair of runs"}
    ratio, low, high = ours["ratio_to_random"]
    chance = found.summary["random"]["labels_to_target"]
    return {
        "sampler": sampler,
        "seeds": seeds,
        "target": options.target,
        "labels": ours["labels_to_target"],
        "labels_by_chance": chance,
        "ratio": ours["ratio_to_random"],
        "saved_share": [round(1 - ratio, 3), round(1 - high, 3), round(1 - low, 3)],
        "saved_labels": round(chance[0] - ours["labels_to_target"][0], 1),
        "curves": {name: item["curve"] for name, item in found.summary.items()},
        "not_reached": {name: item["not_reached"] for name, item in found.summary.items()},
    }
