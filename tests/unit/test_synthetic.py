"""The made scene: the same seed gives the same town, and its truth fits its pixels."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from geolabel.local.synthetic_layout import Layout, plan_layout
from geolabel.local.synthetic_paint import paint

SIZE_PX = 768


@pytest.fixture(scope="module")
def layout() -> Layout:
    return plan_layout(3, SIZE_PX)


def test_same_seed_same_pixels_other_seed_other_pixels(layout: Layout) -> None:
    first = paint(layout, 3)
    assert first.shape == (SIZE_PX, SIZE_PX, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, paint(plan_layout(3, SIZE_PX), 3))
    assert not np.array_equal(first, paint(plan_layout(4, SIZE_PX), 4))


def test_truth_holds_every_class_as_valid_polygons_within_the_scene(layout: Layout) -> None:
    truth = list(layout.truth())
    assert {name for name, _ in truth} == {"Building", "Road", "Water", "Tree"}
    frame = shapely.box(0, 0, SIZE_PX, SIZE_PX)
    assert all(polygon.is_valid and frame.buffer(1e-6).contains(polygon) for _, polygon in truth)


def test_buildings_do_not_touch_each_other_nor_roads_nor_water(layout: Layout) -> None:
    outlines = [building.outline for building in layout.buildings]
    assert len(outlines) > 10
    tree = shapely.STRtree(outlines)
    left, right = tree.query(outlines, predicate="intersects")
    assert np.array_equal(left, right)
    blocked = shapely.union(layout.roads, layout.water)
    assert not any(blocked.intersects(outline) for outline in outlines)
