"""Parts of one scene → objects: what chip borders cut is put together, what two chips saw is kept once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from geolabel.assemble.matching import Bools, Layout, matching_pairs
from geolabel.assemble.rules import read_rules
from geolabel.assemble.union import put_together
from geolabel.core.dataset import KIND_INDEX, Batch, ImageRef, Ints, drawn_kind
from geolabel.errors import InputError

_AREAL = ("box", "rotated_box", "ellipse", "polygon", "multipolygon", "mask")


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinRules:
    """How parts become objects.

    Attributes:
        join: False takes every part as an object.
        agreement: Share of the smaller part, within the zone that two overlapping chips both show, that two parts must
            have in common to be one thing.
        seam_agreement: The same for chips that only touch: common over joint length of the stretches along the seam.
        cover: A part that no border cuts stands for the whole object when it covers this share of each other part.
        edge_px: How far from the border a cut object may end, px of the scene.
        predictions_under: A predicted object is dropped when an annotated one of the same class covers this share.
    """

    join: bool = True
    agreement: float = 0.5
    seam_agreement: float = 0.5
    cover: float = 0.8
    edge_px: float = 2.0
    predictions_under: float = 0.5

    def __post_init__(self) -> None:
        for name in ("agreement", "seam_agreement", "cover", "predictions_under"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise InputError(f"assemble.{name} is {getattr(self, name)}; it must lie above 0 and at most at 1")
        if self.edge_px < 0:
            raise InputError(f"assemble.edge_px is {self.edge_px}; it must be 0 or more")


def assemble_scene(
    batch: Batch, image: Ints, images: Sequence[ImageRef], rules: Mapping[str, Any]
) -> tuple[Batch, dict[str, int]]:
    """Join the parts of one scene.

    Args:
        batch: All parts of the scene, geometry in px of the scene, frame the scene's index.
        image: (n,) int64, index into `images` of each part.
        images: Images; those of parts have windows.
        rules: JSON of `JoinRules`.

    Returns:
        Objects in the order of their first part, and counts: parts, objects, joined (objects of several parts),
        joined_parts, duplicates_removed, predictions_covered, attribute_conflicts.

    Raises:
        InputError: a rule is unknown or wrong.
    """
    wanted = read_rules(JoinRules, rules, "assemble")
    names = _source_names(batch)
    counts = dict.fromkeys(
        ("parts", "objects", "joined", "joined_parts", "duplicates_removed", "predictions_covered",
         "attribute_conflicts"), 0,
    )  # fmt: skip
    counts["parts"] = counts["objects"] = len(batch)
    if not len(batch):
        return batch, counts
    plain = batch.with_columns(id=names, sources=names)
    if not wanted.join:
        return plain, counts
    layout = _layout(plain, image, images, wanted.edge_px)
    pairs = matching_pairs(layout, agreement=wanted.agreement, seam_agreement=wanted.seam_agreement)
    objects = _merge(layout, _clusters(pairs, len(batch)), wanted, counts)
    objects = _drop_covered(objects, wanted, counts)
    counts["objects"] = len(objects)
    return objects, counts


def _source_names(batch: Batch) -> npt.NDArray[np.object_]:
    names = np.empty(len(batch), dtype=object)
    rows = zip(batch.task_id.tolist(), batch.annotation_id.tolist(), batch.id.tolist(), strict=True)
    names[:] = [f"{task}:{annotation}:{region}" for task, annotation, region in rows]
    return names


def _layout(batch: Batch, image: Ints, images: Sequence[ImageRef], edge_px: float) -> Layout:
    used, place = np.unique(image, return_inverse=True)
    windows = np.full((len(used), 4), np.nan)
    for row, number in enumerate(used.tolist()):
        w = images[number].window
        if w is not None:
            windows[row] = (w.col, w.row, w.col + w.width, w.row + w.height)
    return Layout(
        batch=batch,
        image=image,
        window=windows[place],
        bounds=shapely.bounds(batch.geometry),
        dimension=np.maximum(shapely.get_dimensions(batch.geometry), 0).astype(np.int64),
        edge_px=edge_px,
    )


def _clusters(pairs: Ints, n: int) -> list[list[int]]:
    """Return the connected groups of more than one row, rows ascending."""
    root = list(range(n))

    def find(i: int) -> int:
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    for i, j in pairs.tolist():
        a, b = find(i), find(j)
        root[max(a, b)] = min(a, b)
    groups: dict[int, list[int]] = {}
    for i in np.unique(pairs).tolist():
        groups.setdefault(find(i), []).append(i)
    return [groups[key] for key in sorted(groups)]


def _merge(layout: Layout, clusters: list[list[int]], rules: JoinRules, counts: dict[str, int]) -> Batch:
    batch = layout.batch
    if not clusters:
        return batch
    keep = np.ones(len(batch), dtype=bool)
    columns = {
        name: getattr(batch, name).copy()
        for name in ("geometry", "kind", "sources", "score", "created", "updated", "task_id", "annotation_id",
                     "annotator", "origin")
    }  # fmt: skip
    attributes = None if batch.attributes is None else list(batch.attributes)
    size = np.where(layout.dimension == 2, shapely.area(batch.geometry), shapely.length(batch.geometry))
    cut: Bools = np.asarray(layout.cut_sides().any(axis=1))
    for rows in clusters:
        first = rows[0]
        geometry, whole = put_together(layout, rows, cut, cover=rules.cover)
        main = whole if whole is not None else rows[int(np.argmax(size[rows]))]
        if whole is None:
            counts["joined"] += 1
            counts["joined_parts"] += len(rows)
        else:
            counts["duplicates_removed"] += len(rows) - 1
        keep[rows[1:]] = False
        columns["geometry"][first] = geometry
        columns["kind"][first] = _kind(batch, rows, main, geometry, joined=whole is None)
        columns["sources"][first] = ",".join(sorted(batch.id[rows].tolist()))
        scores = batch.score[rows]
        columns["score"][first] = np.nan if np.isnan(scores).all() else np.nanmax(scores)
        columns["created"][first] = min((t for t in batch.created[rows].tolist() if t), default="")
        columns["updated"][first] = max(batch.updated[rows].tolist())
        for name in ("task_id", "annotation_id", "annotator", "origin"):
            columns[name][first] = getattr(batch, name)[main]
        if attributes is not None:
            attributes[first], conflicts = _attributes(batch, rows, main)
            counts["attribute_conflicts"] += conflicts
    merged = batch.with_columns(**columns, attributes=None if attributes is None else tuple(attributes))
    return merged.take(keep)


def _kind(batch: Batch, rows: list[int], main: int, geometry: shapely.Geometry, *, joined: bool) -> int:
    if not joined:
        return int(batch.kind[main])
    kinds = set(batch.kind[rows].tolist())
    if kinds == {KIND_INDEX["mask"]}:
        return KIND_INDEX["mask"]
    if kinds == {KIND_INDEX["box"]} and geometry.equals(shapely.envelope(geometry)):
        return KIND_INDEX["box"]
    return KIND_INDEX[drawn_kind(geometry)]


def _attributes(batch: Batch, rows: list[int], main: int) -> tuple[dict[str, Any], int]:
    """Return the attributes of the main part, with what only others have; and how many values contradict."""
    own = dict(batch.attribute(main))
    conflicts = 0
    for row in rows:
        for name, value in batch.attribute(row).items():
            conflicts += name in own and own[name] != value
            own.setdefault(name, value)
    return own, conflicts


def _drop_covered(objects: Batch, rules: JoinRules, counts: dict[str, int]) -> Batch:
    """Leave out predicted objects that annotated ones of the same class cover."""
    predicted = np.flatnonzero(objects.predicted)
    people = np.flatnonzero(~objects.predicted)
    if not len(predicted) or not len(people):
        return objects
    tree = shapely.STRtree(objects.geometry[people])
    i, j = tree.query(objects.geometry[predicted], predicate="intersects")
    one, other = predicted[i], people[j]
    same = objects.class_id[one] == objects.class_id[other]
    one, other = one[same], other[same]
    common = shapely.intersection(objects.geometry[one], objects.geometry[other])
    measure = np.where(shapely.get_dimensions(objects.geometry[one]) == 2, shapely.area(common), shapely.length(common))
    covered = np.zeros(len(objects))
    np.add.at(covered, one, measure)
    size = np.where(
        shapely.get_dimensions(objects.geometry) == 2, shapely.area(objects.geometry), shapely.length(objects.geometry)
    )
    drop = objects.predicted & (covered > 0) & (covered >= rules.predictions_under * size)
    counts["predictions_covered"] = int(drop.sum())
    return objects.take(~drop)
