"""Masks to shapes that people can edit: few vertices, true borders, right angles, joined at chip edges.

Everything here is in chip pixels; tolerances and areas come in metres and become pixels by the chip's ground size.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import shapely

from geolabel.core.ids import region_id
from geolabel.core.labels import Origin, Region
from geolabel.core.shapes import (
    Box,
    Ellipse,
    Mask,
    Point,
    RotatedBox,
    Shape,
    from_shapely,
    to_shapely,
)
from geolabel.core.taxonomy import LabelClass
from geolabel.predict.rectangles import regularise

_SNAP_PX = 1.5
_MIN_AREA_PX = 4.0
#: Label Studio's page becomes slow above these (landscape.md §2, threads 5 and 6; measured there on version 1.23).
MAX_VERTICES = 6000
MAX_REGIONS = 300
MAX_MASKS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much one task may carry before Label Studio's page becomes slow."""

    vertices: int = MAX_VERTICES
    regions: int = MAX_REGIONS
    masks: int = MAX_MASKS


@dataclass(frozen=True, slots=True, kw_only=True)
class GeometryRules:
    """How masks become shapes.

    Attributes:
        tolerance_m: Outlines move by at most about this much when vertices are taken out; None: one pixel.
        min_area_px: Smaller parts are noise whatever the class says.
        snap_px: Vertices nearer to the chip's edge are put onto it, so that neighbours join.
        budget: Of one task.
    """

    tolerance_m: float | None = None
    min_area_px: float = _MIN_AREA_PX
    snap_px: float = _SNAP_PX
    budget: Budget = field(default_factory=Budget)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskObject:
    """One object that a model found: its outline in chip px, class name, raw score, and where it came from."""

    geometry: shapely.Polygon | shapely.MultiPolygon
    label: str
    score: float
    source: str = ""


def label_polygons(objects: npt.NDArray[np.int32]) -> dict[int, shapely.Polygon | shapely.MultiPolygon]:
    """Return the exact outline of every object of a (row, col) int32 label image, px; 0 is background.

    4-connected; holes are kept. Outlines of neighbours share their vertices, so that they can be simplified together.
    """
    from rasterio.features import shapes

    parts: dict[int, list[shapely.Polygon]] = {}
    for geometry, value in shapes(objects, mask=objects != 0, connectivity=4):
        rings = geometry["coordinates"]
        parts.setdefault(int(value), []).append(shapely.Polygon(rings[0], rings[1:]))
    return {
        value: polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)
        for value, polygons in parts.items()
    }


def simplify_together(
    geometries: Sequence[shapely.Geometry], tolerance_px: float
) -> list[shapely.Polygon | shapely.MultiPolygon]:
    """Take vertices out of neighbouring outlines so that shared borders stay shared: no gaps, no overlaps.

    Outlines that overlap are no coverage; they are simplified one by one instead.
    """
    if not geometries or tolerance_px <= 0:
        return list(geometries)
    array = np.array(geometries, dtype=object)
    if shapely.coverage_is_valid(array):
        out = shapely.coverage_simplify(array, tolerance_px)
    else:
        out = shapely.simplify(array, tolerance_px, preserve_topology=True)
    return [clean_polygon(geometry) for geometry in out]


def clean_polygon(geometry: shapely.Geometry) -> shapely.Polygon | shapely.MultiPolygon:
    """Return the valid polygonal part of a geometry; an empty polygon when there is none."""
    if not geometry.is_valid:
        geometry = shapely.make_valid(geometry)
    if isinstance(geometry, shapely.Polygon | shapely.MultiPolygon):
        return geometry
    polygons = [
        part
        for part in shapely.get_parts(shapely.get_parts(geometry))
        if isinstance(part, shapely.Polygon) and part.area > 0
    ]
    united = shapely.union_all(polygons)
    return united if isinstance(united, shapely.Polygon | shapely.MultiPolygon) else shapely.Polygon()


