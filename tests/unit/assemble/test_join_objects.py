"""Objects that chip borders cut come together; neighbours do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from geolabel.assemble import assemble_scene
from geolabel.core.dataset import KIND_INDEX, Batch, ImageRef
from geolabel.core.georef import Georeference, Window
from geolabel.errors import InputError

GEOREF = Georeference(crs="EPSG:32636", transform=(0.5, 0, 300000, 0, -0.5, 50000), width=1000, height=1000)


def image(col: int, row: int, size: int = 100, number: int = 0) -> ImageRef:
    window = Window(col=col, row=row, width=size, height=size)
    return ImageRef(
        id=f"chip-{col}-{row}-{number}", task_id=number, width=size, height=size, georef=GEOREF.window(window), scene=0,
        window=window,
    )  # fmt: skip


def join(
    images: list[ImageRef],
    drawn: list[tuple[int, shapely.Geometry]],
    rules: dict[str, Any] | None = None,
    **columns: Any,
) -> tuple[Batch, dict[str, int]]:
    index = np.array([i for i, _ in drawn], dtype=np.int64)
    batch = Batch.of([g for _, g in drawn], task_id=index + 1, annotation_id=index + 10, **columns)
    return assemble_scene(batch, index, images, rules or {})


def cut(images: list[ImageRef], things: list[shapely.Geometry]) -> list[tuple[int, shapely.Geometry]]:
    out = []
    for number, one in enumerate(images):
        w = one.window
        assert w is not None
        box = shapely.box(w.col, w.row, w.col + w.width, w.row + w.height)
        for thing in things:
            piece = shapely.intersection(thing, box)
            if shapely.area(piece) > 0:
                out += [(number, p) for p in shapely.get_parts(piece).tolist() if shapely.area(p) > 0]
    return out


OVERLAPPING = [image(0, 0), image(84, 0)]
TOUCHING = [image(0, 0), image(100, 0)]


@pytest.mark.parametrize("images", [OVERLAPPING, TOUCHING])
def test_a_house_cut_by_the_border_is_one_object_with_both_parts_named(images: list[ImageRef]) -> None:
    house = shapely.box(70, 20, 140, 60)
    objects, counts = join(images, cut(images, [house]))
    assert len(objects) == 1
    assert shapely.equals(objects.geometry[0], house)
    assert len(shapely.get_coordinates(objects.geometry[0])) == 5
    assert objects.sources[0] == "1:10:000000000000,2:11:000000000001"
    assert counts["joined"] == 1
    assert counts["joined_parts"] == 2


def test_a_house_that_both_chips_show_is_kept_once_as_one_person_drew_it() -> None:
    one, other = shapely.box(88, 20, 96, 30), shapely.box(88.5, 20.4, 96.2, 30)
    objects, counts = join(
        OVERLAPPING,
        [(0, one), (1, other)],
        updated=np.array(["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"], dtype=object),
    )
    assert counts["duplicates_removed"] == 1
    assert objects.geometry.tolist() == [other]


def test_a_whole_house_wins_over_the_piece_that_the_next_chip_shows() -> None:
    whole, piece = shapely.box(60, 20, 95, 40), shapely.box(84, 20.5, 95.3, 40)
    objects, _ = join(OVERLAPPING, [(0, whole), (1, piece)])
    assert objects.geometry.tolist() == [whole]


@pytest.mark.parametrize(
    "drawn",
    [
        # side by side at a seam, sharing two of forty pixels of it
        [(0, shapely.box(60, 10, 100, 50)), (1, shapely.box(100, 48, 140, 90))],
        # a long house, and a shorter one built against it
        [(0, shapely.box(60, 10, 100, 90)), (1, shapely.box(100, 10, 140, 45))],
        # touching at the corner only
        [(0, shapely.box(60, 10, 100, 50)), (1, shapely.box(100, 50, 140, 90))],
        # near the seam, not at it
        [(0, shapely.box(60, 10, 95, 50)), (1, shapely.box(105, 10, 140, 50))],
    ],
)
def test_neighbours_at_a_seam_stay_two(drawn: list[tuple[int, shapely.Geometry]]) -> None:
    objects, counts = join(TOUCHING, drawn)
    assert len(objects) == 2
    assert counts["joined"] == 0


def test_neighbours_in_an_overlap_stay_two() -> None:
    # The first is drawn a pixel too far; the second ends before its own border, so it can't be the first going on.
    objects, _ = join(OVERLAPPING, [(0, shapely.box(60, 10, 91, 50)), (1, shapely.box(90, 10, 140, 50))])
    assert len(objects) == 2
    touching, _ = join(OVERLAPPING, [(0, shapely.box(60, 10, 90, 50)), (1, shapely.box(90, 10, 140, 50))])
    assert len(touching) == 2


def test_other_classes_and_predictions_are_not_joined_with_labels() -> None:
    parts = cut(TOUCHING, [shapely.box(70, 20, 140, 60)])
    objects, _ = join(TOUCHING, parts, class_id=np.array([1, 2]))
    assert len(objects) == 2
    objects, _ = join(TOUCHING, parts, predicted=np.array([True, False]))
    assert len(objects) == 2


def test_a_prediction_under_a_label_is_dropped_and_counted() -> None:
    objects, counts = join(
        OVERLAPPING, [(0, shapely.box(86, 20, 98, 30)), (1, shapely.box(86, 20, 98, 31))],
        predicted=np.array([True, False]),
        score=np.array([0.7, np.nan]),
    )  # fmt: skip
    assert counts["predictions_covered"] == 1
    assert objects.predicted.tolist() == [False]


def test_joined_predictions_keep_their_score_and_mark() -> None:
    objects, _ = join(
        TOUCHING,
        cut(TOUCHING, [shapely.box(70, 20, 140, 60)]),
        predicted=np.array([True, True]),
        score=np.array([0.6, 0.8]),
    )
    assert objects.predicted.tolist() == [True]
    assert objects.score.tolist() == [0.8]


def test_a_gap_before_the_seam_is_bridged_and_nothing_else() -> None:
    objects, _ = join(TOUCHING, [(0, shapely.box(60, 10, 99, 50)), (1, shapely.box(101, 10, 140, 50))])
    assert objects.geometry[0].geom_type == "Polygon"
    assert shapely.equals(objects.geometry[0], shapely.box(60, 10, 140, 50))


def test_an_object_over_the_corner_of_four_chips_is_one() -> None:
    images = [image(0, 0), image(100, 0), image(0, 100), image(100, 100)]
    thing = shapely.Point(100, 100).buffer(40)
    objects, counts = join(images, cut(images, [thing]))
    assert len(objects) == 1
    assert counts["joined_parts"] == 4
    assert shapely.area(shapely.symmetric_difference(objects.geometry[0], thing)) < 0.5


def test_a_bend_whose_arms_are_cut_is_one_object() -> None:
    bend = shapely.union_all([shapely.box(60, 10, 70, 90), shapely.box(60, 10, 140, 20), shapely.box(60, 80, 140, 90)])
    objects, _ = join(TOUCHING, cut(TOUCHING, [bend]))
    assert len(objects) == 1
    assert shapely.equals(objects.geometry[0], bend)


@pytest.mark.parametrize("images", [OVERLAPPING, TOUCHING])
def test_a_road_line_goes_on_in_the_next_chip(images: list[ImageRef]) -> None:
    ends = [images[0].window, images[1].window]
    assert ends[0] is not None
    assert ends[1] is not None
    left = shapely.LineString([(10, 10), (100, 55)])
    right = shapely.LineString([(ends[1].col, 10 + (ends[1].col - 10) / 2), (180, 95)])
    objects, counts = join(images, [(0, left), (1, right)])
    assert counts["joined"] == 1
    assert objects.geometry[0].geom_type == "LineString"
    assert objects.geometry[0].hausdorff_distance(shapely.LineString([(10, 10), (180, 95)])) < 0.5


def test_a_tree_point_in_an_overlap_is_kept_once() -> None:
    objects, _ = join(
        OVERLAPPING, [(0, shapely.Point(90, 50)), (1, shapely.Point(91, 50.5)), (1, shapely.Point(96, 50))]
    )
    assert len(objects) == 2


def test_boxes_that_a_border_cuts_stay_boxes() -> None:
    objects, _ = join(TOUCHING, cut(TOUCHING, [shapely.box(70, 20, 140, 60)]), kind=KIND_INDEX["box"])
    assert objects.kind.tolist() == [KIND_INDEX["box"]]


def test_attributes_of_the_largest_part_win_and_conflicts_are_counted() -> None:
    objects, counts = join(
        TOUCHING, cut(TOUCHING, [shapely.box(90, 20, 140, 60)]),
        attributes=[{"roof": "flat", "floors": 2}, {"roof": "gabled"}],
    )  # fmt: skip
    assert counts["attribute_conflicts"] == 1
    assert dict(objects.attribute(0)) == {"roof": "gabled", "floors": 2}


def test_joining_can_be_turned_off_and_unknown_rules_are_refused() -> None:
    parts = cut(TOUCHING, [shapely.box(70, 20, 140, 60)])
    objects, _ = join(TOUCHING, parts, {"join": False})
    assert len(objects) == 2
    with pytest.raises(InputError, match="agrement"):
        join(TOUCHING, parts, {"agrement": 0.5})
    empty, counts = assemble_scene(Batch.empty(), np.empty(0, dtype=np.int64), TOUCHING, {})
    assert len(empty) == 0
    assert counts["objects"] == 0


_CELLS = st.tuples(st.integers(0, 11), st.integers(0, 11), st.integers(4, 22), st.integers(4, 22))


@given(
    st.lists(_CELLS, min_size=1, max_size=40, unique_by=lambda t: t[:2]),
    st.sampled_from([100, 84]),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_cutting_and_joining_gives_back_every_separate_thing(
    cells: list[tuple[int, int, int, int]], step: int, random: Any
) -> None:
    # Things in cells of 25 px, at least 3 px apart, cut by a grid of chips: joined, they are what they were.
    things = [shapely.box(c * 25 + 1, r * 25 + 1, c * 25 + 1 + w - 1, r * 25 + 1 + h - 1) for c, r, w, h in cells]
    images = [image(c * step, r * step) for r in range(4) for c in range(4)]
    parts = cut(images, things)
    random.shuffle(parts)
    objects, counts = join(images, parts)
    assert counts["parts"] == len(parts)
    assert sum(len(s.split(",")) for s in objects.sources.tolist()) == len(parts)
    found = sorted(shapely.normalize(objects.geometry).tolist(), key=lambda g: g.bounds)
    for one, other in zip(found, sorted(things, key=lambda g: g.bounds), strict=True):
        assert shapely.area(shapely.symmetric_difference(one, other)) < 1e-6
