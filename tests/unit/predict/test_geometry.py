"""Masks become shapes that people can edit."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
import shapely.affinity
from hypothesis import given
from hypothesis import strategies as st

from geolabel.core.shapes import Ellipse, Line, Mask, Polygon, RotatedBox, to_shapely
from geolabel.core.taxonomy import LabelClass
from geolabel.predict.geometry import (
    Budget,
    GeometryRules,
    MaskObject,
    burn,
    label_polygons,
    regions_from_objects,
    simplify_together,
)
from geolabel.predict.rectangles import regularise


def classes(**fields):
    return {"building": LabelClass(id=1, name="building", **fields)}


def regions(objects, label_classes, *, size=100, gsd_m=1.0, rules=None):
    return regions_from_objects(
        objects, classes=label_classes, width=size, height=size, gsd_m=gsd_m, chip_id="chip", source="test", rules=rules
    )


def of(geometry, score=0.9, label="building"):
    return MaskObject(geometry=geometry, label=label, score=score)


def test_outlines_follow_pixels_exactly() -> None:
    image = np.zeros((20, 20), np.int32)
    image[2:9, 3:12] = 1
    image[4:6, 5:8] = 0
    image[12:18, 1:19] = 2
    outlines = label_polygons(image)
    assert outlines[1].area == (image == 1).sum()
    assert len(outlines[1].interiors) == 1
    assert outlines[2].equals(shapely.box(1, 12, 19, 18))


def test_neighbours_keep_a_common_border_when_simplified() -> None:
    rng = np.random.default_rng(1)
    edge = np.clip(np.cumsum(rng.integers(-1, 2, 60)) + 30, 5, 55)
    image = np.where(np.arange(60)[None, :] < edge[:, None], 1, 2).astype(np.int32)
    outlines = label_polygons(image)
    left, right = simplify_together([outlines[1], outlines[2]], 1.5)
    assert shapely.get_num_coordinates(left) < shapely.get_num_coordinates(outlines[1]) / 2
    assert left.intersection(right).area == pytest.approx(0, abs=1e-9)
    assert left.union(right).area == pytest.approx(3600)


@given(
    angle=st.floats(0, 89),
    width=st.floats(20, 40),
    ratio=st.floats(0.4, 1.0),
)
def test_a_rasterised_roof_gets_right_angles_back(angle: float, width: float, ratio: float) -> None:
    true = shapely.affinity.rotate(shapely.box(0, 0, width, max(12.0, width * ratio)), angle)
    true = shapely.affinity.translate(true, 60 - true.centroid.x, 60 - true.centroid.y)
    outline = label_polygons(burn([(true, 1)], 120, 120))[1]
    found, _ = regions([of(outline)], classes(rectangular=True), size=120)
    ring = np.asarray(found[0].shape.exterior)
    steps = np.roll(ring, -1, axis=0) - ring
    turns = [
        abs(float(np.dot(a, b))) / (math.hypot(*a) * math.hypot(*b))
        for a, b in zip(steps, np.roll(steps, -1, axis=0), strict=True)
    ]
    assert max(turns) < 1e-6
    polygon = to_shapely(found[0].shape)
    assert polygon.intersection(true).area / polygon.union(true).area > 0.8


def test_an_l_shaped_roof_keeps_its_corner() -> None:
    shape = shapely.affinity.rotate(shapely.Polygon([(20, 20), (70, 20), (70, 40), (45, 40), (45, 80), (20, 80)]), 20)
    found = regularise(label_polygons(burn([(shape, 1)], 100, 100))[1].simplify(1.0), 1.0)
    assert len(found.exterior.coords) - 1 == 6
    assert found.intersection(shape).area / found.union(shape).area > 0.9


def test_a_round_thing_is_left_round() -> None:
    disc = shapely.Point(50, 50).buffer(20)
    found = regularise(disc, 1.0)
    assert found.intersection(disc).area / found.union(disc).area > 0.95


def test_near_the_edge_outlines_end_on_it() -> None:
    found, _ = regions([of(shapely.box(0.8, 10, 40, 99.1))], classes())
    assert to_shapely(found[0].shape).bounds == (0.0, 10.0, 40.0, 100.0)


def test_small_things_are_dropped_and_counted() -> None:
    found, dropped = regions(
        [of(shapely.box(10, 10, 12, 12)), of(shapely.box(20, 20, 60, 60)), of(shapely.box(0, 0, 9, 9), label="ghost")],
        classes(min_area_m2=5.0),
    )
    assert len(found) == 1
    assert dropped == {"too small": 1, "unknown class": 1}


def test_budgets_keep_the_surest_and_report_the_rest() -> None:
    many = [of(shapely.box(x, y, x + 3, y + 3), score=(x + y) / 200) for x in range(0, 90, 5) for y in range(0, 90, 5)]
    rules = GeometryRules(budget=Budget(regions=20))
    found, dropped = regions(many, classes(), rules=rules)
    assert len(found) == 20
    assert dropped["over the region budget"] == len(many) - 20
    assert min(region.score for region in found) >= sorted(item.score for item in many)[-20]


def test_too_many_vertices_are_simplified_before_anything_is_dropped() -> None:
    wavy = shapely.Point(50, 50).buffer(45, quad_segs=2000)
    found, dropped = regions([of(wavy)], classes(), rules=GeometryRules(tolerance_m=1e-6, budget=Budget(vertices=400)))
    assert len(found) == 1
    assert dropped == {} or "over the vertex budget" not in dropped


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("mask", Mask), ("rotated_box", RotatedBox), ("ellipse", Ellipse), ("line", Line), ("polygon", Polygon)],
)
def test_the_class_decides_the_shape(kind, expected) -> None:
    bar = shapely.affinity.rotate(shapely.box(10, 40, 90, 52), 15)
    found, _ = regions([of(bar)], classes(shapes=(kind,)))
    assert isinstance(found[0].shape, expected)
    if kind == "rotated_box":
        again = to_shapely(found[0].shape)
        assert again.intersection(bar).area / again.union(bar).area > 0.98
    if kind == "line":
        assert 60 < to_shapely(found[0].shape).length < 95


def test_holes_stay_as_the_class_wants() -> None:
    ring = shapely.box(10, 10, 60, 60).difference(shapely.box(25, 25, 45, 45))
    paired, _ = regions([of(ring)], classes())
    assert len(paired[0].shape.holes) == 1
    masked, _ = regions([of(ring)], classes(shapes=("polygon", "mask"), holes="bitmask"))
    assert masked[0].shape.to_array().sum() == 2500 - 400


def test_ids_are_the_same_for_the_same_mask() -> None:
    first, _ = regions([of(shapely.box(10, 10, 40, 40))], classes())
    second, _ = regions([of(shapely.box(10, 10, 40, 40))], classes())
    assert first == second
    assert len(first[0].id) >= 10