def snap_to_edge(geometry: shapely.Geometry, width: int, height: int, snap_px: float) -> shapely.Geometry:
    """Put vertices that lie within `snap_px` of the chip's edge onto it, and cut what lies outside."""

    def move(xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        out = xy.copy()
        for axis, limit in ((0, float(width)), (1, float(height))):
            out[out[:, axis] <= snap_px, axis] = 0.0
            out[out[:, axis] >= limit - snap_px, axis] = limit
        return out

    if min(width, height) <= 4 * snap_px:
        return shapely.intersection(geometry, shapely.box(0, 0, width, height))
    xmin, ymin, xmax, ymax = geometry.bounds if not geometry.is_empty else (snap_px + 1,) * 4
    if xmin > snap_px and ymin > snap_px and xmax < width - snap_px and ymax < height - snap_px:
        return geometry
    moved = clean_polygon(shapely.transform(geometry, move))
    return clean_polygon(shapely.intersection(moved, shapely.box(0, 0, width, height)))


def regions_from_objects(
    objects: Sequence[MaskObject],
    *,
    classes: Mapping[str, LabelClass],
    width: int,
    height: int,
    gsd_m: float,
    chip_id: str,
    source: str,
    rules: GeometryRules | None = None,
) -> tuple[tuple[Region, ...], Counter[str]]:
    """Turn objects into regions that Label Studio's page carries and people can edit.

    Args:
        objects: In chip px, possibly sharing borders; simplified together.
        classes: By name; a name that is missing is dropped and counted.
        width: Columns of the chip.
        height: Rows of the chip.
        gsd_m: Ground size of a pixel, metres (geometric mean of both axes).
        chip_id: Enters the computed region ids.
        source: Name of the predictor; enters the ids.
        rules: Tolerance, snapping and budget.

    Returns:
        Regions, the surest first, and how many objects were dropped for which reason.
    """
    rules = rules or GeometryRules()
    dropped: Counter[str] = Counter()
    kept = [item for item in objects if item.label in classes]
    dropped["unknown class"] += len(objects) - len(kept)
    kept, small = _large_enough(kept, classes, gsd_m, rules)
    dropped["too small"] += small
    tolerance_px = 1.0 if rules.tolerance_m is None else rules.tolerance_m / gsd_m
    for _ in range(4):
        shaped = _shape_all(kept, classes, width, height, tolerance_px, rules)
        if sum(shapely.get_num_coordinates(item.geometry) for item in shaped) <= rules.budget.vertices:
            break
        tolerance_px = max(2 * tolerance_px, 0.5)
    dropped["lost in simplification"] += len(kept) - len(shaped)
    shaped.sort(key=lambda item: (-item.score, item.geometry.bounds))
    regions = _within_budget(shaped, classes, width, height, chip_id, source, rules.budget, dropped)
    return tuple(regions), +dropped


def _large_enough(
    objects: list[MaskObject], classes: Mapping[str, LabelClass], gsd_m: float, rules: GeometryRules
) -> tuple[list[MaskObject], int]:
    kept = []
    for item in objects:
        floor_px = max(rules.min_area_px, classes[item.label].min_area_m2 / gsd_m**2)
        if item.geometry.area >= floor_px:
            kept.append(item)
    return kept, len(objects) - len(kept)


def _shape_all(
    objects: Sequence[MaskObject],
    classes: Mapping[str, LabelClass],
    width: int,
    height: int,
    tolerance_px: float,
    rules: GeometryRules,
) -> list[MaskObject]:
    simple = simplify_together([item.geometry for item in objects], tolerance_px)
    out = []
    for item, geometry in zip(objects, simple, strict=True):
        if classes[item.label].rectangular:
            geometry = regularise(geometry, tolerance_px)
        geometry = snap_to_edge(geometry, width, height, rules.snap_px)
        geometry = _without_crumbs(clean_polygon(geometry), rules.min_area_px)
        if not geometry.is_empty:
            out.append(MaskObject(geometry=geometry, label=item.label, score=item.score, source=item.source))
    return out


def _without_crumbs(
    geometry: shapely.Polygon | shapely.MultiPolygon, min_area_px: float
) -> shapely.Polygon | shapely.MultiPolygon:
    parts = []
    for part in shapely.get_parts(geometry):
        if part.area < min_area_px:
            continue
        holes = [hole for hole in part.interiors if shapely.Polygon(hole).area >= min_area_px]
        parts.append(shapely.Polygon(part.exterior, holes))
    if not parts:
        return shapely.Polygon()
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)


