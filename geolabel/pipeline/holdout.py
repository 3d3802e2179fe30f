"""Judging models: blocks of the map kept apart, and intersection over union per class and region on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely

from geolabel.core.ids import digest
from geolabel.core.taxonomy import Taxonomy
from geolabel.errors import GeoLabelError, ModelError, NotFoundError
from geolabel.pipeline.chip_inputs import read_chip_input
from geolabel.pipeline.labelled_tables import chip_centre_m
from geolabel.pipeline.labels import AnnotatedChip
from geolabel.pipeline.scenes import load_scene
from geolabel.predict.contract import PredictContext
from geolabel.predict.pixelhead import LabelledChip, PixelHead, label_images
from geolabel.predict.registry import make_predictor
from geolabel.services import Services

#: With fewer labelled chips all of them teach and none judges.
FEWEST = 10
MOST_JUDGED = 24
BLOCK_CHIPS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """How well a model does on the hold-out.

    Attributes:
        mean_iou: Over the classes that the truth or the model shows; None without any.
        classes: IoU by class name.
        regions: Mean IoU by region (the scene's region, else its name).
        chips: Chips judged.
        unreadable: Chips that could not be read.
    """

    mean_iou: float | None
    classes: dict[str, float] = field(default_factory=dict)
    regions: dict[str, float] = field(default_factory=dict)
    region_classes: dict[str, dict[str, float]] = field(default_factory=dict)
    chips: int = 0
    unreadable: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return JSON types, rounded."""
        return {name: _rounded(getattr(self, name)) for name in self.__slots__}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return round(value, 5) if isinstance(value, float) else value


def split_holdout(
    services: Services, items: Sequence[AnnotatedChip], *, share: float, block_m: float = 0.0
) -> tuple[list[AnnotatedChip], list[AnnotatedChip]]:
    """Return chips that teach and chips that judge: whole blocks of the map, the same blocks at every training.

    Whether a block judges follows from its place alone, so no model has ever seen one that judges. Chips that overlap
    a judging chip teach nothing. With fewer than 10 labelled chips all teach.
    """
    del services
    if len(items) < FEWEST or share <= 0:
        return list(items), []
    width = block_m or BLOCK_CHIPS * float(np.median([_edge_m(item) for item in items]))
    judging = [item for item in items if _judges(item, width, share)]
    if not judging or len(judging) == len(items):
        return list(items), []
    tree = shapely.STRtree([_box(item) for item in judging])
    scenes = [item.scene_id for item in judging]
    chosen = {item.task_id for item in judging}
    teaching = []
    for item in items:
        if item.task_id in chosen:
            continue
        near = tree.query(_box(item), predicate="intersects").tolist()
        if not any(scenes[i] == item.scene_id and _box(judging[i]).intersection(_box(item)).area > 0 for i in near):
            teaching.append(item)
    if len(teaching) < len(items) / 3:
        return list(items), []
    return teaching, judging


def _edge_m(item: AnnotatedChip) -> float:
    georef = item.chip.georef
    return max(georef.gsd_m()[0] * georef.width, georef.gsd_m()[1] * georef.height)


def _judges(item: AnnotatedChip, width_m: float, share: float) -> bool:
    x, y = chip_centre_m(item.chip)
    drawn = int(digest("holdout", int(x // width_m), int(y // width_m))[:8], 16) / 0xFFFFFFFF
    return drawn < share


def _box(item: AnnotatedChip) -> shapely.Polygon:
    window = item.chip.window
    return shapely.box(window.col, window.row, window.col + window.width, window.row + window.height)


def judge(
    services: Services,
    project_id: str,
    taxonomy: Taxonomy,
    heads: Mapping[str, PixelHead],
    items: Sequence[AnnotatedChip],
) -> dict[str, Judged]:
    """Return how well several heads do on the same chips, by name.

    Raises:
        ModelError: none of the chips can be read.
    """
    from geolabel.pipeline.models import PREDICTOR

    names = ("", *taxonomy.names())
    predictor = make_predictor(PREDICTOR)
    predictor.load("cpu")
    counts: dict[str, dict[str, Any]] = {name: {} for name in heads}
    chosen = sorted(items, key=lambda item: digest("judge", item.chip.id))[:MOST_JUDGED]
    unreadable = 0
    for item in chosen:
        try:
            chip = read_chip_input(services, item.chip, item.task_id)
        except GeoLabelError:
            unreadable += 1
            continue
        truth = label_images(LabelledChip(chip=chip, regions=item.regions), names)[1][chip.valid]
        region = _region(services, item)
        for name, head in heads.items():
            context = PredictContext(project_id=project_id, taxonomy=taxonomy, heads={PREDICTOR: head})
            answer = predictor.predict([chip], context)[0]
            if answer.error:
                raise ModelError(f"the model {name} failed on the hold-out: {answer.error}")
            said = label_images(LabelledChip(chip=chip, regions=answer.regions), names)[1][chip.valid]
            table = counts[name].setdefault(region, np.zeros((len(names), len(names)), dtype=np.int64))
            table += np.bincount(truth * len(names) + said, minlength=len(names) ** 2).reshape(table.shape)
    if unreadable == len(chosen):
        raise ModelError(f"none of {unreadable} chips of the hold-out can be read; are the scenes still there?")
    return {name: _judged(by_region, names, len(chosen) - unreadable, unreadable) for name, by_region in counts.items()}


def _region(services: Services, item: AnnotatedChip) -> str:
    try:
        scene = load_scene(services, item.scene_id)
    except NotFoundError:
        return item.scene_id
    return scene.region or scene.name


def _judged(by_region: Mapping[str, Any], names: Sequence[str], chips: int, unreadable: int) -> Judged:
    regions = {region: _ious(table, names) for region, table in sorted(by_region.items())}
    total = _ious(sum(by_region.values()), names)
    return Judged(
        mean_iou=float(np.mean(list(total.values()))) if total else None,
        classes=total,
        regions={region: float(np.mean(list(found.values()))) for region, found in regions.items() if found},
        region_classes=regions,
        chips=chips,
        unreadable=unreadable,
    )


def _ious(table: Any, names: Sequence[str]) -> dict[str, float]:
    out = {}
    for index, name in enumerate(names):
        either = int(table[index].sum() + table[:, index].sum() - table[index, index])
        if name and either:
            out[name] = float(table[index, index]) / either
    return out
