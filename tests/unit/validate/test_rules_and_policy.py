"""Each rule finds its fault and nothing else; policy decides what follows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from geolabel.core.dataset import KIND_INDEX, Batch, ImageRef, SceneRef
from geolabel.core.georef import Georeference, Window
from geolabel.core.taxonomy import LabelClass, Taxonomy
from geolabel.errors import InputError, NotFoundError
from geolabel.validate import Layer, Policy, check, check_stream, gate
from geolabel.validate.registry import all_rules, rule_named

SCENE = Georeference(crs="EPSG:32636", transform=(0.5, 0, 500000, 0, -0.5, 50000), width=1000, height=1000)
SCENES = [SceneRef(id="s", georef=SCENE)]


def image(col: int = 0) -> ImageRef:
    window = Window(col=col, row=0, width=100, height=100)
    return ImageRef(
        id=f"c{col}", task_id=col + 1, width=100, height=100, georef=SCENE.window(window), scene=0, window=window
    )


IMAGES = [image(0), image(100)]
TAXONOMY = Taxonomy(
    name="t",
    version="1",
    classes=(
        LabelClass(id=1, name="house", rules=("no_overlap",), min_area_m2=4.0),
        LabelClass(id=2, name="field", rules=("no_gap",)),
        LabelClass(id=3, name="road", shapes=("line",), min_length_m=5.0),
        LabelClass(id=4, name="tree", shapes=("point", "polygon")),
    ),
)
SQUARE = shapely.box(10, 10, 30, 30)
BOW = shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
SPIKY = shapely.Polygon([(0, 0), (20, 0), (20, 9), (40, 9.1), (20, 9.2), (20, 20), (0, 20)])
with np.errstate(invalid="ignore"):
    NO_NUMBERS = shapely.Polygon([(0, 0), (np.nan, 5), (5, 5)])
RING_OF_FIELDS = [
    shapely.box(0, 0, 30, 10), shapely.box(0, 20, 30, 30), shapely.box(0, 10, 10, 20), shapely.box(20, 10, 30, 20),
]  # fmt: skip


def codes(shapes: list[Any], images: list[ImageRef] | None = None, **columns: Any) -> list[tuple[str, int]]:
    batch = Batch.of(shapes, **columns)
    layer, _ = Layer.of_parts(batch, images or IMAGES, SCENES, TAXONOMY)
    rules = [rule for rule in all_rules() if rule.spec.on]
    return [(rule.spec.code, int(row)) for rule, found in check(layer, rules) for row in found.rows]


@pytest.mark.parametrize(
    "shapes, columns, expected",
    [
        ([SQUARE], {}, []),
        ([shapely.Polygon()], {}, [("GEO001", 0)]),
        ([NO_NUMBERS], {}, [("GEO002", 0)]),
        ([BOW], {}, [("GEO010", 0)]),
        ([shapely.Polygon([(0, 0), (5, 5), (9, 9)])], {}, [("GEO011", 0)]),
        ([shapely.LineString([(1, 1), (1, 1)])], {"class_id": 3}, [("GEO011", 0), ("GEO032", 0)]),
        ([shapely.Polygon([(0, 0), (20, 0), (20, 0), (20, 20)])], {}, [("GEO012", 0)]),
        ([SPIKY], {}, [("GEO013", 0)]),
        ([shapely.box(5, 5, 85, 5.5)], {}, [("GEO014", 0)]),
        ([SQUARE, SQUARE], {}, [("GEO020", 1)]),
        ([shapely.Point(3, 3), shapely.Point(3, 3)], {"class_id": 4}, [("GEO020", 1)]),
        ([SQUARE, shapely.box(10, 10, 30, 31)], {}, [("GEO021", 1)]),
        ([SQUARE, shapely.box(25, 10, 45, 30)], {}, [("GEO022", 1)]),
        ([SQUARE, shapely.box(30, 10, 50, 30)], {}, []),
        ([SQUARE, SQUARE], {"class_id": np.array([1, 4])}, [("GEO023", 1)]),
        ([SQUARE, SQUARE], {"frame": np.array([0, 1])}, []),
        (RING_OF_FIELDS, {"class_id": 2}, [("GEO024", 0)]),
        ([shapely.box(0, 0, 30, 30), shapely.box(31, 0, 60, 30)], {"class_id": 2}, [("GEO024", 0)]),
        ([shapely.box(0, 0, 30, 30), shapely.box(30, 0, 60, 30)], {"class_id": 2}, []),
        ([shapely.box(0, 0, 30, 30), shapely.box(50, 0, 60, 30)], {"class_id": 2}, []),
        ([shapely.Polygon(SQUARE.exterior, [shapely.box(15, 15, 20, 20).exterior])], {"class_id": 2}, []),
        ([shapely.box(0, 0, 3, 3)], {}, [("GEO030", 0)]),
        ([shapely.LineString([(0, 0), (8, 0)])], {"class_id": 3}, [("GEO032", 0)]),
        ([shapely.box(90, 10, 102, 30)], {}, [("GEO040", 0)]),
        ([shapely.box(90, 10, 100.2, 30)], {}, []),
        ([SQUARE], {"class_id": 9}, [("GEO050", 0)]),
        ([SQUARE], {"class_id": 4, "kind": np.array([KIND_INDEX["ellipse"]])}, [("GEO051", 0)]),
    ],
)
def test_a_fault_is_found_and_nothing_else(shapes: list[Any], columns: dict[str, Any], expected: list[Any]) -> None:
    assert codes(shapes, **columns) == expected


def test_an_image_off_its_grid_or_in_another_crs_is_found() -> None:
    a, b, c, d, e, f = SCENE.transform
    moved = Georeference(crs=SCENE.crs, transform=(a, b, c + 0.02, d, e, f), width=100, height=100)
    other = Georeference(crs="EPSG:32637", transform=SCENE.transform, width=100, height=100)
    assert codes([SQUARE], [replace(IMAGES[0], georef=moved)]) == [("GEO053", 0)]
    assert codes([SQUARE], [replace(IMAGES[0], georef=other)]) == [("GEO053", 0)]
    batch = Batch.of([SQUARE, SQUARE], frame=np.array([0, 1]))
    kept, issues = gate(batch, [replace(IMAGES[0], georef=moved), IMAGES[1]], SCENES, TAXONOMY, {"policy": "exclude"})
    assert kept.frame.tolist() == [1]
    assert issues[0].facts["value"] == pytest.approx(0.04)


def test_records_on_nodata_are_found_where_the_valid_outline_is_known() -> None:
    batch = Batch.of([SQUARE, shapely.box(60, 60, 90, 90)], frame=np.array([0, 0]))
    _, issues = gate(batch, IMAGES, SCENES, TAXONOMY, {}, valid={0: shapely.box(0, 0, 50, 100)})
    assert [(i.code, i.region_id) for i in issues] == [("GEO041", batch.id[1])]


def test_limits_in_metres_follow_the_ground_not_the_projection() -> None:
    # Web Mercator at 60° north: a unit is half a metre on the ground, so 4 × 4 units are 4 m².
    y = 8399737.89
    plane = Georeference(crs="EPSG:3857", transform=(1, 0, 0, 0, -1, y), width=100, height=100)
    north = ImageRef(id="n", task_id=1, width=100, height=100, georef=plane)
    assert codes([shapely.box(0, 0, 3.9, 3.9)], [north]) == [("GEO030", 0)]
    assert codes([shapely.box(0, 0, 4.1, 4.1)], [north]) == []


def run(shapes: list[Any], policy: dict[str, Any], **columns: Any) -> tuple[Batch, list[tuple[str, Any]]]:
    batch = Batch.of(shapes, **columns)
    kept, issues = gate(batch, IMAGES, SCENES, TAXONOMY, policy)
    return kept, [(i.code, i.facts["action"]) for i in issues]


def test_report_keeps_everything_and_says_where() -> None:
    kept, issues = run([BOW, SQUARE], {})
    assert len(kept) == 2
    assert issues == [("GEO010", "reported")]
    batch = Batch.of([BOW], frame=np.array([1]))
    _, found = gate(batch, IMAGES, SCENES, TAXONOMY, {})
    assert found[0].chip_id == "c100"
    assert found[0].where == pytest.approx(tuple(IMAGES[1].georef.to_lonlat(np.array([[5.0, 5.0]]))[0]), abs=1e-6)  # type: ignore[union-attr]
    assert found[0].fix is not None
    assert found[0].to_json()["fix"]["name"] == "make_valid"


def test_refuse_names_the_codes_and_counts() -> None:
    with pytest.raises(InputError, match="GEO010 self-intersection × 2"):
        run([BOW, shapely.affinity.translate(BOW, 50, 50)], {"policy": "refuse"})
    assert len(run([SPIKY], {"policy": "refuse"})[0]) == 1  # warnings do not stop


def test_exclude_leaves_out_with_reason_and_keeps_the_first_of_duplicates() -> None:
    kept, issues = run([BOW, SQUARE, SQUARE, SPIKY], {"policy": "exclude", "rules": {"overlap": "ignore"}})
    assert len(kept) == 2
    assert issues == [("GEO013", "reported"), ("GEO010", "excluded"), ("GEO020", "excluded")]


def test_fix_mends_and_tells() -> None:
    shapes = [BOW, SPIKY, shapely.box(90, 40, 120, 60), shapely.Polygon()]
    kept, issues = run(shapes, {"policy": "fix", "rules": {"overlap": "ignore"}})
    assert len(kept) == 3
    assert shapely.is_valid(kept.geometry).all()
    assert kept.geometry[0].area == pytest.approx(50)
    assert kept.kind[0] == KIND_INDEX["multipolygon"]
    assert shapely.equals(kept.geometry[1], shapely.box(0, 0, 20, 20))
    assert kept.geometry[2].bounds == (90, 40, 100, 60)
    assert sorted(issues) == [("GEO001", "excluded"), ("GEO010", "fixed"), ("GEO013", "fixed"), ("GEO040", "fixed")]


def test_what_a_fix_cannot_mend_is_left_out_and_told() -> None:
    kept, issues = run([shapely.box(150, 40, 160, 60)], {"policy": "fix"})
    assert len(kept) == 0
    assert ("GEO001", "excluded") in issues


def test_a_rule_can_be_turned_on_off_or_given_its_own_action() -> None:
    clockwise = shapely.reverse(SQUARE) if shapely.is_ccw(SQUARE.exterior) else SQUARE
    assert run([clockwise], {})[1] == []
    assert run([clockwise], {"rules": {"winding": "report"}})[1] == [("GEO015", "reported")]
    kept, issues = run([clockwise], {"rules": {"winding": "fix"}})
    assert issues == [("GEO015", "fixed")]
    assert shapely.is_ccw(kept.geometry[0].exterior)
    assert run([SPIKY], {"options": {"spike_deg": 0.1}})[1] == []
    assert len(run([SPIKY], {"rules": {"GEO013": "exclude"}})[0]) == 0


@pytest.mark.parametrize(
    "policy, error",
    [
        ({"policy": "maybe"}, InputError),
        ({"polcy": "fix"}, InputError),
        ({"rules": {"GEO999": "fix"}}, NotFoundError),
        ({"rules": {"duplicate": "fix"}}, InputError),
        ({"rules": {"spike": "mend"}}, InputError),
        ({"options": {"spikes": 1}}, InputError),
    ],
)
def test_wrong_policies_are_refused(policy: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        Policy.from_json(policy)


_POINT = st.tuples(st.integers(0, 100), st.integers(0, 100))


@given(st.lists(st.lists(_POINT, min_size=3, max_size=9), min_size=1, max_size=6))
def test_whatever_is_drawn_the_fix_policy_leaves_only_sound_areas(rings: list[list[tuple[int, int]]]) -> None:
    batch = Batch.of([shapely.Polygon(ring) for ring in rings])
    kept, issues = gate(batch, IMAGES, SCENES, TAXONOMY, {"policy": "fix", "rules": {"overlap": "ignore"}})
    assert shapely.is_valid(kept.geometry).all()
    assert (shapely.area(kept.geometry) > 0).all()
    assert len({i.region_id for i in issues if i.facts["action"] == "excluded"}) >= len(batch) - len(kept)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(1, 30), st.integers(0, 2)), max_size=30))
def test_overlaps_are_those_that_every_pair_in_turn_gives(boxes: list[tuple[int, int, int, int]]) -> None:
    shapes = [shapely.box(x, y, x + size, y + size) for x, y, size, _ in boxes]
    frames = [frame for *_, frame in boxes]
    layer = Layer.of(shapes, frame=frames, frames=3, taxonomy=TAXONOMY)
    pairs = layer.pairs
    right = {
        (i, j)
        for i in range(len(shapes))
        for j in range(i + 1, len(shapes))
        if frames[i] == frames[j] and shapes[i].intersection(shapes[j]).area > 0
    }
    assert set(zip(pairs.one.tolist(), pairs.other.tolist(), strict=True)) == right


def test_a_stream_on_threads_keeps_order() -> None:
    assert list(check_stream(range(50), lambda n: n * n, threads=3)) == [n * n for n in range(50)]
    assert rule_named("GEO010").spec.name == "self-intersection"
