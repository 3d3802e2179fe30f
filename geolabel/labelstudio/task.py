"""Chips ↔ Label Studio tasks: the task carries everything needed to place its pixels on the Earth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from geolabel.core.scene import Chip, Scene
from geolabel.errors import InputError


def build_task(
    chip: Chip, scene: Scene, image_url: str, *, image_key: str = "image", extra: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the `data` of a task for one chip.

    Args:
        chip: The chip.
        scene: Scene it is cut from.
        image_url: Signed address of the rendered chip.
        image_key: Key that the project's label config reads the image from.
        extra: Further columns for the Data Manager (JSON types).
    """
    outline = chip.georef.outline_lonlat(1)
    low, high = outline.min(axis=0), outline.max(axis=0)
    gsd = chip.georef.gsd_m()
    geo = {
        **chip.to_geo(),
        "gsd_m": [round(gsd[0], 6), round(gsd[1], 6)],
        "bounds_lonlat": [round(float(v), 8) for v in (low[0], low[1], high[0], high[1])],
        "crs_log": dict(scene.crs_log),
    }
    return {image_key: image_url, "chip_id": chip.id, "scene": scene.name, "geo": geo, **(extra or {})}


def build_stack_task(
    chips: Sequence[Chip],
    scenes: Sequence[Scene],
    image_urls: Sequence[str],
    *,
    image_key: str = "images",
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the `data` of one task over aligned chips of several dates; the first is the reference.

    Raises:
        InputError: there are no chips, or their pixel planes differ.
    """
    if not chips or not len(chips) == len(scenes) == len(image_urls):
        raise InputError(f"a stack needs as many scenes and addresses as chips; got {len(chips)} chips")
    first = chips[0].georef
    for chip in chips[1:]:
        if (chip.georef.width, chip.georef.height, chip.georef.crs) != (first.width, first.height, first.crs):
            raise InputError(f"chip {chip.id} is not on the pixel plane of {chips[0].id}; align the scenes first")
    data = build_task(chips[0], scenes[0], image_urls[0], image_key="reference", extra=extra)
    del data["reference"]
    geos = [chip.to_geo() for chip in chips]
    dates = [scene.acquired or scene.name for scene in scenes]
    return {**data, image_key: list(image_urls), "geos": geos, "dates": dates}


def task_data(task: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the `data` of a task.

    Raises:
        InputError: it has none.
    """
    data = task.get("data")
    if not isinstance(data, Mapping):
        raise InputError(f"task {task.get('id')} has no data; GeoLabel's tasks carry data.geo")
    return data


def chip_of_task(task: Mapping[str, Any]) -> Chip:
    """Return the chip of a task (of its reference date).

    Raises:
        InputError: the task was not imported by GeoLabel, or its geo record is damaged.
    """
    geo = task_data(task).get("geo")
    if not isinstance(geo, Mapping):
        raise InputError(
            f"task {task.get('id')} has no data.geo and no place on the Earth; import it by `geolabel ingest`"
        )
    return Chip.from_geo(geo)


def chips_of_task(task: Mapping[str, Any]) -> tuple[Chip, ...]:
    """Return every chip of a task: one, or one a date."""
    geos = task_data(task).get("geos")
    if isinstance(geos, Sequence) and not isinstance(geos, str) and geos:
        return tuple(Chip.from_geo(geo) for geo in geos)
    return (chip_of_task(task),)
