"""What the records of a dataset have, counted once, and what a format loses of it, known before writing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely

from geolabel.core.dataset import KIND_INDEX, Batch, Dataset
from geolabel.formats.contract import FormatSpec, Loss

MESSAGES: Mapping[str, str] = {
    "outline": "outlines become upright boxes",
    "subpixel": "outlines follow whole pixels",
    "holes": "holes are filled",
    "multipart": "parts of one object become records of their own",
    "lines": "lines are left out",
    "points": "points are left out",
    "rotation": "rotated boxes become upright boxes",
    "drawn": "what was drawn (box, ellipse, mask) is not kept, only its outline",
    "instances": "records of a class that touch become one area",
    "overlaps": "where objects overlap only the last one is kept",
    "score": "scores are not kept",
    "predicted": "that these are predictions is not kept",
    "attributes": "attributes are not kept",
    "annotator": "who drew them is not kept",
    "times": "times are not kept",
    "sources": "which parts an object was joined from is not kept",
    "ids": "region and task ids are not kept",
    "unplaced": "records of images without a place on the Earth are left out",
    "empty_images": "images without records are not mentioned",
}
#: Record traits that make a record vanish from a format that does not keep them.
DROPPING = frozenset({"lines", "points", "unplaced"})


@dataclass(slots=True)
class Traits:
    """Counts of one stream.

    Attributes:
        records: All records.
        by_class: Records by class id.
        has: Records that have a trait, by name of `KEEPABLE`.
        area_px: Sum of areas by class id, px².
    """

    records: int = 0
    by_class: dict[int, int] = field(default_factory=dict)
    has: Counter[str] = field(default_factory=Counter)
    area_px: dict[int, float] = field(default_factory=dict)

    def add(self, batch: Batch) -> None:
        """Count one batch."""
        self.records += len(batch)
        types = shapely.get_type_id(batch.geometry)
        polygonal = np.isin(types, (3, 6))
        areas = shapely.area(batch.geometry)
        for class_id in np.unique(batch.class_id).tolist():
            of_class = batch.class_id == class_id
            self.by_class[class_id] = self.by_class.get(class_id, 0) + int(of_class.sum())
            self.area_px[class_id] = self.area_px.get(class_id, 0.0) + float(areas[of_class].sum())
        self.has.update({name: int(count) for name, count in _traits(batch, types, polygonal).items() if count})

    def to_json(self) -> dict[str, Any]:
        """Return JSON types."""
        return {
            "records": self.records,
            "by_class": {str(k): v for k, v in sorted(self.by_class.items())},
            "area_px": {str(k): round(v, 3) for k, v in sorted(self.area_px.items())},
            "has": dict(sorted(self.has.items())),
        }


def _traits(batch: Batch, types: Any, polygonal: Any) -> dict[str, int]:
    kind = batch.kind
    box, rotated = kind == KIND_INDEX["box"], kind == KIND_INDEX["rotated_box"]
    whole_pixels = (kind == KIND_INDEX["mask"]) & polygonal
    holes = shapely.get_num_interior_rings(batch.geometry) > 0
    multi = np.flatnonzero(types == 6)
    if len(multi):
        parts, owner = shapely.get_parts(batch.geometry[multi], return_index=True)
        inner = shapely.get_num_interior_rings(parts) > 0
        holes[multi] = np.bincount(owner, weights=inner, minlength=len(multi)) > 0
    timed = np.fromiter((bool(a or b) for a, b in zip(batch.created, batch.updated, strict=True)), bool, len(batch))
    return {
        "outline": int((polygonal & ~box & ~rotated).sum()),
        "subpixel": int((polygonal & ~whole_pixels).sum()),
        "holes": int(holes.sum()),
        "multipart": int((shapely.get_num_geometries(batch.geometry) > 1).sum()),
        "lines": int(np.isin(types, (1, 2, 5)).sum()),
        "points": int(np.isin(types, (0, 4)).sum()),
        "rotation": int(rotated.sum()),
        "drawn": int(np.isin(kind, [KIND_INDEX[k] for k in ("box", "rotated_box", "ellipse", "mask")]).sum()),
        "score": int(np.isfinite(batch.score).sum()),
        "predicted": int(batch.predicted.sum()),
        "attributes": 0 if batch.attributes is None else sum(1 for a in batch.attributes if a),
        "annotator": int((batch.annotator != "").sum()),
        "times": int(timed.sum()),
        "sources": sum(1 for s in batch.sources.tolist() if "," in s),
        "ids": len(batch),
        "instances": int(polygonal.sum()),
    }


def measure(dataset: Dataset) -> tuple[Traits, Traits]:
    """Count parts and objects of a dataset in one pass each; unplaced parts are counted among the objects' losses."""
    parts, objects = Traits(), Traits()
    used = np.zeros(len(dataset.images), dtype=bool)
    nowhere = np.array([image.georef is None or image.scene < 0 for image in dataset.images], dtype=bool)
    for batch in dataset.parts():
        parts.add(batch)
        used[batch.frame] = True
        objects.has["unplaced"] += int(nowhere[batch.frame].sum())
    for batch in dataset.objects():
        objects.add(batch)
    parts.has["empty_images"] = objects.has["empty_images"] = int((~used).sum())
    return parts, objects


def losses(spec: FormatSpec, parts: Traits, objects: Traits) -> tuple[Loss, ...]:
    """Return what a format loses of a dataset with these traits."""
    traits = parts if spec.stream == "parts" else objects
    found = [
        Loss(what=what, count=traits.has[what], message=f"{traits.has[what]} × {message}")
        for what, message in MESSAGES.items()
        if what not in spec.keeps and traits.has[what] > 0
    ]
    found += [
        Loss(
            what=f"subpixel:{what}",
            count=traits.has[what],
            message=f"{traits.has[what]} × {what}: masks of whole pixels",
        )
        for what in sorted(spec.whole_pixels_for)
        if traits.has[what] > 0
    ]
    return tuple(found)
