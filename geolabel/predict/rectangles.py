"""Right angles for buildings: outlines whose walls run along two directions."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import shapely
import shapely.affinity

_MIN_AGREEMENT = 0.85
_RECTANGLE_AGREEMENT = 0.85
XYArray = npt.NDArray[np.float64]


def regularise(
    geometry: shapely.Polygon | shapely.MultiPolygon, tolerance_px: float
) -> shapely.Polygon | shapely.MultiPolygon:
    """Return the outline with right angles wherever that keeps the shape; otherwise the outline as it was.

    The main direction is the length-weighted mean of the walls' directions modulo 90°, or that of the smallest rotated
    rectangle where it fits better (outlines of few pixels). Walls are put onto the nearer of
    the two axes, runs of walls along one axis become one wall, and neighbouring walls meet in their intersection. Walls
    shorter than the tolerance are dropped. The result replaces the input only if both agree in at least 85 % of their
    union; a plain rectangle is preferred where it agrees so well. Holes are treated like outlines of their own.
    """
    parts = [_part(part, tolerance_px) for part in shapely.get_parts(geometry)]
    parts = [part for part in parts if not part.is_empty]
    if not parts:
        return shapely.Polygon()
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)


def _part(part: shapely.Polygon, tolerance_px: float) -> shapely.Polygon:
    if part.area <= 0 or len(part.exterior.coords) < 5:
        return part
    solid = shapely.Polygon(part.exterior)
    box = np.asarray(solid.minimum_rotated_rectangle.exterior.coords)
    angles = (main_direction(np.asarray(part.exterior.coords)), main_direction(box))
    rectangles = [(_agreement(rectangle, solid), rectangle) for rectangle in (_rectangle(solid, a) for a in angles)]
    best = max(range(2), key=lambda i: rectangles[i][0])
    angle = angles[best]
    outline = rectangles[best][1] if rectangles[best][0] >= _RECTANGLE_AGREEMENT else None
    if outline is None:
        squared = _squared(np.asarray(part.exterior.coords)[:-1], angle, tolerance_px)
        good = squared is not None and _agreement(squared, solid) >= _MIN_AGREEMENT
        outline = squared if good and squared is not None else solid
    for ring in part.interiors:
        hole = shapely.Polygon(ring)
        cut = outline.difference(hole)
        if isinstance(cut, shapely.Polygon):
            outline = cut
    return outline


def main_direction(xy: XYArray) -> float:
    """Return the main direction of a closed ring, radians in (-π/4, π/4]; (n, 2) float64, last point repeated."""
    step = np.diff(xy, axis=0)
    length = np.hypot(step[:, 0], step[:, 1])
    angle = np.arctan2(step[:, 1], step[:, 0])
    # Four times the angle makes directions 90° apart the same vector (circular mean with period π/2).
    weight = length**2
    return 0.25 * math.atan2(float((weight * np.sin(4 * angle)).sum()), float((weight * np.cos(4 * angle)).sum()))


def _rectangle(solid: shapely.Polygon, angle: float) -> shapely.Polygon:
    turned = shapely.affinity.rotate(solid, -angle, origin=(0, 0), use_radians=True)
    xmin, ymin, xmax, ymax = turned.bounds
    # The bounds overshoot ragged outlines: shrink about the centre to the outline's own area.
    ratio = math.sqrt(min(1.0, solid.area / max((xmax - xmin) * (ymax - ymin), 1e-9)))
    cx, cy = turned.centroid.coords[0]
    half_w, half_h = (xmax - xmin) / 2 * ratio, (ymax - ymin) / 2 * ratio
    box = shapely.box(cx - half_w, cy - half_h, cx + half_w, cy + half_h)
    return shapely.affinity.rotate(box, angle, origin=(0, 0), use_radians=True)


def _squared(xy: XYArray, angle: float, tolerance_px: float) -> shapely.Polygon | None:
    cos, sin = math.cos(-angle), math.sin(-angle)
    turned = xy @ np.array([[cos, sin], [-sin, cos]])
    walls = _walls(turned, tolerance_px)
    if len(walls) < 4:
        return None
    corners = []
    for (axis, position), (next_axis, next_position) in zip(walls, walls[1:] + walls[:1], strict=True):
        if axis == next_axis:
            return None
        corners.append((next_position, position) if axis == 0 else (position, next_position))
    back = np.asarray(corners) @ np.array([[cos, -sin], [sin, cos]])
    polygon = shapely.Polygon(back)
    return polygon if polygon.is_valid and polygon.area > 0 else None


def _walls(turned: XYArray, tolerance_px: float) -> list[tuple[int, float]]:
    """Return (axis, position) of every wall: axis 0 runs along x at a y, axis 1 along y at an x; axes alternate."""
    step = np.roll(turned, -1, axis=0) - turned
    middle = turned + step / 2
    length = np.hypot(step[:, 0], step[:, 1])
    axis = (np.abs(step[:, 1]) > np.abs(step[:, 0])).astype(int)
    runs: list[list[float]] = []  # axis, summed length, summed length · position
    for i in np.flatnonzero(length > 1e-9):
        position = middle[i, 1] if axis[i] == 0 else middle[i, 0]
        if runs and runs[-1][0] == axis[i]:
            runs[-1][1] += length[i]
            runs[-1][2] += length[i] * position
        else:
            runs.append([axis[i], length[i], length[i] * position])
    runs = _joined(runs)
    while len(runs) > 4:
        shortest = min(range(len(runs)), key=lambda i: runs[i][1])
        if runs[shortest][1] >= max(2.0 * tolerance_px, 1.0):
            break
        del runs[shortest]
        runs = _joined(runs)
    return [(int(run[0]), run[2] / run[1]) for run in runs]


def _joined(runs: list[list[float]]) -> list[list[float]]:
    out: list[list[float]] = []
    for run in runs:
        if out and out[-1][0] == run[0]:
            out[-1] = [run[0], out[-1][1] + run[1], out[-1][2] + run[2]]
        else:
            out.append(list(run))
    if len(out) > 1 and out[0][0] == out[-1][0]:
        last = out.pop()
        out[0] = [last[0], out[0][1] + last[1], out[0][2] + last[2]]
    return out


def _agreement(a: shapely.Polygon, b: shapely.Polygon) -> float:
    union = a.union(b).area
    return float(a.intersection(b).area / union) if union > 0 else 0.0
