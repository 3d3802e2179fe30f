"""Rasters into tasks: register, check, plan, index, import. Any step may run twice; a stopped one goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from geolabel.core.plans import Plan, plan_scene
from geolabel.core.scene import RenderSpec, Scene
from geolabel.errors import GeoLabelError, GeoreferenceError, InputError, RasterReadError
from geolabel.labelstudio.task import build_task
from geolabel.pipeline.chip_index import chip_of_row, off_earth, read_rows, save_index
from geolabel.pipeline.chip_urls import UrlSigner
from geolabel.pipeline.import_chips import import_tasks, importing, known_chips, refresh_urls, wait_settled
from geolabel.pipeline.ingest_report import (
    IngestOptions,
    IngestReport,
    SceneReport,
    ingest_id,
    load_record,
    save_record,
)
from geolabel.pipeline.scenes import load_scene, save_render, save_scene
from geolabel.services import Services

Progress = Callable[[int, int | None, str], None]
_TASKS_AT_ONCE = 1000


def _silent(done: int, total: int | None, message: str) -> None:
    del done, total, message


@dataclass(slots=True, kw_only=True)
class Prepared:
    """A scene that is registered, planned and indexed, ready to become tasks."""

    scene: Scene
    render: RenderSpec
    plan: Plan
    report: SceneReport
    extra: dict[str, Any] = field(default_factory=dict)


def ingest(
    services: Services,
    uris: Sequence[str],
    project_id: int | None = None,
    *,
    options: IngestOptions | None = None,
    report: Progress = _silent,
) -> IngestReport:
    """Ingest rasters.

    Args:
        services: Store, Label Studio, queue.
        uris: Paths, addresses, folders, patterns, STAC items.
        project_id: Project of Label Studio that gets the tasks; None: only register and plan.
        options: What else is asked.
        report: Called with (done, total, message).

    Returns:
        One report a scene. A scene that is refused has its sentence in `error`.

    Raises:
        InputError: there is nothing to ingest, or every scene was refused (the sentence is the first one's).
        LabelStudioError: Label Studio refused, or did not answer; what was done stays, and a second call goes on.
    """
    from geolabel.pipeline.sources import open_sources

    asked = options or IngestOptions(plan=_default_plan(services))
    if not uris:
        raise InputError("there is nothing to ingest; give at least one path or address")
    out = IngestReport(id=ingest_id(list(uris), project_id, asked), project_id=project_id)
    before = load_record(services, out.id)
    unclear = bool(before and before.get("state") == "running")
    if project_id is not None:
        services.labelstudio.project(project_id)
    save_record(services, out)
    try:
        prepared = _prepare_all(services, open_sources(services, uris, asked), asked, out, report)
        if asked.prerender:
            _prerender_all(services, prepared, report)
        if project_id is not None and prepared:
            _import_all(services, project_id, prepared, asked, unclear, report)
            save_record(services, out)
    except GeoLabelError:
        out.state = "failed"
        save_record(services, out)
        raise
    out.state = "done"
    save_record(services, out)
    refused = [scene for scene in out.scenes if scene.error]
    if refused and len(refused) == len(out.scenes):
        raise InputError(refused[0].error)
    return out


def _default_plan(services: Services) -> Any:
    from geolabel.core.plans import PlanSpec

    return PlanSpec(size_px=services.settings.chips.size_px, overlap=services.settings.chips.overlap)


def _prepare_all(
    services: Services, opened: Any, asked: IngestOptions, out: IngestReport, report: Progress
) -> list[Prepared]:
    prepared = []
    for number, source in enumerate(opened):
        report(number, None, f"reading {source.name}")
        entry = SceneReport(name=source.name, uri=source.uri, issues=[i.to_json() for i in source.found.issues])
        out.scenes.append(entry)
        try:
            prepared.append(prepare_scene(services, source.found.require(), asked, entry, report))
        except InputError as error:
            entry.error = error.message
        except RasterReadError as error:
            if error.retryable:
                raise
            entry.error = error.message
        save_record(services, out)
    return prepared


def prepare_scene(
    services: Services, scene: Scene, asked: IngestOptions, entry: SceneReport, report: Progress
) -> Prepared:
    """Register a scene, plan its chips, find what is valid, cloudy and unreadable, and write the index.

    Raises:
        InputError: no chip remains; the sentence says why.
    """
    from geolabel.pipeline.areas import areas_of
    from geolabel.pipeline.fractions import look_at_chips
    from geolabel.pipeline.radiometric_facts import with_dark_objects, with_metadata
    from geolabel.raster.renders import choose_render

    clock = time.perf_counter()
    if asked.metadata:
        scene = with_metadata(scene, asked.metadata)
    render = with_dark_objects(scene, choose_render(scene, asked.render))
    save_scene(services, scene)
    scene = load_scene(services, scene.id)
    digest = save_render(services, render)
    aoi, around, spec = areas_of(scene, asked)
    plan = plan_scene(scene.id, digest, scene.georef, spec, aoi=aoi, around=around)
    entry.scene_id, entry.plan_id, entry.planned = scene.id, plan.id, len(plan.windows)
    entry.skipped = dict(plan.left_out)
    entry.seconds["plan"] = round(time.perf_counter() - clock, 3)
    clock = time.perf_counter()
    states = np.full(len(plan.windows), "planned", dtype=object)
    reasons = np.full(len(plan.windows), "", dtype=object)
    _mark(states, reasons, off_earth(plan.windows, scene.georef), "skipped", "its edge lies off the Earth in this CRS")
    looked = look_at_chips(services, scene, render, plan, asked, states, reasons, report)
    entry.failed = looked.failed
    for reason in sorted({str(r) for s, r in zip(states, reasons, strict=True) if s == "skipped"}):
        entry.skipped[reason] = int(((reasons == reason) & (states == "skipped")).sum())
    entry.seconds["look"] = round(time.perf_counter() - clock, 3)
    clock = time.perf_counter()
    save_index(services, scene, render, plan, fractions=looked.fractions, states=states, reasons=reasons)
    if looked.footprint is not None:
        scene = replace(scene, properties={**scene.properties, "footprint": looked.footprint})
        save_scene(services, scene)
        services.store.put_json(f"footprints/{scene.id}.geojson", _feature(scene, looked.footprint))
    entry.seconds["index"] = round(time.perf_counter() - clock, 3)
    if not (states == "planned").any():
        raise InputError(_nothing_left(scene, entry))
    return Prepared(scene=scene, render=render, plan=plan, report=entry)


def _prerender_all(services: Services, prepared: list[Prepared], report: Progress) -> None:
    from geolabel.pipeline.prerender import prerender

    for item in prepared:
        counts = prerender(services, item.scene.id, item.plan.id, report)
        item.report.failed += [{**f, "window": [], "tries": 1} for f in counts["failed"]]


def _mark(
    states: npt.NDArray[np.object_],
    reasons: npt.NDArray[np.object_],
    where: npt.NDArray[np.bool_],
    state: str,
    why: str,
) -> None:
    hit = where & (states == "planned")
    states[hit], reasons[hit] = state, why


def _nothing_left(scene: Scene, entry: SceneReport) -> str:
    parts = [f"{count} {reason}" for reason, count in entry.skipped.items()]
    if entry.failed:
        parts.append(f"{len(entry.failed)} can't be read ({entry.failed[0]['error']})")
    why = "; ".join(parts) or "the plan is empty"
    hint = ", or normalise it with --target-crs" if any("off the Earth" in part for part in parts) else ""
    return f"no chip of {scene.name} remains: {why}; choose another size, area or threshold{hint}"


def _feature(scene: Scene, geometry: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Feature", "id": scene.id, "geometry": geometry, "properties": {"name": scene.name}}


def _import_all(
    services: Services, project_id: int, prepared: list[Prepared], asked: IngestOptions, unclear: bool, report: Progress
) -> None:
    from geolabel.pipeline.stacks import stack_tasks

    with importing(services, project_id):
        report(0, None, "asking Label Studio which chips it has")
        known = wait_settled(services, project_id) if unclear else known_chips(services, project_id)
        if asked.stack:
            tasks = stack_tasks(services, project_id, prepared)
            _import_batch(services, project_id, prepared[0].report, tasks, known, report, 0, len(tasks))
            return
        total = sum(int(p.report.planned) for p in prepared)
        done = 0
        for item in prepared:
            signer = UrlSigner(services.settings)
            key = _image_key(services, project_id)
            batch: list[dict[str, Any]] = []
            for row in read_rows(services, item.scene.id, item.plan.id):
                if row["state"] == "planned":
                    task = _task(row, item, signer, key, asked.context)
                    if task is not None:
                        batch.append(task)
                if len(batch) >= _TASKS_AT_ONCE:
                    done += _import_batch(services, project_id, item.report, batch, known, report, done, total)
                    batch = []
            done += _import_batch(services, project_id, item.report, batch, known, report, done, total)


def _import_batch(
    services: Services, project_id: int, entry: SceneReport, batch: list[dict[str, Any]],
    known: dict[str, tuple[int, dict[str, Any]]], report: Progress, done: int, total: int,
) -> int:  # fmt: skip
    before = dict(known)
    result = import_tasks(services, project_id, batch, known=known, report=report, done=done, total=total)
    entry.created += result.created
    entry.existing += result.existing
    entry.refreshed += refresh_urls(services, batch, before)
    report(done + len(batch), total, "tasks imported")
    return len(batch)


def _task(row: dict[str, Any], item: Prepared, signer: UrlSigner, key: str, context: bool) -> dict[str, Any] | None:
    chip = chip_of_row(row, item.scene, item.render)
    extra: dict[str, Any] = {"valid_fraction": chip.valid_fraction}
    if chip.cloud_fraction is not None:
        extra["cloud_fraction"] = chip.cloud_fraction
    if context:
        extra["context"] = signer.chip(chip, item.scene, context=True)
    try:
        return {"data": build_task(chip, item.scene, signer.chip(chip, item.scene), image_key=key, extra=extra)}
    except GeoreferenceError as error:
        item.report.failed.append(
            {"chip_id": chip.id, "window": chip.window.to_list(), "error": error.message, "tries": 1}
        )
        return None


def _image_key(services: Services, project_id: int) -> str:
    """Return the key that the project's label config reads its image from."""
    import re

    config = str(services.labelstudio.project(project_id).get("label_config") or "")
    found = re.search(r"<Image\b[^>]*\bvalue=[\"']\$([A-Za-z_]\w*)", config)
    return found.group(1) if found else "image"
