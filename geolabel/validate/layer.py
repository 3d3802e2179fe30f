"""Columns of geometries with what rules need to know of them, everything derived computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import shapely

from geolabel.core.dataset import KIND_INDEX, Batch, Geometries, ImageRef, Ints, SceneRef, drawn_kind
from geolabel.core.georef import WGS84, Georeference, transform_xy
from geolabel.core.taxonomy import Taxonomy
from geolabel.errors import GeoreferenceError
from geolabel.validate.options import OPTIONS
from geolabel.validate.rule import Floats

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rings:
    """All rings of the polygons of a layer, flat.

    Attributes:
        xy: (v, 2) vertices, the closing one of each ring left out.
        record: (v,) record of each vertex.
        before, after: (v,) row of the neighbour vertex in the ring.
    """

    xy: Floats
    record: Ints
    before: Ints
    after: Ints


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pairs:
    """Pairs of valid areas of one frame that overlap: rows (lower first) and the area in common."""

    one: Ints
    other: Ints
    common: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """Geometries of one or more frames.

    Attributes:
        geometry: (n,) shapely geometries in the frame's own coordinates.
        kind: (n,) int64, index into `SHAPE_KINDS`.
        class_id: (n,) int64.
        frame: (n,) int64, rows of the tables below.
        taxonomy: Classes, or None when classes mean nothing here.
        size: (frames, 2) width and height of the frame, NaN where it has no border.
        metres: (frames, 2) metres a unit along x and y, NaN where unknown.
        pixel: (frames,) what counts as one pixel, in units of the frame.
        offset_px: (frames,) how far the frame lies from its scene's grid, px; NaN where unknown.
        valid: (frames,) outline of valid pixels, or None.
        options: Limits by name; missing ones take those of `options.OPTIONS`.
    """

    geometry: Geometries
    kind: Ints
    class_id: Ints
    frame: Ints
    taxonomy: Taxonomy | None
    size: Floats
    metres: Floats
    pixel: Floats
    offset_px: Floats
    valid: npt.NDArray[np.object_] | None = None
    options: Mapping[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.geometry)

    @classmethod
    def of(cls, geometry: Sequence[shapely.Geometry] | Geometries, **columns: Any) -> Layer:
        """Build from geometries; columns not given take neutral values (one frame, class 1, no border, px of 1)."""
        shapes = np.empty(len(geometry), dtype=object)
        shapes[:] = geometry
        n = len(shapes)
        frame = np.asarray(columns.pop("frame", np.zeros(n)), dtype=np.int64)
        frames = int(columns.pop("frames", frame.max() + 1 if n else 1))
        kinds = columns.pop("kind", [KIND_INDEX[drawn_kind(g)] for g in shapes])
        tables: dict[str, Any] = {
            "size": np.full((frames, 2), np.nan),
            "metres": np.full((frames, 2), np.nan),
            "pixel": np.ones(frames),
            "offset_px": np.full(frames, np.nan),
        }
        for name, table in tables.items():
            if name in columns:
                tables[name] = np.broadcast_to(np.asarray(columns.pop(name), dtype=np.float64), table.shape)
        class_id = np.broadcast_to(np.asarray(columns.pop("class_id", 1), dtype=np.int64), (n,))
        taxonomy = columns.pop("taxonomy", None)
        return cls(
            geometry=shapes, kind=np.asarray(kinds, dtype=np.int64), class_id=class_id, frame=frame, taxonomy=taxonomy,
            **tables, **columns,
        )  # fmt: skip

    @classmethod
    def of_parts(
        cls,
        batch: Batch,
        images: Sequence[ImageRef],
        scenes: Sequence[SceneRef],
        taxonomy: Taxonomy,
        options: Mapping[str, float] | None = None,
        valid: Mapping[int, shapely.Geometry] | None = None,
    ) -> tuple[Layer, Ints]:
        """Build from a batch of parts; returns the layer and the image of each of its frames."""
        used, local = np.unique(batch.frame, return_inverse=True)
        taken = [images[i] for i in used.tolist()]
        georefs = [image.georef for image in taken]
        layer = cls(
            geometry=batch.geometry,
            kind=batch.kind,
            class_id=batch.class_id,
            frame=local.astype(np.int64),
            taxonomy=taxonomy,
            size=np.array([(i.width, i.height) for i in taken], dtype=np.float64).reshape(-1, 2),
            metres=metres_of(georefs),
            pixel=np.ones(len(taken)),
            offset_px=_offsets(taken, scenes),
            valid=None if valid is None else np.array([valid.get(i) for i in used.tolist()], dtype=object),
            options=options or {},
        )
        return layer, used.astype(np.int64)

    def option(self, name: str) -> float:
        """Return a limit."""
        return float(self.options.get(name, OPTIONS[name].value))

    @cached_property
    def types(self) -> Ints:
        """Shapely type number of each geometry."""
        return np.asarray(shapely.get_type_id(self.geometry), dtype=np.int64)

    @cached_property
    def empty(self) -> Bools:
        """Whether a geometry is missing or empty."""
        return np.asarray(shapely.is_empty(self.geometry) | shapely.is_missing(self.geometry))

    @cached_property
    def bounds(self) -> Floats:
        """(n, 4) min x, min y, max x, max y; NaN of empty ones."""
        return np.asarray(shapely.bounds(self.geometry))

    @cached_property
    def finite(self) -> Bools:
        """Whether all coordinates are numbers; empty geometries count as finite."""
        # GEOS skips NaN in bounds, a sum does not.
        xy, index = shapely.get_coordinates(self.geometry, return_index=True)
        out = np.ones(len(self), dtype=bool)
        bad = ~np.isfinite(xy).all(axis=1)
        if bad.any():
            out[index[bad]] = False
        return out

    @cached_property
    def sound(self) -> Bools:
        """Whether a record can be measured: not empty, all coordinates numbers."""
        return np.asarray(self.finite & ~self.empty)

    @cached_property
    def areal(self) -> Bools:
        """Whether a sound record is a polygon or multi-polygon."""
        return np.asarray(self.sound & ((self.types == 3) | (self.types == 6)))

    @cached_property
    def linear(self) -> Bools:
        """Whether a sound record is a line."""
        return np.asarray(self.sound & np.isin(self.types, (1, 2, 5)))

    @cached_property
    def area(self) -> Floats:
        """(n,) area in units of the frame, squared; 0 of what is no area."""
        out = np.zeros(len(self))
        out[self.areal] = shapely.area(self.geometry[self.areal])
        return out

    @cached_property
    def flat(self) -> Bools:
        """Whether the points of an area lie in one line (a bow tie has no net area either, but is not flat)."""
        out = self.areal & (self.area == 0)
        rows = np.flatnonzero(out)
        out[rows] = shapely.area(shapely.convex_hull(self.geometry[rows])) == 0
        return np.asarray(out)

    @cached_property
    def length(self) -> Floats:
        """(n,) length (of rings: all of them) in units of the frame."""
        out = np.zeros(len(self))
        out[self.sound] = shapely.length(self.geometry[self.sound])
        return out

    @cached_property
    def is_valid(self) -> Bools:
        """Whether a sound record is valid as OGC has it; True for others."""
        out = np.ones(len(self), dtype=bool)
        out[self.areal] = shapely.is_valid(self.geometry[self.areal])
        return out

    @cached_property
    def area_m2(self) -> Floats:
        """(n,) area in m², NaN where the frame's scale is unknown."""
        return np.asarray(self.area * self.metres.prod(axis=1)[self.frame])

    @cached_property
    def length_m(self) -> Floats:
        """(n,) length of lines in m, NaN of others or where the scale is unknown."""
        out = np.full(len(self), np.nan)
        rows = np.flatnonzero(self.linear)
        if len(rows):
            xy, index = shapely.get_coordinates(self.geometry[rows], return_index=True)
            scaled = shapely.set_coordinates(self.geometry[rows].copy(), xy * self.metres[self.frame[rows]][index])
            out[rows] = shapely.length(scaled)
        return out

    @cached_property
    def rings(self) -> Rings:
        """Rings of all polygons."""
        rows = np.flatnonzero(self.areal)
        shapes = self.geometry[rows]
        owner = rows
        if (self.types[rows] == 6).any():
            shapes, part = shapely.get_parts(shapes, return_index=True)
            owner = rows[part]
        rings, polygon = shapely.get_rings(shapes, return_index=True)
        xy, ring = shapely.get_coordinates(rings, return_index=True)
        last = np.ones(len(ring), dtype=bool)
        last[:-1] = ring[1:] != ring[:-1]
        xy, ring = xy[~last], ring[~last]
        n = len(ring)
        step = np.arange(n)
        starts = np.ones(n, dtype=bool)
        starts[1:] = ring[1:] != ring[:-1]
        ends = np.ones(n, dtype=bool)
        ends[:-1] = ring[1:] != ring[:-1]
        before, after = step - 1, step + 1
        before[starts], after[ends] = step[ends], step[starts]
        return Rings(xy=xy, record=owner[polygon[ring]].astype(np.int64), before=before, after=after)

    @cached_property
    def pairs(self) -> Pairs:
        """Pairs of valid areas of one frame that have area in common.

        Frames are laid side by side for the search, so that one tree serves all of them.
        """
        rows = np.flatnonzero(self.areal & self.is_valid & (self.area > 0))
        none = np.empty(0, dtype=np.int64)
        if len(rows) < 2:
            return Pairs(one=none, other=none, common=np.empty(0))
        left, low, right, high = self.bounds[rows].T
        shift = self.frame[rows] * (1.5 * (right.max() - left.min()) + 1.0)
        boxes = shapely.box(left + shift, low, right + shift, high)
        i, j = shapely.STRtree(boxes).query(boxes)
        keep = i < j
        i, j = i[keep], j[keep]
        wide = np.minimum(right[i], right[j]) > np.maximum(left[i], left[j])
        tall = np.minimum(high[i], high[j]) > np.maximum(low[i], low[j])
        keep = wide & tall & (self.frame[rows[i]] == self.frame[rows[j]])
        one, other = rows[i[keep]], rows[j[keep]]
        touching = shapely.intersects(self.geometry[one], self.geometry[other])
        one, other = one[touching], other[touching]
        common = shapely.area(shapely.intersection(self.geometry[one], self.geometry[other]))
        keep = common > 0
        order = np.lexsort((other[keep], one[keep]))
        return Pairs(one=one[keep][order], other=other[keep][order], common=common[keep][order])

    def classes_with(self, rule: str) -> Ints:
        """Return the ids of classes that have a topology rule."""
        classes = () if self.taxonomy is None else self.taxonomy.classes
        return np.array([c.id for c in classes if rule in c.rules], dtype=np.int64)

    def class_table(self, values: Mapping[int, float]) -> Floats:
        """Return (n,) a value by class id, NaN for classes without."""
        table = np.full(max([0, *values, *self.class_id.tolist()]) + 2, np.nan)
        for number, value in values.items():
            table[number] = value
        return np.asarray(table[np.where(self.class_id < 0, len(table) - 1, self.class_id)])


