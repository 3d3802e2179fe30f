"""Dates of one place as one task: aligned chips of several scenes, for change detection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geolabel.core.ids import digest
from geolabel.errors import InputError
from geolabel.labelstudio.task import build_stack_task
from geolabel.pipeline.chip_index import chip_of_row, read_rows
from geolabel.pipeline.chip_urls import UrlSigner
from geolabel.services import Services

if TYPE_CHECKING:
    from geolabel.pipeline.ingest import Prepared


def stack_tasks(services: Services, project_id: int, prepared: list[Prepared]) -> list[dict[str, Any]]:
    """Return one task per window that every date has, images in order of date.

    The scenes lie on one grid (the first's), so equal windows are equal ground. The task's chip_id is computed from the
    chips of all dates.

    Raises:
        InputError: there are fewer than two dates, or no window that all of them have.
    """
    if len(prepared) < 2:
        raise InputError(f"a stack needs scenes of at least two dates; got {len(prepared)}")
    ordered = sorted(prepared, key=lambda p: p.scene.acquired or p.scene.name)
    signer = UrlSigner(services.settings)
    by_window: dict[tuple[int, ...], list[dict[str, Any]]] = {}
    for item in ordered:
        for row in read_rows(services, item.scene.id, item.plan.id):
            if row["state"] == "planned":
                key = (row["col"], row["row"], row["width"], row["height"])
                by_window.setdefault(key, []).append(row)
    dates = short_dates(ordered)
    tasks = []
    for rows in by_window.values():
        if len(rows) != len(ordered):
            continue
        chips = [chip_of_row(row, item.scene, item.render) for row, item in zip(rows, ordered, strict=True)]
        scenes = [item.scene for item in ordered]
        urls = [signer.chip(chip, scene) for chip, scene in zip(chips, scenes, strict=True)]
        data = build_stack_task(chips, scenes, urls, image_key=_list_key(services, project_id))
        data["dates"] = dates
        data["chip_id"] = digest("stack", *[chip.id for chip in chips])
        tasks.append({"data": data})
    if not tasks:
        raise InputError("no window has data on every date; loosen the thresholds or leave out a date")
    dropped = len(by_window) - len(tasks)
    if dropped:
        prepared[0].report.skipped["without data on every date"] = dropped
    return tasks


def short_dates(ordered: list[Prepared]) -> list[str]:
    """Return a short text for each date: the day of acquisition, else what sets the scene's name apart."""
    if all(item.scene.acquired for item in ordered):
        return [str(item.scene.acquired)[:10] for item in ordered]
    names = [item.scene.name for item in ordered]
    start = 0
    while start < min(map(len, names)) and len({name[start] for name in names}) == 1:
        start += 1
    while start > 0 and names[0][start - 1].isalnum():
        start -= 1  # a word that is common only in part stays whole
    return [name[start:] or name for name in names]


def _list_key(services: Services, project_id: int) -> str:
    """Return the key that the project's label config reads its list of images from."""
    import re

    config = str(services.labelstudio.project(project_id).get("label_config") or "")
    found = re.search(r"<Image\b[^>]*\bvalueList=[\"']\$([A-Za-z_]\w*)", config)
    if found is None:
        raise InputError(
            f"project {project_id} shows one image a task; a stack needs a label config whose Image has valueList, "
            "such as ls_configs/change-detection"
        )
    return found.group(1)
