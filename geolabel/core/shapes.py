"""Shapes in chip pixels: float64, x (columns) right, y (rows) down, (0, 0) the outer corner of the first pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import shapely

from geolabel.errors import ShapeError

Point2: TypeAlias = tuple[float, float]
Ring: TypeAlias = tuple[Point2, ...]
ShapeKind: TypeAlias = Literal["box", "rotated_box", "ellipse", "polygon", "multipolygon", "line", "point", "mask"]
SHAPE_KINDS: tuple[ShapeKind, ...] = get_args(ShapeKind)
_ELLIPSE_POINTS = 64


def ring(points: Any) -> Ring:
    """Return an (n, 2) array-like as a tuple of (x, y) floats without a repeated last point."""
    pairs = tuple((float(x), float(y)) for x, y in points)
    return pairs[:-1] if len(pairs) > 1 and pairs[0] == pairs[-1] else pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """An upright rectangle: min corner and max corner, px."""

    kind: ClassVar[ShapeKind] = "box"
    xmin: float
    ymin: float
    xmax: float
    ymax: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RotatedBox:
    """A rectangle turned about its centre; angle in degrees, clockwise as seen on screen."""

    kind: ClassVar[ShapeKind] = "rotated_box"
    cx: float
    cy: float
    width: float
    height: float
    angle_deg: float

    def corners(self) -> Ring:
        """Return the four corners, clockwise on screen, first the one that was top left before turning."""
        half_w, half_h = self.width / 2, self.height / 2
        local = ((-half_w, -half_h), (half_w, -half_h), (half_w, half_h), (-half_w, half_h))
        return tuple(_turn(x, y, self.angle_deg, self.cx, self.cy) for x, y in local)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ellipse:
    """An ellipse: centre, radii along its own axes, px; angle in degrees, clockwise as seen on screen."""

    kind: ClassVar[ShapeKind] = "ellipse"
    cx: float
    cy: float
    rx: float
    ry: float
    angle_deg: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Polygon:
    """A polygon with holes; rings without a repeated last point."""

    kind: ClassVar[ShapeKind] = "polygon"
    exterior: Ring
    holes: tuple[Ring, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiPolygon:
    """Several polygons that are one object."""

    kind: ClassVar[ShapeKind] = "multipolygon"
    parts: tuple[Polygon, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """An open line of two or more points."""

    kind: ClassVar[ShapeKind] = "line"
    points: Ring


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A key point."""

    kind: ClassVar[ShapeKind] = "point"
    x: float
    y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """A binary mask of a whole chip as run lengths in COCO's order.

    Attributes:
        width: Columns, px.
        height: Rows, px.
        counts: Run lengths down the columns, the first run being zeros (may be 0); they sum to width × height.
    """

    kind: ClassVar[ShapeKind] = "mask"
    width: int
    height: int
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        if sum(self.counts) != self.width * self.height or any(c < 0 for c in self.counts):
            raise ShapeError(
                f"mask runs sum to {sum(self.counts)}; a mask of {self.width} × {self.height} px "
                f"needs non-negative runs that sum to {self.width * self.height}"
            )

    @classmethod
    def from_array(cls, mask: npt.NDArray[Any]) -> Mask:
        """Encode a (row, col) array; everything that is not 0 counts as inside."""
        if mask.ndim != 2:
            raise ShapeError(f"a mask must be a (row, col) array; got {mask.ndim} dimensions of shape {mask.shape}")
        flat = np.ascontiguousarray((mask != 0).T).reshape(-1)
        edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
        bounds = np.concatenate([[0], edges, [flat.size]])
        counts = np.diff(bounds).tolist()
        if flat.size and flat[0]:
            counts = [0, *counts]
        return cls(width=int(mask.shape[1]), height=int(mask.shape[0]), counts=tuple(int(c) for c in counts))

    def to_array(self) -> npt.NDArray[np.uint8]:
        """Decode to (row, col) uint8 with values 0 and 1."""
        values = (np.arange(len(self.counts)) % 2).astype(np.uint8)
        flat = np.repeat(values, np.asarray(self.counts, dtype=np.int64))
        return np.ascontiguousarray(flat.reshape(self.width, self.height).T)


