"""Shapes in pixels and their way to shapely and back."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from geolabel.core.shapes import (
    Box,
    Ellipse,
    Line,
    Mask,
    MultiPolygon,
    Point,
    Polygon,
    RotatedBox,
    from_shapely,
    mask_outline,
    ring,
    to_shapely,
)
from geolabel.errors import ShapeError

masks = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24), elements=st.integers(0, 1)
)


@given(mask=masks)
def test_mask_runs_round_trip(mask: np.ndarray) -> None:
    stored = Mask.from_array(mask)
    assert (stored.width, stored.height) == (mask.shape[1], mask.shape[0])
    assert np.array_equal(stored.to_array(), mask)


@given(mask=masks)
def test_outline_of_a_mask_has_its_area_and_contains_its_pixel_centres(mask: np.ndarray) -> None:
    outline = mask_outline(mask)
    assert outline.area == pytest.approx(float(mask.sum()))
    rows, cols = np.indices(mask.shape)
    inside = shapely.contains_xy(outline, cols + 0.5, rows + 0.5)
    assert np.array_equal(inside, mask.astype(bool))


@given(mask=masks)
def test_mask_runs_are_those_of_coco(mask: np.ndarray) -> None:
    coco = pytest.importorskip("pycocotools.mask")
    compressed = coco.frPyObjects({"size": list(mask.shape), "counts": list(Mask.from_array(mask).counts)}, *mask.shape)
    assert np.array_equal(coco.decode(compressed), mask)


@given(
    width=st.floats(0.5, 300),
    height=st.floats(0.5, 300),
    angle=st.floats(-720, 720),
    cx=st.floats(-50, 500),
    cy=st.floats(-50, 500),
)
def test_rotated_box_keeps_its_size_and_centre(width: float, height: float, angle: float, cx: float, cy: float) -> None:
    box = RotatedBox(cx=cx, cy=cy, width=width, height=height, angle_deg=angle)
    polygon = to_shapely(box)
    assert polygon.area == pytest.approx(width * height, rel=1e-9)
    assert (polygon.centroid.x, polygon.centroid.y) == pytest.approx((cx, cy), abs=1e-6)
    first, second = box.corners()[:2]
    # Clockwise on screen, where y runs down: a turn of 90° takes the top edge to the right edge.
    direction = math.degrees(math.atan2(second[1] - first[1], second[0] - first[0]))
    assert (direction - angle + 180.0) % 360.0 - 180.0 == pytest.approx(0.0, abs=1e-6)


def test_ellipse_is_turned_clockwise_on_screen() -> None:
    tall = to_shapely(Ellipse(cx=50, cy=50, rx=40, ry=10, angle_deg=90))
    xmin, ymin, xmax, ymax = tall.bounds
    assert (xmax - xmin, ymax - ymin) == pytest.approx((20, 80), rel=1e-2)
    slanted = to_shapely(Ellipse(cx=50, cy=50, rx=40, ry=10, angle_deg=30))
    assert slanted.contains(shapely.Point(50 + 30 * math.cos(math.pi / 6), 50 + 30 * math.sin(math.pi / 6)))


@pytest.mark.parametrize(
    "shape",
    [
        Polygon(
            exterior=((0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (0.0, 10.0)), holes=(((2.0, 2.0), (4.0, 2.0), (3.0, 4.0)),)
        ),
        MultiPolygon(
            parts=(
                Polygon(exterior=((0.0, 0.0), (1.0, 0.0), (1.0, 1.0))),
                Polygon(exterior=((5.0, 5.0), (6.0, 5.0), (6.0, 6.0))),
            )
        ),
        Line(points=((0.0, 0.0), (3.0, 4.0))),
        Point(x=1.5, y=2.5),
    ],
)
def test_shapely_round_trip(shape: Polygon | MultiPolygon | Line | Point) -> None:
    assert from_shapely(to_shapely(shape)) == shape


def test_multipolygon_of_one_part_is_a_polygon() -> None:
    one = shapely.MultiPolygon([shapely.box(0, 0, 1, 1)])
    assert from_shapely(one).kind == "polygon"


def test_ring_drops_the_repeated_last_point() -> None:
    assert ring([(0, 0), (1, 0), (1, 1), (0, 0)]) == ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0))


def test_box_is_upright() -> None:
    assert to_shapely(Box(xmin=1, ymin=2, xmax=4, ymax=8)).bounds == (1, 2, 4, 8)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Mask(width=3, height=3, counts=(1, 2)),
        lambda: Mask(width=1, height=1, counts=(2, -1)),
        lambda: Mask.from_array(np.zeros((2, 2, 2))),
        lambda: to_shapely(Polygon(exterior=((0.0, 0.0), (1.0, 1.0)))),
        lambda: from_shapely(shapely.Polygon()),
        lambda: from_shapely(shapely.GeometryCollection([shapely.Point(0, 0)])),
    ],
)
def test_what_is_no_shape_is_refused(make: object) -> None:
    with pytest.raises(ShapeError):
        make()  # type: ignore[operator]