def metres_of(georefs: Sequence[Georeference | None]) -> Floats:
    """Return (n, 2) metres a column and metres a row at the middle of planes, NaN without one; geodesic on WGS 84."""
    out = np.full((len(georefs), 2), np.nan)
    by_crs: dict[str, list[int]] = {}
    for row, georef in enumerate(georefs):
        if georef is not None:
            by_crs.setdefault(georef.crs, []).append(row)
    geod = pyproj.Geod(ellps="WGS84")
    for crs, rows in by_crs.items():
        a, b, c, d, e, f, w, h = np.array(
            [(*g.transform, g.width, g.height) for g in (georefs[r] for r in rows) if g is not None]
        ).T
        x, y = a * w / 2 + b * h / 2 + c, d * w / 2 + e * h / 2 + f
        points = np.concatenate([np.stack([x, y], 1), np.stack([x + a, y + d], 1), np.stack([x + b, y + e], 1)])
        try:
            middle, right, below = np.split(transform_xy(points, crs, WGS84), 3)
        except GeoreferenceError:
            continue  # a plane that no point of the Earth belongs to has no metres; rules about them stay silent
        for column, end in enumerate((right, below)):
            out[rows, column] = geod.inv(middle[:, 0], middle[:, 1], end[:, 0], end[:, 1])[2]
    return out


def _offsets(images: Sequence[ImageRef], scenes: Sequence[SceneRef]) -> Floats:
    """Return how far the corners of images lie from where their window puts them, px; inf for another CRS."""
    out = np.full(len(images), np.nan)
    for row, image in enumerate(images):
        if image.georef is None or image.window is None or not 0 <= image.scene < len(scenes):
            continue
        scene, w = scenes[image.scene].georef, image.window
        if scene.crs != image.georef.crs:
            out[row] = np.inf
            continue
        corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], dtype=np.float64)
        there = scene.to_pixel(image.georef.to_world(corners * (image.width, image.height)))
        out[row] = np.abs(there - (corners * (w.width, w.height) + (w.col, w.row))).max()
    return out