Shape: TypeAlias = Box | RotatedBox | Ellipse | Polygon | MultiPolygon | Line | Point | Mask


def _turn(x: float, y: float, angle_deg: float, cx: float, cy: float) -> Point2:
    # y runs down, so the mathematically positive turn is clockwise on screen.
    sin, cos = math.sin(math.radians(angle_deg)), math.cos(math.radians(angle_deg))
    return cx + x * cos - y * sin, cy + x * sin + y * cos


def to_shapely(shape: Shape) -> shapely.Geometry:
    """Return the shape as a shapely geometry in chip pixels.

    An ellipse becomes a polygon of 64 points, a mask the exact outline of its pixels (4-connected parts).
    """
    match shape:
        case Box():
            return shapely.box(shape.xmin, shape.ymin, shape.xmax, shape.ymax)
        case RotatedBox():
            return shapely.Polygon(shape.corners())
        case Ellipse():
            turns = np.linspace(0.0, 2 * np.pi, _ELLIPSE_POINTS, endpoint=False)
            points = [
                _turn(shape.rx * math.cos(t), shape.ry * math.sin(t), shape.angle_deg, shape.cx, shape.cy)
                for t in turns
            ]
            return shapely.Polygon(points)
        case Polygon():
            return _polygon(shape)
        case MultiPolygon():
            return shapely.MultiPolygon([_polygon(part) for part in shape.parts])
        case Line():
            return shapely.LineString(shape.points)
        case Point():
            return shapely.Point(shape.x, shape.y)
        case Mask():
            return mask_outline(shape.to_array())


def _polygon(shape: Polygon) -> shapely.Polygon:
    if len(shape.exterior) < 3:
        raise ShapeError(f"a polygon needs at least 3 points; this one has {len(shape.exterior)}")
    return shapely.Polygon(shape.exterior, [hole for hole in shape.holes if len(hole) >= 3])


def from_shapely(geometry: shapely.Geometry) -> Shape:
    """Return a shape from a shapely point, line, polygon or multi-polygon (one part becomes a polygon).

    Raises:
        ShapeError: the geometry is empty or of a kind that has no shape.
    """
    if geometry.is_empty:
        raise ShapeError(f"an empty {geometry.geom_type} is no shape; give at least one point")
    match geometry:
        case shapely.Polygon():
            return Polygon(
                exterior=ring(geometry.exterior.coords), holes=tuple(ring(hole.coords) for hole in geometry.interiors)
            )
        case shapely.MultiPolygon():
            parts = [from_shapely(part) for part in geometry.geoms]
            polygons = tuple(part for part in parts if isinstance(part, Polygon))
            return polygons[0] if len(polygons) == 1 else MultiPolygon(parts=polygons)
        case shapely.LineString():
            return Line(points=tuple((float(x), float(y)) for x, y in geometry.coords))
        case shapely.Point():
            return Point(x=float(geometry.x), y=float(geometry.y))
        case _:
            raise ShapeError(
                f"{geometry.geom_type} is no shape of a label; use a point, line, polygon or multi-polygon"
            )


def mask_outline(mask: npt.NDArray[Any]) -> shapely.Polygon | shapely.MultiPolygon:
    """Return the exact outline of the non-zero pixels of a (row, col) array, in px; rings follow pixel edges.

    Runs of pixels become boxes that are united, so the area equals the number of pixels.
    """
    inside = np.pad((mask != 0).astype(np.int8), ((0, 0), (1, 1)))
    step = np.diff(inside, axis=1)
    rows_on, starts = np.nonzero(step == 1)
    _, stops = np.nonzero(step == -1)
    if rows_on.size == 0:
        return shapely.Polygon()
    boxes = shapely.box(starts, rows_on, stops, rows_on + 1)
    united = shapely.union_all(boxes)
    # Pixel edges carry a vertex a row; those on a straight run say nothing.
    return shapely.simplify(united, 0.0)
