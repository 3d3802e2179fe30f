"""How predictions fared with the people who finished their tasks: kept, edited, rejected, missed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import shapely

from geolabel.core.labels import Region
from geolabel.core.shapes import to_shapely
from geolabel.core.taxonomy import Taxonomy
from geolabel.labelstudio.codec import decode_result
from geolabel.pipeline.labels import annotated_chip

#: Overlap from which a region counts as taken over as it was, and as the same object after an edit.
KEPT_IOU = 0.95
EDITED_IOU = 0.3
KINDS = ("kept", "edited", "rejected", "missed")


@dataclass(slots=True, kw_only=True)
class Agreement:
    """Counts per class, over tasks that had a prediction when they were finished."""

    tasks: int = 0
    without_prediction: int = 0
    classes: dict[str, dict[str, int]] = field(default_factory=dict)

    def add(self, label: str, kind: str) -> None:
        """Count one region."""
        self.classes.setdefault(label, dict.fromkeys(KINDS, 0))[kind] += 1

    def to_json(self) -> dict[str, Any]:
        """Return JSON types."""
        total = {kind: sum(row[kind] for row in self.classes.values()) for kind in KINDS}
        return {
            "tasks": self.tasks,
            "without_prediction": self.without_prediction,
            "classes": dict(sorted(self.classes.items())),
            "total": total,
        }


def agreement_of(tasks: Iterable[Mapping[str, Any]], taxonomy: Taxonomy) -> Agreement:
    """Compare every finished task with the prediction that its annotation came from, else the newest before it."""
    found = Agreement()
    for task in tasks:
        annotated = annotated_chip(task, taxonomy)
        if annotated is None:
            continue
        prediction = _prediction(task)
        if prediction is None:
            found.without_prediction += 1
            continue
        found.tasks += 1
        georef = annotated.chip.georef
        result = [dict(item) for item in prediction.get("result") or [] if isinstance(item, Mapping)]
        decoded = decode_result(result, width_px=georef.width, height_px=georef.height, taxonomy=taxonomy)
        said = [region for region in decoded.regions if region.label in taxonomy]
        for label, kind in compare(said, annotated.regions):
            found.add(label, kind)
    return found


def _prediction(task: Mapping[str, Any]) -> Mapping[str, Any] | None:
    annotations = [a for a in task.get("annotations") or [] if isinstance(a, Mapping) and not a.get("was_cancelled")]
    predictions = [p for p in task.get("predictions") or [] if isinstance(p, Mapping) and p.get("result")]
    parents = {a.get("parent_prediction") for a in annotations}
    parent = next((p for p in predictions if p.get("id") in parents), None)
    if parent is not None or not annotations:
        return parent
    finished = max(str(a.get("created_at") or "") for a in annotations)
    before = [p for p in predictions if str(p.get("created_at") or "") <= finished]
    return max(before, key=lambda p: str(p.get("created_at") or ""), default=None)


def compare(said: Sequence[Region], drawn: Sequence[Region]) -> list[tuple[str, str]]:
    """Return (class, kind) of every predicted and every missed region; each drawn one answers one predicted one."""
    ours = [shapely.make_valid(to_shapely(region.shape)) for region in said]
    theirs = [shapely.make_valid(to_shapely(region.shape)) for region in drawn]
    pairs = []
    if theirs:
        left, right = shapely.STRtree(theirs).query(ours, predicate="intersects")
        for i, j in zip(left.tolist(), right.tolist(), strict=True):
            union = ours[i].union(theirs[j]).area
            iou = ours[i].intersection(theirs[j]).area / union if union > 0 else float(ours[i].equals(theirs[j]))
            pairs.append((iou, i, j))
    used: set[int] = set()
    kinds: dict[int, str] = {}
    for iou, i, j in sorted(pairs, reverse=True):
        if i in kinds or j in used or iou < EDITED_IOU:
            continue
        used.add(j)
        same_class = said[i].label == drawn[j].label
        kinds[i] = "kept" if iou >= KEPT_IOU and same_class else "edited"
    out = [(region.label, kinds.get(i, "rejected")) for i, region in enumerate(said)]
    return out + [(region.label, "missed") for j, region in enumerate(drawn) if j not in used]
