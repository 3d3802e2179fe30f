"""Predictions of overlapping chips become one object each."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from geolabel.core.georef import Georeference, Window
from geolabel.core.labels import Region
from geolabel.core.scene import Chip, RenderSpec, chip_id
from geolabel.core.shapes import Line, Mask, from_shapely, to_shapely
from geolabel.core.tiling import Grid, plan_windows
from geolabel.predict.merge import merge_chips

SCENE = Georeference(crs="EPSG:32636", transform=(0.5, 0, 300000, 0, -0.5, 50000), width=2000, height=1000)
RENDER = RenderSpec(bands=(1, 2, 3), rescale=((0.0, 255.0),) * 3)


def chips(grid: Grid = Grid(), factor: float = 1.0) -> dict[str, Chip]:
    out = {}
    for col, row, width, height in plan_windows(SCENE.width, SCENE.height, grid).tolist():
        window = Window(col=col, row=row, width=width, height=height)
        georef = SCENE.window(window)
        georef = georef.resample(round(width * factor), round(height * factor))
        key = chip_id("scene", window, (georef.width, georef.height), RENDER.digest())
        out[key] = Chip(id=key, scene_id="scene", window=window, georef=georef, render=RENDER)
    return out


def seen_by(chip: Chip, thing: shapely.Geometry, label: str = "water", score: float = 0.8) -> list[Region]:
    """What a perfect model says of a thing on one chip."""
    window = chip.window
    here = thing.intersection(
        shapely.box(window.col, window.row, window.col + window.width, window.row + window.height)
    )
    scale = chip.georef.width / window.width
    return [
        Region(
            id=f"{chip.id[:8]}-{label}-{n}",
            shape=from_shapely(shapely.transform(part, lambda xy: (xy - [window.col, window.row]) * scale)),
            label=label,
            score=score,
        )
        for n, part in enumerate(shapely.get_parts(here))
        if isinstance(part, shapely.Polygon) and part.area > 0
    ]


@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_a_long_bar_comes_out_as_one_object(factor: float) -> None:
    bar = shapely.box(150, 420, 1750, 520)
    plan = chips(factor=factor)
    predicted = {key: seen_by(chip, bar) for key, chip in plan.items()}
    assert sum(bool(regions) for regions in predicted.values()) > 4
    per_chip, objects = merge_chips(predicted, plan)
    assert len(objects) == 1
    assert objects[0].geometry.area == pytest.approx(1600 * 100, rel=1e-6)
    assert objects[0].geometry.bounds == pytest.approx((150, 420, 1750, 520), abs=1e-6)
    assert len(objects[0].members) == sum(len(regions) for regions in predicted.values())
    ids = {region.attributes["object"] for regions in per_chip.values() for region in regions}
    assert ids == {objects[0].id}
    for key, regions in per_chip.items():
        expected = sum(to_shapely(region.shape).area for region in predicted[key])
        assert sum(to_shapely(region.shape).area for region in regions) == pytest.approx(expected, abs=1.0)


def test_near_a_chips_edge_the_other_chip_is_believed() -> None:
    plan = chips(Grid(size_px=1000, overlap=0.2))
    left, right = sorted(plan.values(), key=lambda chip: chip.window.col)[:2]
    # The right chip sees the thing whole; the left one draws it too high where it is cut by its edge.
    true, wrong = shapely.box(850, 300, 1300, 400), shapely.box(850, 250, 1000, 400)
    predicted = {left.id: seen_by(left, wrong), right.id: seen_by(right, true)}
    _, objects = merge_chips(predicted, {left.id: left, right.id: right})
    assert len(objects) == 1
    beyond_seam = objects[0].geometry.intersection(shapely.box(905, 0, 2000, 1000))
    assert beyond_seam.bounds[1] == pytest.approx(300)


def test_two_things_beside_each_other_stay_two() -> None:
    plan = chips()
    things = [shapely.box(440, 100, 480, 140), shapely.box(484, 100, 524, 140)]
    predicted = {
        key: [r for n, t in enumerate(things) for r in seen_by(chip, t, score=0.5 + n / 10)]
        for key, chip in plan.items()
    }
    predicted = {
        key: [Region(id=f"{r.id}-{n}", shape=r.shape, label=r.label, score=r.score) for n, r in enumerate(regions)]
        for key, regions in predicted.items()
    }
    _, objects = merge_chips(predicted, plan)
    assert len(objects) == 2


def test_the_weightier_class_wins_where_chips_disagree() -> None:
    plan = chips(Grid(size_px=1000, overlap=0.2))
    left, right = sorted(plan.values(), key=lambda chip: chip.window.col)[:2]
    thing = shapely.box(820, 300, 1200, 400)
    predicted = {left.id: seen_by(left, thing, "road", 0.6), right.id: seen_by(right, thing, "water", 0.9)}
    per_chip, objects = merge_chips(predicted, {left.id: left, right.id: right})
    assert [item.label for item in objects] == ["water"]
    assert {region.label for regions in per_chip.values() for region in regions} == {"water"}


def test_lines_pass_and_masks_stay_masks() -> None:
    plan = chips()
    key, chip = next(iter(plan.items()))
    array = np.zeros((512, 512), np.uint8)
    array[10:40, 10:60] = 1
    line = Region(id="line-000001", shape=Line(points=((0, 0), (5, 5))), label="road", score=0.5)
    mask = Region(id="mask-000001", shape=Mask.from_array(array), label="water", score=0.5)
    per_chip, _ = merge_chips({key: [line, mask]}, {key: chip})
    assert {type(region.shape) for region in per_chip[key]} == {Line, Mask}
    assert line in per_chip[key]


def test_nothing_in_nothing_out() -> None:
    plan = chips()
    per_chip, objects = merge_chips({key: [] for key in plan}, plan)
    assert objects == []
    assert set(per_chip) == set(plan)
