"""Tiling plans: sizes, edges, areas, features, samples, XYZ, ids."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from geolabel.core.georef import Georeference, Window
from geolabel.core.plans import PlanSpec, chip_ids, meets, plan_scene, xyz_georef
from geolabel.core.scene import chip_id
from geolabel.errors import InputError

UTM = Georeference(crs="EPSG:32636", transform=(0.5, 0, 300000, 0, -0.5, 50000), width=3000, height=2000)


def test_ids_equal_those_of_single_chips() -> None:
    """The fast way to make many ids gives the same ids."""
    plan = plan_scene("abc", "r1", UTM, PlanSpec(size_px=512))
    ids = chip_ids("abc", plan.windows, None, "r1")
    for identity, (col, row, width, height) in zip(ids, plan.windows.tolist(), strict=True):
        window = Window(col=col, row=row, width=width, height=height)
        assert identity == chip_id("abc", window, (width, height), "r1")
    resampled = chip_ids("abc", plan.windows[:1], (256, 256), "r1")[0]
    assert resampled == chip_id("abc", Window(col=0, row=0, width=512, height=512), (256, 256), "r1")
    assert len(set(ids)) == len(ids)


@given(
    st.integers(1, 2500),
    st.integers(1, 2500),
    st.sampled_from([64, 100, 512]),
    st.sampled_from([0.0, 0.125, 0.5]),
    st.sampled_from(["shift", "pad"]),
)
def test_every_pixel_lies_in_a_window(width: int, height: int, size: int, overlap: float, edge: str) -> None:
    """Shift and pad leave no pixel out."""
    georef = Georeference(crs="EPSG:32636", transform=(1, 0, 300000, 0, -1, 50000), width=width, height=height)
    spec = PlanSpec(size_px=size, overlap=overlap, edge=edge)  # type: ignore[arg-type]
    windows = plan_scene("s", "r", georef, spec).windows
    for axis, length in ((0, width), (1, height)):
        covered = np.zeros(length, dtype=bool)
        for start, extent in np.unique(windows[:, [axis, axis + 2]], axis=0).tolist():
            covered[start : start + extent] = True
        assert covered.all()


def test_ground_size_makes_chips_of_one_size_in_pixels() -> None:
    """100 m at 0.5 m a pixel is 200 px, shown as 512."""
    plan = plan_scene("s", "r", UTM, PlanSpec(size_px=512, ground_m=100.0))
    assert plan.size_px == (512, 512)
    assert set(plan.windows[:, 2].tolist()) == {200}


def test_area_and_features() -> None:
    """Only chips that share area with the AOI; one chip around each feature, none twice."""
    area = shapely.box(300000, 49744, 300256, 50000)
    plan = plan_scene("s", "r", UTM, PlanSpec(size_px=512, overlap=0.0), aoi=area)
    assert plan.windows.tolist() == [[0, 0, 512, 512]]
    assert plan.left_out["outside the area of interest"] > 0
    points = np.array([[300700.0, 49500.0], [300701.0, 49500.0], [1.0, 1.0]])
    around = plan_scene("s", "r", UTM, PlanSpec(size_px=256), around=points)
    assert len(around.windows) == 1
    assert around.left_out == {"features outside the scene": 1, "features sharing a chip with another": 1}
    col, row = around.windows[0, :2]
    assert col <= 1400 < col + 256
    assert row <= 1000 < row + 256


def test_sample_is_spread_and_repeatable() -> None:
    """A sample of 8 reaches all quarters of the scene and is the same every time."""
    spec = PlanSpec(size_px=64, overlap=0.0, sample=8)
    first, second = plan_scene("s", "r", UTM, spec), plan_scene("s", "r", UTM, spec)
    assert first.windows.tolist() == second.windows.tolist()
    assert len(first.windows) == 8
    halves = {(bool(c > 1500), bool(r > 1000)) for c, r in first.windows[:, :2].tolist()}
    assert len(halves) == 4


def test_xyz_grid_holds_whole_tiles() -> None:
    """The grid of a zoom starts and ends at tiles and covers the scene."""
    grid = xyz_georef(UTM, 17, 256)
    tile_m = 2 * 20037508.342789244 / 2**17
    assert grid.width % 256 == 0
    assert (grid.transform[2] + 20037508.342789244) / tile_m == pytest.approx(
        round((grid.transform[2] + 20037508.342789244) / tile_m), abs=1e-6
    )
    low = grid.to_pixel(np.array([grid.bounds()[:2]]))
    assert low[0, 0] == pytest.approx(0, abs=1e-6)
    corner = grid.from_lonlat(UTM.to_lonlat(np.array([[0.0, 0.0], [3000.0, 2000.0]])))
    assert (corner >= -1e-6).all()
    assert (corner <= [grid.width, grid.height]).all()


@pytest.mark.parametrize(
    ("spec", "phrase"),
    [
        ({"size_px": 5000}, "4096"),
        ({"size_px": 0}, "at least 1 px"),
        ({"overlap": 0.95}, "fraction"),
        ({"ground_m": -1.0}, "above 0"),
        ({"zoom": 30}, "outside 0 to 24"),
        ({"edge": "wrap"}, "unknown"),
    ],
)
def test_wrong_plans_are_refused(spec: dict[str, object], phrase: str) -> None:
    """Each wrong wish has its sentence."""
    with pytest.raises(InputError, match=phrase):
        PlanSpec(**spec)  # type: ignore[arg-type]


def test_touching_is_not_meeting() -> None:
    """A chip that only touches the area's edge is left out."""
    windows = np.array([[0, 0, 100, 100], [100, 0, 100, 100]], dtype=np.int64)
    area = shapely.box(300000, 49950, 300050, 50000)
    assert meets(windows, UTM, area).tolist() == [True, False]
