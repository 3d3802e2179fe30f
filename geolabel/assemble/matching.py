"""Which parts of different images are one thing: pairs that agree where both images look, or go on across a seam."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely

from geolabel.core.dataset import Batch, Geometries, Ints

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
#: Lines and points of two annotators that lie this many times `edge_px` apart are still the same.
_NEAR = 1.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layout:
    """Parts of one scene with the windows they were drawn in; all px of the scene.

    Attributes:
        batch: n parts.
        image: (n,) int64, image of each part.
        window: (n, 4) xmin, ymin, xmax, ymax of that image.
        bounds: (n, 4) of the geometry.
        dimension: (n,) 0 points, 1 lines, 2 areas.
        edge_px: How far from its window's border a cut object may end.
    """

    batch: Batch
    image: Ints
    window: Floats
    bounds: Floats
    dimension: Ints
    edge_px: float

    @property
    def geometry(self) -> Geometries:
        """Geometries of the parts."""
        return self.batch.geometry

    def cut_sides(self) -> Bools:
        """Tell (n, 4) whether a part reaches its window's left, top, right, bottom border."""
        edge = self.edge_px
        low = self.bounds[:, :2] <= self.window[:, :2] + edge
        high = self.bounds[:, 2:] >= self.window[:, 2:] - edge
        return np.concatenate([low, high], axis=1)


def matching_pairs(layout: Layout, *, agreement: float, seam_agreement: float) -> Ints:
    """Return (k, 2) rows of parts that are one thing, each pair once, lower row first, sorted."""
    pairs = _candidates(layout)
    if not len(pairs):
        return pairs
    a, b = layout.window[pairs[:, 0]], layout.window[pairs[:, 1]]
    zone = np.concatenate([np.maximum(a[:, :2], b[:, :2]), np.minimum(a[:, 2:], b[:, 2:])], axis=1)
    size = zone[:, 2:] - zone[:, :2]
    edge = layout.edge_px
    both_look = (size > 2 * edge).all(axis=1)
    beside = ~both_look & (size >= -edge).all(axis=1) & (size > 2 * edge).any(axis=1)
    dimension = layout.dimension[pairs[:, 0]]
    same = np.zeros(len(pairs), dtype=bool)
    for rows, test in (
        (both_look & (dimension == 2), _areas_agree),
        (both_look & (dimension == 1), _lines_agree),
    ):
        if rows.any():
            same[rows] = test(layout, pairs[rows], zone[rows], agreement)
    rows = (both_look | beside) & (dimension == 0)
    if rows.any():
        same[rows] = _points_agree(layout, pairs[rows])
    rows = beside & (dimension > 0)
    if rows.any():
        same[rows] = _continue_across(layout, pairs[rows], zone[rows], seam_agreement)
    out: Ints = pairs[same]
    return out


def _candidates(layout: Layout) -> Ints:
    # Only parts that lie near a window not their own can have a counterpart; the tree answers with both at once.
    reach = layout.edge_px * 2 * _NEAR
    grown = shapely.box(
        layout.bounds[:, 0] - reach,
        layout.bounds[:, 1] - reach,
        layout.bounds[:, 2] + reach,
        layout.bounds[:, 3] + reach,
    )
    found = shapely.STRtree(layout.geometry).query(grown).T
    batch = layout.batch
    i, j = found[:, 0], found[:, 1]
    keep = (
        (i < j)
        & (layout.image[i] != layout.image[j])
        & (batch.class_id[i] == batch.class_id[j])
        & (batch.predicted[i] == batch.predicted[j])
        & (layout.dimension[i] == layout.dimension[j])
    )
    out = found[keep].astype(np.int64)
    ordered: Ints = out[np.lexsort((out[:, 1], out[:, 0]))]
    return ordered


def _reaches(layout: Layout, one: Ints, other: Ints) -> Bools:
    """Tell whether `other` is cut on every side on which `one` runs out of its window.

    A thing that goes on beyond what an image shows must end at that image's border there; if it ends before, it is
    another thing.
    """
    window, edge = layout.window[other], layout.edge_px
    beyond = np.concatenate(
        [
            layout.bounds[one][:, :2] < window[:, :2] - 2 * edge,
            layout.bounds[one][:, 2:] > window[:, 2:] + 2 * edge,
        ],
        axis=1,
    )
    return np.asarray((~beyond | layout.cut_sides()[other]).all(axis=1))


def _fit_borders(layout: Layout, pairs: Ints) -> Bools:
    return _reaches(layout, pairs[:, 0], pairs[:, 1]) & _reaches(layout, pairs[:, 1], pairs[:, 0])


