"""A project's tasks as candidates: what each looks like, where it lies, what is predicted, and how unsure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely

from geolabel.core.scene import Chip
from geolabel.core.shapes import to_shapely
from geolabel.core.taxonomy import Taxonomy
from geolabel.errors import InputError
from geolabel.labelstudio.codec import decode_result
from geolabel.labelstudio.task import chip_of_task
from geolabel.pipeline.answers import read_all_records
from geolabel.pipeline.chip_looks import LENGTH, read_looks
from geolabel.pipeline.labelled_tables import chip_centre_m
from geolabel.sample.candidates import Candidates, standardised
from geolabel.sample.doubt import Seen, region_doubt, seam_doubt
from geolabel.services import Services


@dataclass(slots=True, kw_only=True)
class QueueTask:
    """One task as the queue sees it.

    Attributes:
        task: As Label Studio gives it.
        chip: Its chip; None for a task that is not ours.
        prediction: The prediction of the version that sorts the queue, or None.
        annotated: Somebody has finished it.
        skipped: Somebody has skipped it and nobody finished it.
        shapes: Predicted outlines, chip px, with class and score.
        doubt: 0 to 1; None without a prediction that says anything.
        seam: 0 to 1.
        labels: Classes that its annotation shows.
    """

    task: Mapping[str, Any]
    chip: Chip | None
    prediction: Mapping[str, Any] | None
    annotated: bool
    skipped: bool
    shapes: list[tuple[str, float, shapely.Geometry]] = field(default_factory=list)
    doubt: float | None = None
    seam: float = 0.0
    labels: frozenset[str] = frozenset()

    @property
    def id(self) -> int:
        """Of Label Studio."""
        return int(self.task["id"])

    @property
    def open(self) -> bool:
        """Whether Label Studio may still serve it.

        Its own flag lags behind when a project is deleted meanwhile (its signals are off then), so annotations count.
        """
        if self.annotated and int(self.task.get("overlap") or 1) <= 1:
            return False
        return not self.task.get("is_labeled")


def read_queue(
    services: Services, project_id: str, tasks: Sequence[Mapping[str, Any]], taxonomy: Taxonomy, version: str
) -> list[QueueTask]:
    """Return the tasks with their predictions of a version decoded and their doubts filled in."""
    records = {task_id: item for (_, task_id), item in read_all_records(services, project_id, version).items()}
    out = []
    for task in tasks:
        try:
            chip = chip_of_task(task)
        except InputError:
            chip = None
        annotations = [a for a in task.get("annotations") or [] if isinstance(a, Mapping)]
        annotated = any(not a.get("was_cancelled") for a in annotations)
        predictions = [p for p in task.get("predictions") or [] if isinstance(p, Mapping)]
        chosen = next((p for p in predictions if p.get("model_version") == version), None)
        item = QueueTask(
            task=task, chip=chip, prediction=chosen, annotated=annotated,
            skipped=bool(annotations) and not annotated, labels=_labels(annotations, taxonomy),
        )  # fmt: skip
        if chip is not None and chosen is not None:
            _fill(item, chosen, chip, taxonomy, records.get(str(item.id)))
        out.append(item)
    _fill_seams(out)
    return out


def _labels(annotations: Sequence[Mapping[str, Any]], taxonomy: Taxonomy) -> frozenset[str]:
    found = set()
    for annotation in annotations:
        for item in annotation.get("result") or []:
            value = item.get("value") if isinstance(item, Mapping) else None
            if isinstance(value, Mapping):
                for names in value.values():
                    if isinstance(names, list):
                        found |= {name for name in names if isinstance(name, str) and name in taxonomy}
    return frozenset(found)


def _fill(
    item: QueueTask, prediction: Mapping[str, Any], chip: Chip, taxonomy: Taxonomy, record: Mapping[str, Any] | None
) -> None:
    result = [dict(r) for r in prediction.get("result") or [] if isinstance(r, Mapping)]
    size = {"width_px": chip.georef.width, "height_px": chip.georef.height}
    for region in decode_result(result, **size, taxonomy=taxonomy).regions:
        if region.label in taxonomy:
            outline = shapely.make_valid(to_shapely(region.shape))
            item.shapes.append((region.label, 0.5 if region.score is None else region.score, outline))
    raw = (record or {}).get("score")
    if item.shapes or raw is not None:
        scores, areas = [s for _, s, _ in item.shapes], [g.area for _, _, g in item.shapes]
        item.doubt = region_doubt(scores, areas, None if raw is None else float(raw))


def _fill_seams(items: Sequence[QueueTask]) -> None:
    by_scene: dict[str, list[tuple[QueueTask, Seen]]] = {}
    for item in items:
        if item.chip is None or item.prediction is None:
            continue
        window, georef = item.chip.window, item.chip.georef
        fx, fy = window.width / georef.width, window.height / georef.height
        shapes: dict[str, list[shapely.Geometry]] = {}
        for label, _, outline in item.shapes:
            moved = shapely.transform(outline, lambda xy, w=window, x=fx, y=fy: xy * [x, y] + [w.col, w.row])
            shapes.setdefault(label, []).append(moved)
        box = (window.col, window.row, window.col + window.width, window.row + window.height)
        by_scene.setdefault(item.chip.scene_id, []).append((item, Seen(window=box, shapes=shapes)))
    for pairs in by_scene.values():
        for (item, _), doubt in zip(pairs, seam_doubt([seen for _, seen in pairs]), strict=True):
            item.seam = doubt


def candidates_of(
    services: Services, project_id: str, items: Sequence[QueueTask], taxonomy: Taxonomy
) -> tuple[Candidates, dict[str, str]]:
    """Return one row per item (all must have chips), and why some pictures could not be read, by chip id."""
    chips = {item.chip.id: item.chip for item in items if item.chip is not None}
    looks, failed = read_looks(services, project_id, chips)
    empty = np.full(LENGTH, np.nan, dtype=np.float32)
    table = np.stack([looks.get(item.chip.id, empty) if item.chip else empty for item in items])
    xy = np.array([chip_centre_m(item.chip) for item in items], dtype=np.float64)
    names = ("", *taxonomy.names())
    n, k = len(items), len(names)
    shares, presence = np.zeros((n, k)), np.zeros((n, k))
    shares[:, 0] = presence[:, 0] = 1.0
    counts = np.zeros(k)
    for row, item in enumerate(items):
        georef = item.chip.georef if item.chip else None
        area = float(georef.width * georef.height) if georef else 1.0
        for label, score, outline in item.shapes:
            at = names.index(label)
            shares[row, at] += min(outline.area / area, 1.0)
            presence[row, at] = max(presence[row, at], score)
        shares[row, 0] = max(0.0, 1.0 - shares[row, 1:].sum())
        shares[row] /= max(shares[row].sum(), 1e-9)
        for label in item.labels if item.annotated else ():
            counts[names.index(label)] += 1
        counts[0] += item.annotated
    doubt = np.array([0.5 if item.doubt is None else item.doubt for item in items])
    known = any(item.doubt is not None for item in items)
    kinds = ("margin", "entropy", "least_confidence")
    uncertainty = dict.fromkeys(kinds, doubt) | {"seam": np.array([item.seam for item in items])}
    closed = np.array([item.annotated or item.skipped or not item.open for item in items])
    made = Candidates(
        features=standardised(table), xy_m=xy, labelled=closed,
        spacing_m=_spacing(items), class_names=names, shares=shares if known else None,
        presence=presence if known else None, uncertainty=uncertainty if known else {}, label_counts=counts,
    )  # fmt: skip
    return made, failed


def _spacing(items: Sequence[QueueTask]) -> float:
    sizes = []
    for item in items[:200]:
        if item.chip is not None:
            gsd = item.chip.georef.gsd_m()
            sizes.append(max(gsd[0] * item.chip.georef.width, gsd[1] * item.chip.georef.height))
    return max(float(np.median(sizes)) if sizes else 1.0, 1e-3)
