"""Chip plans, computed ids, chips as task data, taxonomies."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geolabel.core.georef import Georeference, Window
from geolabel.core.ids import canonical_json, digest, digest_bytes, new_region_id, region_id
from geolabel.core.scene import Chip, RenderSpec, chip_id
from geolabel.core.taxonomy import LabelClass, Taxonomy, Thresholds
from geolabel.core.tiling import Grid, plan_windows
from geolabel.errors import GeoLabelError, InputError, TaxonomyError


@given(width=st.integers(1, 900), height=st.integers(1, 900), size=st.integers(1, 400), overlap=st.floats(0, 0.85))
def test_shifted_windows_cover_every_pixel_and_stay_inside(width: int, height: int, size: int, overlap: float) -> None:
    grid = Grid(size_px=size, overlap=overlap, edge="shift")
    if (width / grid.stride_px) * (height / grid.stride_px) > 20_000:
        grid = Grid(size_px=400, overlap=overlap, edge="shift")
    windows = plan_windows(width, height, grid)
    covered = np.zeros((height, width), dtype=bool)
    for col, row, w, h in windows:
        assert col >= 0
        assert row >= 0
        assert col + w <= width
        assert row + h <= height
        covered[row : row + h, col : col + w] = True
    assert covered.all()
    assert len({tuple(w) for w in windows.tolist()}) == len(windows)


@given(width=st.integers(1, 600), height=st.integers(1, 600), size=st.integers(20, 400))
def test_padded_windows_have_one_size_and_cover(width: int, height: int, size: int) -> None:
    windows = plan_windows(width, height, Grid(size_px=size, overlap=0.0, edge="pad"))
    assert (windows[:, 2:] == size).all()
    assert windows[:, 0].max() + size >= width
    assert windows[:, 1].max() + size >= height
    assert windows[:, 0].max() < width


@given(width=st.integers(1, 600), height=st.integers(1, 600))
def test_dropping_leaves_only_whole_windows(width: int, height: int) -> None:
    windows = plan_windows(width, height, Grid(size_px=100, overlap=0.1, edge="drop"))
    assert (len(windows) == 0) == (width < 100 or height < 100)
    if len(windows):
        assert (windows[:, 0] + 100 <= width).all()
        assert (windows[:, 1] + 100 <= height).all()


def test_neighbours_share_the_overlap() -> None:
    windows = plan_windows(2000, 512, Grid(size_px=512, overlap=0.125, edge="shift"))
    assert windows[:, 0].tolist() == [0, 448, 896, 1344, 1488]


@pytest.mark.parametrize("bad", [{"size_px": 0}, {"overlap": 0.95}, {"overlap": -0.1}, {"edge": "cut"}])
def test_impossible_grids_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Grid(**bad)  # type: ignore[arg-type]


def test_an_empty_raster_is_refused() -> None:
    with pytest.raises(InputError, match="empty"):
        plan_windows(0, 10, Grid())


def test_ids_are_computed_from_content() -> None:
    assert digest("a", {"x": 1, "y": 2}) == digest("a", {"y": 2, "x": 1})
    assert digest("a", "b") != digest("ab")
    assert digest_bytes([b"ab", b"c"]) == digest_bytes([b"abc"])
    assert region_id("chip", 1) == region_id("chip", 1) != region_id("chip", 2)
    assert len({new_region_id() for _ in range(1000)}) == 1000
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(float("nan"))


def _chip() -> Chip:
    georef = Georeference(
        crs="EPSG:32636", transform=(0.5, 0.0, 300_000.0, 0.0, -0.5, 50_000.0), width=2000, height=2000
    )
    window = Window(col=448, row=0, width=512, height=512)
    render = RenderSpec(bands=(1, 2, 3), rescale=((0.0, 255.0),) * 3, steps=({"op": "toa"},), name="true-colour")
    return Chip(
        id=chip_id("scene", window, (512, 512), render.digest()), scene_id="scene", window=window,
        georef=georef.window(window), render=render, valid_fraction=0.75, cloud_fraction=0.1,
    )  # fmt: skip


def test_a_chip_survives_its_task() -> None:
    chip = _chip()
    assert Chip.from_geo(json.loads(json.dumps(chip.to_geo()))) == chip


@pytest.mark.parametrize("damage", ["schema", "window", "crs", "transform", "size", "render", "chip_id"])
def test_a_damaged_task_is_refused(damage: str) -> None:
    geo = _chip().to_geo()
    del geo[damage]
    with pytest.raises(InputError):
        Chip.from_geo(geo)
    geo[damage] = "?"
    with pytest.raises(InputError) if damage != "chip_id" else _accepts():
        Chip.from_geo(geo)


class _accepts:
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


def _taxonomy() -> Taxonomy:
    return Taxonomy(
        name="t", version="1",
        classes=(
            LabelClass(id=1, name="Building", colour="#ff0000", aliases=("House",), rules=("no_overlap",)),
            LabelClass(id=2, name="Road", shapes=("line",), thresholds=Thresholds(accept=0.8, review=0.3)),
        ),
    )  # fmt: skip


def test_taxonomy_round_trip_and_aliases() -> None:
    taxonomy = _taxonomy()
    assert Taxonomy.from_json(json.loads(json.dumps(taxonomy.to_json()))) == taxonomy
    assert taxonomy.by_name("House").id == 1
    assert "House" in taxonomy
    assert "Tree" not in taxonomy
    with pytest.raises(TaxonomyError, match="Building, Road"):
        taxonomy.by_name("Tree")


@pytest.mark.parametrize(
    "classes",
    [
        [{"id": 0, "name": "a"}],
        [{"id": 1, "name": " "}],
        [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}],
        [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}],
        [{"id": 1, "name": "a", "colour": "red"}],
        [{"id": 1, "name": "a", "shapes": ["circle"]}],
        [{"id": 1, "name": "a", "holes": "none"}],
        [{"id": 1, "name": "a", "color": "#000000"}],
        [{"id": 1, "name": "a", "thresholds": {"accept": 0.2, "review": 0.5}}],
        [{"id": 1, "name": "a", "thresholds": {"accept": 2.0}}],
        [{"id": 1, "name": "a", "thresholds": {"take": 0.5}}],
        [{"id": "one", "name": "a"}],
        [{"name": "a"}],
        ["a"],
        "abc",
    ],
)
def test_a_wrong_taxonomy_is_refused_with_a_sentence(classes: object) -> None:
    with pytest.raises(TaxonomyError):
        Taxonomy.from_json({"name": "t", "version": "1", "classes": classes})


def test_errors_say_who_can_act() -> None:
    def family(kind: type[GeoLabelError]) -> list[type[GeoLabelError]]:
        return [kind, *(sub for child in kind.__subclasses__() for sub in family(child))]

    for kind in family(GeoLabelError):
        assert kind.code
        assert 400 <= kind.status < 600
        assert kind.exit_code > 0