def _within_budget(
    objects: Sequence[MaskObject],
    classes: Mapping[str, LabelClass],
    width: int,
    height: int,
    chip_id: str,
    source: str,
    budget: Budget,
    dropped: Counter[str],
) -> list[Region]:
    regions: list[Region] = []
    vertices = masks = 0
    for item in objects:
        for shape in shapes_for(item.geometry, classes[item.label], width, height):
            is_mask = isinstance(shape, Mask)
            points = 0 if is_mask else int(shapely.get_num_coordinates(to_shapely(shape)))
            if len(regions) >= budget.regions:
                dropped["over the region budget"] += 1
            elif is_mask and masks >= budget.masks:
                dropped["over the mask budget"] += 1
            elif vertices + points > budget.vertices:
                dropped["over the vertex budget"] += 1
            else:
                vertices, masks = vertices + points, masks + int(is_mask)
                regions.append(_region(shape, item, chip_id, item.source or source))
    return regions


def _region(shape: Shape, item: MaskObject, chip_id: str, source: str) -> Region:
    x, y = item.geometry.representative_point().coords[0]
    key = region_id(chip_id, source, item.label, round(x, 2), round(y, 2), round(item.geometry.area, 2), _key(shape))
    return Region(id=key, shape=shape, label=item.label, score=float(item.score), origin=Origin.PREDICTION)


def _key(shape: Shape) -> str:
    if isinstance(shape, Mask):
        return "mask"
    return ",".join(f"{value:.2f}" for value in to_shapely(shape).bounds)


def shapes_for(
    geometry: shapely.Polygon | shapely.MultiPolygon, label_class: LabelClass, width: int, height: int
) -> list[Shape]:
    """Return a geometry in the shape kind its class asks for first; parts become shapes of their own.

    A polygon with holes stays one polygon with holes (the codec pairs the rings), or becomes a mask where the class
    says `holes: bitmask`.
    """
    kind = next(iter(label_class.shapes), "polygon")
    parts = [part for part in shapely.get_parts(geometry) if part.area > 0]
    if kind == "mask":
        return [rasterised(geometry, width, height)]
    if kind == "multipolygon":
        return [from_shapely(geometry)]
    out: list[Shape] = []
    for part in parts:
        if kind == "polygon" and part.interiors and label_class.holes == "bitmask" and "mask" in label_class.shapes:
            out.append(rasterised(part, width, height))
        else:
            out.append(_as_kind(part, kind))
    return out


def _as_kind(part: shapely.Polygon, kind: str) -> Shape:
    if kind == "box":
        xmin, ymin, xmax, ymax = part.bounds
        return Box(xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax)
    if kind in ("rotated_box", "ellipse"):
        box = _rotated_box(part)
        if kind == "rotated_box":
            return box
        return Ellipse(cx=box.cx, cy=box.cy, rx=box.width / 2, ry=box.height / 2, angle_deg=box.angle_deg)
    if kind == "point":
        point = part.representative_point()
        return Point(x=point.x, y=point.y)
    if kind == "line":
        from geolabel.predict.centrelines import centreline

        return centreline(part)
    return from_shapely(part)


def _rotated_box(part: shapely.Polygon) -> RotatedBox:
    corners = np.asarray(part.minimum_rotated_rectangle.exterior.coords)[:4]
    (x0, y0), (x1, y1), (x2, y2) = corners[0], corners[1], corners[2]
    centre = corners.mean(axis=0)
    return RotatedBox(
        cx=float(centre[0]),
        cy=float(centre[1]),
        width=math.hypot(x1 - x0, y1 - y0),
        height=math.hypot(x2 - x1, y2 - y1),
        angle_deg=math.degrees(math.atan2(y1 - y0, x1 - x0)),
    )


def rasterised(geometry: shapely.Geometry, width: int, height: int) -> Mask:
    """Return a mask of the pixels whose centre lies in the geometry."""
    return Mask.from_array(burn([(geometry, 1)], width, height))


def burn(pairs: Sequence[tuple[shapely.Geometry, int]], width: int, height: int) -> npt.NDArray[np.int32]:
    """Write geometries into a (row, col) int32 image, later ones over earlier ones; pixel centres decide."""
    from rasterio.features import rasterize

    usable = [(geometry, value) for geometry, value in pairs if not geometry.is_empty]
    if not usable:
        return np.zeros((height, width), dtype=np.int32)
    image: npt.NDArray[np.int32] = rasterize(usable, out_shape=(height, width), fill=0, dtype="int32")
    return image
