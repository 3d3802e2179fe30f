"""The middle line of a long object, for classes that are drawn as lines (roads, ditches)."""

from __future__ import annotations

import math

import numpy as np
import shapely

from geolabel.core.shapes import Line

_MAX_CELLS = 512


def centreline(part: shapely.Polygon) -> Line:
    """Return the longest path through the skeleton of a polygon, px, simplified to one pixel.

    The polygon is drawn at up to 512 cells a side; an outline too small for a skeleton gives the long axis of its
    rotated box.
    """
    from rasterio.features import rasterize
    from rasterio.transform import Affine
    from skimage.graph import MCP
    from skimage.morphology import skeletonize

    xmin, ymin, xmax, ymax = part.bounds
    cell = max(max(xmax - xmin, ymax - ymin) / _MAX_CELLS, 1.0)
    shape = (max(1, math.ceil((ymax - ymin) / cell)), max(1, math.ceil((xmax - xmin) / cell)))
    grid = rasterize([(part, 1)], out_shape=shape, transform=Affine(cell, 0, xmin, 0, cell, ymin), dtype="uint8")
    bone = skeletonize(grid.astype(bool))
    cells = np.argwhere(bone)
    if len(cells) < 2:
        return _long_axis(part)
    cost = np.where(bone, 1.0, -1.0)
    start = tuple(cells[0])
    for _ in range(2):  # the farthest cell from anywhere is one end; the farthest from there is the other
        search = MCP(cost, fully_connected=True)
        distance, _ = search.find_costs([start])
        reached = np.where(np.isfinite(distance) & bone, distance, -1.0)
        end = tuple(int(v) for v in np.unravel_index(int(np.argmax(reached)), reached.shape))
        path = search.traceback(end)
        start = end
    xy = [(xmin + (col + 0.5) * cell, ymin + (row + 0.5) * cell) for row, col in path]
    if len(xy) < 2:
        return _long_axis(part)
    line = shapely.simplify(shapely.LineString(xy), cell)
    return Line(points=tuple((float(x), float(y)) for x, y in line.coords))


def _long_axis(part: shapely.Polygon) -> Line:
    corners = np.asarray(part.minimum_rotated_rectangle.exterior.coords)[:4]
    first, second = corners[1] - corners[0], corners[2] - corners[1]
    if np.hypot(*first) >= np.hypot(*second):
        a, b = (corners[0] + corners[3]) / 2, (corners[1] + corners[2]) / 2
    else:
        a, b = (corners[0] + corners[1]) / 2, (corners[2] + corners[3]) / 2
    return Line(points=((float(a[0]), float(a[1])), (float(b[0]), float(b[1]))))