def _areas_agree(layout: Layout, pairs: Ints, zone: Floats, agreement: float) -> Bools:
    fits = _fit_borders(layout, pairs)
    out = np.zeros(len(pairs), dtype=bool)
    rows = np.flatnonzero(fits)
    if len(rows):
        a, b = layout.geometry[pairs[rows, 0]], layout.geometry[pairs[rows, 1]]
        box = shapely.box(*zone[rows].T)
        seen = np.minimum(shapely.area(shapely.intersection(a, box)), shapely.area(shapely.intersection(b, box)))
        common = shapely.area(shapely.intersection(a, b))
        out[rows] = (seen > 0) & (common >= agreement * seen)
    return out


def _lines_agree(layout: Layout, pairs: Ints, zone: Floats, agreement: float) -> Bools:
    a, b = layout.geometry[pairs[:, 0]], layout.geometry[pairs[:, 1]]
    box = shapely.box(*zone.T)
    near = layout.edge_px * _NEAR
    in_a, in_b = shapely.intersection(a, box), shapely.intersection(b, box)
    seen_a, seen_b = shapely.length(in_a), shapely.length(in_b)
    common_a = shapely.length(shapely.intersection(in_a, shapely.buffer(b, near)))
    common_b = shapely.length(shapely.intersection(in_b, shapely.buffer(a, near)))
    out: Bools = (
        (np.minimum(seen_a, seen_b) > 0)
        & (np.maximum(common_a / np.maximum(seen_a, 1e-9), common_b / np.maximum(seen_b, 1e-9)) >= agreement)
        & (np.minimum(common_a, common_b) >= np.minimum(np.minimum(seen_a, seen_b) * agreement, 2 * near))
    )
    return out


def _points_agree(layout: Layout, pairs: Ints) -> Bools:
    a, b = layout.geometry[pairs[:, 0]], layout.geometry[pairs[:, 1]]
    out: Bools = shapely.distance(a, b) <= layout.edge_px * _NEAR
    return out


def _continue_across(layout: Layout, pairs: Ints, zone: Floats, agreement: float) -> Bools:
    """Compare, along a seam where two windows end, the stretches that each part covers of it.

    Stretches must agree one to one (length in common over length together): a thing that goes on has the same width on
    both sides; two neighbours that touch the seam side by side share only a little of it.
    """
    edge = layout.edge_px
    upright = (zone[:, 2] - zone[:, 0]) <= 2 * edge
    at = np.where(upright, zone[:, 0] + zone[:, 2], zone[:, 1] + zone[:, 3]) / 2
    out = np.zeros(len(pairs), dtype=bool)
    stretches = [_stretches(layout, pairs[:, side], upright, at) for side in (0, 1)]
    for row in np.flatnonzero(_fit_borders(layout, pairs)).tolist():
        out[row] = any(_common(s, t, edge) >= agreement for s in stretches[0][row] for t in stretches[1][row])
    return out


def _stretches(layout: Layout, rows: Ints, upright: Bools, at: Floats) -> dict[int, list[tuple[float, float]]]:
    edge = layout.edge_px
    middle = np.where(upright, layout.window[rows][:, [0, 2]].mean(axis=1), layout.window[rows][:, [1, 3]].mean(axis=1))
    # The strip reaches from the seam into the part's own window, over what overlaps and the tolerance.
    inward = np.where(middle < at, -1.0, 1.0) * 2 * edge
    low, high = np.minimum(at + inward, at - inward / 2), np.maximum(at + inward, at - inward / 2)
    far = 1e9
    strip = shapely.box(
        np.where(upright, low, -far),
        np.where(upright, -far, low),
        np.where(upright, high, far),
        np.where(upright, far, high),
    )
    pieces, owner = shapely.get_parts(shapely.intersection(layout.geometry[rows], strip), return_index=True)
    bounds = shapely.bounds(pieces)
    found: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for number, box in zip(owner.tolist(), bounds.tolist(), strict=True):
        found[number].append((box[1], box[3]) if upright[number] else (box[0], box[2]))
    return found


def _common(one: tuple[float, float], other: tuple[float, float], edge: float) -> float:
    # Lines have stretches without width: grown by the tolerance they can be compared as areas are.
    thin = max(one[1] - one[0], other[1] - other[0]) < 2 * edge
    grow = edge if thin else 0.0
    low, high = max(one[0], other[0]) - grow, min(one[1], other[1]) + grow
    together = max(one[1], other[1]) - min(one[0], other[0]) + 2 * grow
    return max(0.0, high - low) / together if together > 0 else 0.0
