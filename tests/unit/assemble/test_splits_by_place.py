"""Splits: groups that lie together go together, classes are spread, nothing leaks over a buffer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geolabel.assemble import split_images
from geolabel.assemble.splits import _outlines
from geolabel.core.dataset import ImageRef, SceneRef
from geolabel.core.georef import Georeference, Window
from geolabel.errors import InputError

GEOREF = Georeference(crs="EPSG:32636", transform=(1.0, 0, 300000, 0, -1.0, 50000), width=4096, height=4096)
SCENES = [
    SceneRef(id=f"s{i}", georef=GEOREF, region=("north", "south")[i % 2], acquired=f"2026-0{i + 1}-01T00:00:00Z")
    for i in range(4)
]


def chip(name: str, scene: int, window: Window, georef: Georeference) -> ImageRef:
    size = window.width
    return ImageRef(
        id=name, task_id=1, width=size, height=size, scene=scene, window=window, georef=georef.window(window)
    )  # fmt: skip


def images(per_side: int = 16, step: int = 100, size: int = 100, scenes: int = 1) -> list[ImageRef]:
    out = []
    for row in range(per_side):
        for col in range(per_side):
            window = Window(col=col * step, row=row * step, width=size, height=size)
            scene = (row * per_side + col) % scenes
            out.append(chip(f"{row}-{col}", scene, window, GEOREF))
    return out


def counted(n: int, classes: int = 3, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    return rng.poisson(3, (n, classes)) * (rng.random((n, classes)) < [1.0, 0.5, 0.05][:classes])


def nearest(images: list[ImageRef], splits: list[str]) -> float:
    shapes = _outlines(images)
    names = sorted(set(splits) - {""})
    groups = [shapely.union_all(shapes[[i for i, s in enumerate(splits) if s == name]]) for name in names]
    return min(shapely.distance(a, b) for i, a in enumerate(groups) for b in groups[i + 1 :])


def test_blocks_hold_the_shares_and_spread_a_rare_class() -> None:
    chips = images(24)
    counts = counted(len(chips))
    splits, report = split_images(chips, SCENES[:1], {"block_m": 300}, counts)
    share = {s: splits.count(s) / len(splits) for s in ("train", "val", "test")}
    assert share["train"] == pytest.approx(0.7, abs=0.06)
    assert share["val"] == pytest.approx(0.15, abs=0.06)
    rare = {s: counts[[i for i, x in enumerate(splits) if x == s], 2].sum() / counts[:, 2].sum() for s in share}
    assert rare["train"] == pytest.approx(0.7, abs=0.1)
    assert min(rare.values()) > 0.05
    assert report["left_out"] == 0
    assert sum(sum(v) for v in report["records"].values()) == counts.sum()


@settings(max_examples=20)
@given(st.integers(0, 60), st.sampled_from([60, 90, 100]), st.integers(0, 5))
def test_no_two_splits_come_nearer_than_the_buffer(buffer_m: int, step: int, seed: int) -> None:
    chips = images(10, step=step)
    rules = {"block_m": 350, "buffer_m": buffer_m, "seed": seed}
    splits, report = split_images(chips, SCENES[:1], rules, counted(len(chips)))
    assert report["left_out"] == splits.count("")
    assert nearest(chips, splits) >= buffer_m - 1e-6 if buffer_m else True
    shapes = _outlines(chips)
    i, j = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    mixed = [
        bool(splits[a] and splits[b] and splits[a] != splits[b]) for a, b in zip(i.tolist(), j.tolist(), strict=True)
    ]
    assert (shapely.area(shapely.intersection(shapes[i], shapes[j]))[mixed] < 0.01 * step**2).all()


def test_the_same_seed_gives_the_same_splits_in_any_order_of_images() -> None:
    chips = images(12)
    counts = counted(len(chips))
    one, _ = split_images(chips, SCENES[:1], {"seed": 3}, counts)
    again, _ = split_images(chips, SCENES[:1], {"seed": 3}, counts)
    back, _ = split_images(chips[::-1], SCENES[:1], {"seed": 3}, counts[::-1])
    other, _ = split_images(chips, SCENES[:1], {"seed": 4, "block_m": 100}, counts)
    assert one == again == back[::-1]
    assert one != other


@pytest.mark.parametrize("by, groups", [("scenes", 4), ("regions", 2), ("dates", 4)])
def test_splits_by_scene_region_or_date_keep_groups_whole(by: str, groups: int) -> None:
    chips = images(8, scenes=4)
    spread = []
    for one in chips:
        assert one.window is not None
        a, b, c, d, e, f = GEOREF.transform
        moved = Georeference(crs=GEOREF.crs, transform=(a, b, c + 1e4 * one.scene, d, e, f), width=4096, height=4096)
        spread.append(chip(one.id, one.scene, one.window, moved))
    splits, report = split_images(spread, SCENES, {"by": by}, counted(len(spread)))
    assert len(report["groups"]) == groups
    assert len({(s, c.scene) for s, c in zip(splits, spread, strict=True)}) == 4


def test_a_region_can_be_held_out() -> None:
    chips = images(8, scenes=2)
    splits, _ = split_images(
        chips, SCENES[:2], {"by": "regions", "fixed": {"region south": "test"}}, counted(len(chips))
    )
    assert {s for s, c in zip(splits, chips, strict=True) if c.scene == 1} == {"test"}


def test_images_without_a_place_are_split_too() -> None:
    chips = [ImageRef(id=f"t{i}", task_id=i, width=10, height=10) for i in range(40)]
    splits, _ = split_images(chips, [], {}, counted(40))
    assert set(splits) == {"train", "val", "test"}


@pytest.mark.parametrize(
    "rules",
    [{"by": "colour"}, {"fractions": {"train": 0.5}}, {"block_m": -1}, {"fixed": {"a": "b"}}, {"seeed": 1}],
)
def test_wrong_rules_are_refused(rules: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        split_images(images(2), SCENES[:1], rules, counted(4))
    with pytest.raises(InputError, match="region"):
        split_images(images(2), [SceneRef(id="x", georef=GEOREF)], {"by": "regions"}, counted(4))


def test_neighbours_over_the_antimeridian_are_neighbours() -> None:
    plane = Georeference(crs="EPSG:4326", transform=(0.001, 0, 179.95, 0, -0.001, 0.05), width=100, height=100)
    left, right = Window(col=0, row=0, width=50, height=50), Window(col=50, row=0, width=50, height=50)
    chips = [chip(str(w.col), 0, w, plane) for w in (left, right)]
    shapes = _outlines(chips)
    assert shapely.distance(shapes[0], shapes[1]) < 1.0
