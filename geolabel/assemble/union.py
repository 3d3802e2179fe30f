"""One geometry of several parts of a thing."""

from __future__ import annotations

import numpy as np
import shapely

from geolabel.assemble.matching import Bools, Layout
from geolabel.core.dataset import Geometries


def put_together(layout: Layout, rows: list[int], cut: Bools, *, cover: float) -> tuple[shapely.Geometry, int | None]:
    """Return the geometry of a cluster, and the row that stands for all of it, or None when parts were joined.

    Args:
        layout: All parts.
        rows: Parts of the cluster.
        cut: (n,) whether a border cuts a part.
        cover: Share of every other part that a part without cut must cover to stand for all.
    """
    shapes = layout.geometry[rows]
    dimension = int(layout.dimension[rows[0]])
    if dimension == 0:
        newest = max(rows, key=lambda r: (layout.batch.updated[r], -r))
        return layout.geometry[newest], newest
    if dimension == 1:
        return _lines(layout, rows, cut)
    valid = np.where(shapely.is_valid(shapes), shapes, shapely.make_valid(shapes))
    whole = _stands_for_all(layout, rows, cut, valid, cover)
    if whole is not None:
        return layout.geometry[whole], whole
    joined = areas_only(shapely.union_all(valid))
    if joined.geom_type == "MultiPolygon":
        joined = _bridge(layout, rows, joined)
    return _without_seam_vertices(joined), None


def areas_only(geometry: shapely.Geometry) -> shapely.Geometry:
    """Return the polygons of a geometry, lines and points left out."""
    if geometry.geom_type in ("Polygon", "MultiPolygon"):
        return geometry
    parts = shapely.get_parts(shapely.get_parts(geometry))
    return shapely.union_all(parts[shapely.get_dimensions(parts) == 2])


def _stands_for_all(layout: Layout, rows: list[int], cut: Bools, valid: Geometries, cover: float) -> int | None:
    candidates = [i for i, row in enumerate(rows) if not cut[row]]
    # A newer drawing wins; among equals the earlier row, so that the answer does not depend on chance.
    for i in sorted(candidates, key=lambda i: (layout.batch.updated[rows[i]], -rows[i]), reverse=True):
        common = shapely.area(shapely.intersection(valid, valid[i]))
        if (common >= cover * shapely.area(valid)).all():
            return rows[i]
    return None


def _bridge(layout: Layout, rows: list[int], joined: shapely.Geometry) -> shapely.Geometry:
    """Close the gap that is left where parts end a little before the seam; only there."""
    reach = layout.edge_px
    if reach <= 0:
        return joined
    windows = np.unique(layout.window[rows], axis=0)
    borders = shapely.buffer(shapely.union_all(shapely.boundary(shapely.box(*windows.T))), 2 * reach)
    closed = shapely.buffer(shapely.buffer(joined, reach, join_style="mitre"), -reach, join_style="mitre")
    gap = shapely.intersection(shapely.difference(closed, joined), borders)
    return areas_only(shapely.union(joined, areas_only(gap))) if not gap.is_empty else joined


def _without_seam_vertices(geometry: shapely.Geometry) -> shapely.Geometry:
    # Union leaves a vertex where the seam crossed a straight edge; a thousandth of a pixel takes those and no others.
    out = shapely.simplify(geometry, 1e-3, preserve_topology=True)
    return out if out.is_valid and not out.is_empty else geometry


def _lines(layout: Layout, rows: list[int], cut: Bools) -> tuple[shapely.Geometry, int | None]:
    """Join lines: what one image shows of the overlap is kept, the other goes on from there."""
    near = layout.edge_px * 2 + 1
    lengths = shapely.length(layout.geometry[rows])
    for i in np.argsort(-lengths, kind="stable").tolist():
        grown = shapely.buffer(layout.geometry[rows[i]], near)
        if not cut[rows[i]] and shapely.covers(grown, layout.geometry[rows]).all():
            return layout.geometry[rows[i]], rows[i]
    order = [rows[i] for i in np.argsort(-lengths, kind="stable").tolist()]
    pieces = [layout.geometry[order[0]]]
    taken = [shapely.box(*layout.window[order[0]])]
    for row in order[1:]:
        rest = shapely.difference(layout.geometry[row], shapely.union_all(taken))
        taken.append(shapely.box(*layout.window[row]))
        pieces += [p for p in shapely.get_parts(rest).tolist() if shapely.length(p) > 0]
    return _chain(pieces, near), None


def _chain(pieces: list[shapely.Geometry], near: float) -> shapely.Geometry:
    """Link lines whose ends lie near each other, longest first, until none are left that do."""
    lines = [np.asarray(p.coords) for piece in pieces for p in shapely.get_parts(piece).tolist()]
    linked = True
    while linked and len(lines) > 1:
        linked = False
        best = min(
            (
                (float(np.hypot(*(a[ea] - b[eb]))), i, j, ea, eb)
                for i, a in enumerate(lines)
                for j, b in enumerate(lines)
                if i < j
                for ea in (0, -1)
                for eb in (0, -1)
            ),
            key=lambda t: t[0],
        )
        distance, i, j, ea, eb = best
        if distance <= near:
            a = lines[i] if ea == -1 else lines[i][::-1]
            b = lines[j] if eb == 0 else lines[j][::-1]
            b = b[1:] if distance == 0 else b
            lines = [*(line for k, line in enumerate(lines) if k not in (i, j)), np.concatenate([a, b])]
            linked = True
    lines = [line for line in lines if len(line) > 1]
    shapes = [shapely.LineString(line) for line in lines]
    return shapes[0] if len(shapes) == 1 else shapely.MultiLineString(shapes)
