"""Pixels ↔ CRS ↔ longitude and latitude, for every kind of transform."""

from __future__ import annotations

import math

import numpy as np
import pyproj
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geolabel.core.georef import Georeference, Window, crs_text, transform_xy, wrap_longitude
from geolabel.errors import GeoreferenceError

GRIDS = {
    "north-up UTM": ("EPSG:32636", (0.3, 0.0, 452_000.0, 0.0, -0.3, 36_000.0)),
    "south-up UTM": ("EPSG:32736", (10.0, 0.0, 452_000.0, 0.0, 10.0, 9_990_000.0)),
    "rotated": ("EPSG:32633", (0.4, 0.3, 500_100.0, 0.3, -0.4, 5_000_000.0)),
    "geographic": ("EPSG:4326", (1e-4, 0.0, 14.1, 0.0, -1e-4, 46.2)),
    "antimeridian": ("EPSG:4326", (0.01, 0.0, 178.0, 0.0, -0.01, -16.0)),
    "antimeridian UTM": ("EPSG:32760", (30.0, 0.0, 760_000.0, 0.0, -30.0, 8_200_000.0)),
    "web mercator": ("EPSG:3857", (0.075, 0.0, 3_620_000.0, 0.0, -0.075, 37_000.0)),
    "polar": ("EPSG:3031", (100.0, 0.0, -200_000.0, 0.0, -100.0, 200_000.0)),
}


def grid(name: str) -> Georeference:
    crs, transform = GRIDS[name]
    return Georeference(crs=crs, transform=transform, width=400, height=300)


points = st.lists(
    st.tuples(st.floats(0, 400, allow_nan=False), st.floats(0, 300, allow_nan=False)), min_size=1, max_size=20
)


@pytest.mark.parametrize("name", GRIDS)
@given(xy=points)
def test_pixels_to_crs_and_back(name: str, xy: list[tuple[float, float]]) -> None:
    georef = grid(name)
    px = np.array(xy)
    assert np.abs(georef.to_pixel(georef.to_world(px)) - px).max() < 1e-6


@pytest.mark.parametrize("name", GRIDS)
@given(xy=points)
def test_pixels_to_lonlat_and_back(name: str, xy: list[tuple[float, float]]) -> None:
    georef = grid(name)
    px = np.array(xy)
    lonlat = georef.to_lonlat(px)
    assert (np.abs(lonlat[:, 0]) <= 180).all()
    assert np.abs(georef.from_lonlat(lonlat) - px).max() < 1e-4


@pytest.mark.parametrize("name", GRIDS)
@given(col=st.integers(-50, 300), row=st.integers(-50, 200), width=st.integers(1, 200), height=st.integers(1, 200))
def test_a_window_has_the_pixels_of_its_raster(name: str, col: int, row: int, width: int, height: int) -> None:
    georef = grid(name)
    part = georef.window(Window(col=col, row=row, width=width, height=height))
    inner = np.array([[0.0, 0.0], [width / 3, height / 2], [width, height]])
    assert np.allclose(part.to_world(inner), georef.to_world(inner + np.array([col, row])), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", GRIDS)
def test_resampling_keeps_the_corners(name: str) -> None:
    georef = grid(name)
    coarse = georef.resample(100, 100)
    assert np.allclose(coarse.to_world(coarse.corners_px()), georef.to_world(georef.corners_px()), rtol=0, atol=1e-6)


def test_ground_size_of_a_utm_pixel() -> None:
    gsd = grid("north-up UTM").gsd_m()
    assert gsd[0] == pytest.approx(0.3, rel=1e-3)
    assert gsd[1] == pytest.approx(0.3, rel=1e-3)


def test_ground_size_of_a_geographic_pixel_shrinks_with_the_cosine_of_latitude() -> None:
    east, north = grid("geographic").gsd_m()
    assert north == pytest.approx(11.11, rel=0.01)
    assert east == pytest.approx(11.13 * math.cos(math.radians(46.185)), rel=0.01)


def test_web_mercator_metres_are_not_ground_metres() -> None:
    crs, _ = GRIDS["web mercator"]
    far_north = Georeference(crs=crs, transform=(10.0, 0.0, 0.0, 0.0, -10.0, 8_399_738.0), width=10, height=10)
    assert far_north.gsd_m()[0] == pytest.approx(5.0, rel=0.02)  # at 60° north


def test_the_outline_over_the_antimeridian_runs_on() -> None:
    outline = grid("antimeridian").outline_lonlat()
    assert outline[:, 0].max() - outline[:, 0].min() == pytest.approx(4.0, abs=1e-6)
    assert outline[:, 0].max() > 180


def test_positions_agree_with_rasterio() -> None:
    rasterio_transform = pytest.importorskip("rasterio.transform")
    georef = grid("rotated")
    x, y = rasterio_transform.xy(georef.affine, [7.25], [11.5], offset="ul")
    assert np.allclose(georef.to_world(np.array([[11.5, 7.25]]))[0], [x[0], y[0]], rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("crs", "transform", "width", "sentence"),
    [
        ("", (1, 0, 0, 0, -1, 0), 10, "CRS is missing"),
        ("EPSG:32636", (1, 0, 0, 0, 0, 0), 10, "can't be inverted"),
        ("EPSG:32636", (math.nan, 0, 0, 0, -1, 0), 10, "six finite numbers"),
        ("EPSG:32636", (1, 0, 0, 0, -1, 0), 0, "is empty"),
    ],
)
def test_what_can_be_no_georeference_is_refused(
    crs: str, transform: tuple[float, ...], width: int, sentence: str
) -> None:
    with pytest.raises(GeoreferenceError, match=sentence):
        Georeference(crs=crs, transform=transform, width=width, height=10)  # type: ignore[arg-type]


def test_another_planet_has_no_way_to_wgs84() -> None:
    mars = Georeference(crs=crs_text("IAU_2015:49900"), transform=(1, 0, 0, 0, -1, 0), width=5, height=5)
    with pytest.raises(GeoreferenceError, match="planet|no way|no image"):
        mars.to_lonlat(np.array([[0.0, 0.0]]))


def test_points_outside_the_area_of_a_crs_are_refused() -> None:
    with pytest.raises(GeoreferenceError, match="have no image"):
        transform_xy(np.array([[0.0, 91.0]]), "OGC:CRS84", "EPSG:32636")


def test_a_known_crs_is_named_by_its_code_and_an_unknown_one_by_wkt() -> None:
    assert crs_text(pyproj.CRS("EPSG:26914").to_wkt()) == "EPSG:26914"
    own = "+proj=aea +lat_1=31 +lat_2=44 +lat_0=37 +lon_0=-97 +datum=WGS84"
    assert crs_text(own).startswith("PROJCRS[")
    assert pyproj.CRS(crs_text(own)).equals(pyproj.CRS(own))


def test_json_round_trip() -> None:
    for name in GRIDS:
        assert Georeference.from_json(grid(name).to_json()) == grid(name)
    with pytest.raises(GeoreferenceError, match="needs crs, transform"):
        Georeference.from_json({"crs": "EPSG:4326"})


def test_longitudes_are_wrapped_but_180_stays() -> None:
    assert wrap_longitude(np.array([180.0, -180.0, 181.0, -190.0])).tolist() == [180.0, -180.0, -179.0, 170.0]


@pytest.mark.parametrize("name", GRIDS)
def test_threads_may_transform_at_once(name: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    georef = grid(name)
    px = np.random.default_rng(0).uniform(0, 300, (50, 2))
    expected = georef.to_lonlat(px)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: georef.to_lonlat(px), range(16)):
            assert np.array_equal(found, expected)
