"""Pictures written ahead into the store, for a CDN or for sources that are slow to read."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from geolabel.core.scene import RenderSpec
from geolabel.errors import RasterReadError
from geolabel.pipeline.chip_index import chip_of_row, read_plan, read_rows
from geolabel.pipeline.chip_urls import image_format
from geolabel.pipeline.scenes import clean_id, load_scene
from geolabel.raster.pool import DatasetPool
from geolabel.raster.render import render_bytes
from geolabel.services import Services
from geolabel.settings import Settings

Progress = Callable[[int, int | None, str], None]
_EVERY = 25


def chip_key(scene_id: str, identity: str, suffix: str) -> str:
    """Return the key of a picture."""
    return f"pictures/{clean_id(scene_id)}/{clean_id(identity)}.{suffix}"


def _marker(scene_id: str) -> str:
    return f"pictures/{clean_id(scene_id)}/plans"


def is_prerendered(services: Services, scene_id: str) -> bool:
    """Tell whether any plan of a scene has pictures in the store."""
    return any(True for _ in services.store.list(_marker(scene_id)))


def prerender(
    services: Services, scene_id: str, plan_id: str, report: Progress, *, processes: int = 1
) -> dict[str, Any]:
    """Write the pictures of a plan that aren't there yet; a second run goes on where one stopped.

    Args:
        services: Store and settings.
        scene_id, plan_id: Which plan.
        report: Called with (done, total, message).
        processes: Side by side; each takes a contiguous part of the plan, so that blocks are decoded once.

    Returns:
        {"written", "existing", "failed": [{"chip_id", "error"}]}.
    """
    scene = load_scene(services, scene_id)
    rows = int(read_plan(services, scene_id, plan_id)["rows"])
    suffix = image_format(services.settings, scene)
    services.store.put_json(f"{_marker(scene_id)}/{clean_id(plan_id)}.json", {"plan": plan_id, "format": suffix})
    if processes <= 1:
        return render_part(services, scene_id, plan_id, 0, rows, report)
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    edges = [rows * i // processes for i in range(processes + 1)]
    out: dict[str, Any] = {"written": 0, "existing": 0, "failed": []}
    # spawn: GDAL's threads and locks don't survive a fork.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        parts = [
            pool.submit(_part, services.settings, scene_id, plan_id, first, last)
            for first, last in itertools.pairwise(edges)
        ]
        for number, part in enumerate(parts):
            result = part.result()
            out["written"] += result["written"]
            out["existing"] += result["existing"]
            out["failed"] += result["failed"]
            report(edges[number + 1], rows, f"rendering {scene.name}")
    return out


def _part(settings: Settings, scene_id: str, plan_id: str, first: int, last: int) -> dict[str, Any]:
    return render_part(Services(settings), scene_id, plan_id, first, last, lambda *_: None)


def render_part(
    services: Services, scene_id: str, plan_id: str, first: int, last: int, report: Progress
) -> dict[str, Any]:
    """Write the pictures of rows `first` to `last` (excluded) of a plan; see `prerender`."""
    scene = load_scene(services, scene_id)
    render = RenderSpec.from_json(read_plan(services, scene_id, plan_id)["render"])
    suffix = image_format(services.settings, scene)
    there = set(services.store.list(f"pictures/{clean_id(scene_id)}"))
    pool, written, existing, failed = DatasetPool(), 0, 0, []
    try:
        for number, row in enumerate(itertools.islice(read_rows(services, scene_id, plan_id), first, last)):
            if row["state"] != "planned":
                continue
            key = chip_key(scene_id, row["chip_id"], suffix)
            if key in there:
                existing += 1
                continue
            chip = chip_of_row(row, scene, render)
            try:
                services.store.put(key, render_bytes(scene, chip, suffix, pool=pool))
                written += 1
            except RasterReadError as error:
                failed.append({"chip_id": chip.id, "error": error.message})
            if number % _EVERY == 0:
                report(number, last - first, f"rendering {scene.name}")
    finally:
        pool.close()
    return {"written": written, "existing": existing, "failed": failed}
