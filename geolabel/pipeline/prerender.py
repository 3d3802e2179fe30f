"""Pictures written ahead into the store, for a CDN or for sources that are slow to read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from geolabel.core.scene import RenderSpec
from geolabel.errors import RasterReadError
from geolabel.pipeline.chip_index import chip_of_row, read_plan, read_rows
from geolabel.pipeline.chip_urls import image_format
from geolabel.pipeline.scenes import clean_id, load_scene
from geolabel.raster.encode import encode_image
from geolabel.raster.pool import DatasetPool
from geolabel.raster.render import render_chip
from geolabel.services import Services

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


def prerender(services: Services, scene_id: str, plan_id: str, report: Progress) -> dict[str, Any]:
    """Write the pictures of a plan that aren't there yet; returns counts. A second run goes on where one stopped."""
    scene = load_scene(services, scene_id)
    record = read_plan(services, scene_id, plan_id)
    render = RenderSpec.from_json(record["render"])
    suffix = image_format(services.settings, scene)
    there = set(services.store.list(f"pictures/{clean_id(scene_id)}"))
    services.store.put_json(f"{_marker(scene_id)}/{clean_id(plan_id)}.json", {"plan": plan_id, "format": suffix})
    pool, counts, failed = DatasetPool(), {"written": 0, "existing": 0}, []
    try:
        for number, row in enumerate(read_rows(services, scene_id, plan_id)):
            if row["state"] != "planned":
                continue
            key = chip_key(scene_id, row["chip_id"], suffix)
            if key in there:
                counts["existing"] += 1
                continue
            chip = chip_of_row(row, scene, render)
            try:
                services.store.put(key, encode_image(render_chip(scene, chip, pool=pool), suffix))
                counts["written"] += 1
            except RasterReadError as error:
                failed.append({"chip_id": chip.id, "error": error.message})
            if number % _EVERY == 0:
                report(number, record["rows"], f"rendering {scene.name}")
    finally:
        pool.close()
    return {**counts, "failed": failed}
