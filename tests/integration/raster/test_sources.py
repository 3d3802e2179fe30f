"""Sources: objects by ranges, Zarr 2 and 3, STAC, mosaics, conversion, normalised grids, damaged files, QA bands."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pystac
import pytest
import rasterio
from rasterio.shutil import copy
from rasterio.transform import from_origin

from geolabel.core.georef import Georeference, Window
from geolabel.core.plans import PlanSpec
from geolabel.core.scene import Scene
from geolabel.errors import InputError
from geolabel.pipeline.chip_index import index_key, read_rows
from geolabel.pipeline.ingest import ingest
from geolabel.pipeline.ingest_report import IngestOptions
from geolabel.pipeline.scenes import list_scenes, load_scene, stac_item
from geolabel.raster.pool import open_raster
from geolabel.raster.scene import OpenOptions, open_scene
from geolabel.raster.virtual import mosaic_xml
from geolabel.services import Services


@pytest.fixture
def services(make_settings: Callable[..., Any]) -> Services:
    """Services over an empty store; Label Studio and Redis are not asked."""
    return Services(make_settings())


def write(path: Path, data: np.ndarray, **profile: Any) -> str:
    """Write (band, row, col) as a GeoTIFF in UTM."""
    fields: dict[str, Any] = {
        "driver": "GTiff", "width": data.shape[2], "height": data.shape[1], "count": data.shape[0],
        "dtype": str(data.dtype), "crs": "EPSG:32636", "transform": from_origin(300000, 50000, 10, 10),
    }  # fmt: skip
    with rasterio.open(path, "w", **{**fields, **profile}) as out:
        out.write(data)
    return str(path)


def whole(scene: Scene) -> np.ndarray:
    """Read all of a scene."""
    raster = open_raster(scene)
    window = Window(col=0, row=0, width=raster.width, height=raster.height)
    try:
        return raster.read([b.index for b in scene.bands], window, (raster.width, raster.height), nearest=True)[0]
    finally:
        raster.close()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """An object store of our own with a bucket."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (tmp_path / "moto.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{port}"
    for name, value in (
        ("AWS_ENDPOINT_URL", url), ("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", "us-east-1"), ("AWS_DEFAULT_REGION", "us-east-1"),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                httpx.put(f"{url}/scenes", timeout=5, trust_env=False).raise_for_status()
                break
            except httpx.HTTPError:
                assert time.monotonic() < deadline
                time.sleep(0.2)
        yield url
    finally:
        server.terminate()
        server.wait(30)


def test_objects_are_read_by_ranges(bucket: str, services: Services, tmp_path: Path) -> None:
    """Registering and planning a COG in a bucket reads a small part of it; its id is known again."""
    rng = np.random.default_rng(0)
    plain = write(tmp_path / "plain.tif", rng.integers(0, 255, (3, 3072, 3072), dtype=np.uint8))
    cog = tmp_path / "scene.tif"
    copy(plain, str(cog), driver="COG", COMPRESS="DEFLATE")
    size = cog.stat().st_size
    httpx.put(f"{bucket}/scenes/scene.tif", content=cog.read_bytes(), timeout=60, trust_env=False).raise_for_status()
    code = (
        "import sys,json,rasterio\n"
        "from rasterio import _env\n"
        "from geolabel.services import Services\nfrom geolabel.settings import load_settings\n"
        "from geolabel.pipeline.ingest import ingest\n"
        "s=Services(load_settings({},state_dir=sys.argv[1]))\n"
        "r=ingest(s,['s3://scenes/scene.tif'])\n"
        "print(json.dumps(r.to_json()))\n"
    )
    env = {**os.environ, "CPL_VSIL_SHOW_NETWORK_STATS": "YES", "CPL_VSIL_NETWORK_STATS_ENABLED": "YES"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "s3-state")], capture_output=True, text=True, env=env, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout.splitlines()[0])
    assert report["planned"] == 49
    assert report["failed"] == 0
    read = _downloaded(done.stdout + done.stderr)
    assert 0 < read < size / 2, (read, size)


def _downloaded(text: str) -> int:
    start = text.find("Network statistics")
    assert start >= 0, text[-1500:]
    statistics, _ = json.JSONDecoder().raw_decode(text[text.index("{", start) :])
    return int(statistics["methods"]["GET"]["downloaded_bytes"])


@pytest.mark.parametrize("version", [2, 3])
def test_zarr(version: int, services: Services, tmp_path: Path) -> None:
    """Zarr 2 through GDAL and Zarr 3 through zarr-python: same place, same pixels; Zarr 3 converts to COG."""
    import xarray

    data = np.arange(2 * 60 * 80, dtype=np.uint16).reshape(2, 60, 80)
    x, y = 300005 + 10 * np.arange(80.0), 49995 - 10 * np.arange(60.0)
    with rasterio.open(write(tmp_path / "a.tif", data)) as tif:
        wkt = tif.crs.to_wkt()
    made = xarray.Dataset(
        {"image": (("band", "y", "x"), data, {"grid_mapping": "spatial_ref"})},
        coords={"x": x, "y": y, "spatial_ref": ((), 0, {"crs_wkt": wkt, "spatial_ref": wkt})},
    )
    folder = tmp_path / "image.zarr"
    made.to_zarr(folder, zarr_format=version, consolidated=version == 2)
    options = OpenOptions(assign_crs="EPSG:32636") if version == 2 else OpenOptions()
    scene = open_scene(str(folder), options).require()
    assert scene.georef.crs == "EPSG:32636"
    assert scene.georef.transform == pytest.approx((10, 0, 300000, 0, -10, 50000))
    assert np.array_equal(whole(scene), data)
    if version == 3:
        asked = IngestOptions(cog=True, cog_compression="ZSTD")
        entry = ingest(services, [str(folder)], options=asked).scenes[0]
        assert np.array_equal(whole(load_scene(services, entry.scene_id)), data)


def test_stac_item_and_collection(services: Services, tmp_path: Path) -> None:
    """Assets chosen by band become bands of one scene, with date and platform; a collection is its items."""
    for number, name in enumerate(("red", "nir")):
        write(tmp_path / f"{name}.tif", np.full((1, 64, 64), 10 * (number + 1), np.uint16))
    item = {
        "type": "Feature", "stac_version": "1.1.0", "id": "item-1", "geometry": None, "links": [],
        "properties": {"datetime": "2020-06-01T00:00:00Z", "platform": "sentinel-2a"},
        "assets": {
            name: {"href": f"./{name}.tif", "type": "image/tiff", "roles": ["data"], "bands": [{"name": name}]}
            for name in ("nir", "red")
        } | {"look": {"href": "./look.png", "roles": ["thumbnail"]}},
    }  # fmt: skip
    (tmp_path / "item.json").write_text(json.dumps(item))
    collection = {
        "type": "Collection", "stac_version": "1.1.0", "id": "c",
        "links": [{"rel": "item", "href": "./item.json"}],
    }  # fmt: skip
    (tmp_path / "collection.json").write_text(json.dumps(collection))
    asked = IngestOptions(assets=("red", "nir"))
    for name in ("item.json", "collection.json"):
        entry = ingest(services, [str(tmp_path / name)], options=asked).scenes[0]
        scene = load_scene(services, entry.scene_id)
        assert (scene.name, scene.sensor, scene.acquired) == ("item-1", "sentinel-2a", "2020-06-01T00:00:00Z")
        assert [band.name for band in scene.bands] == ["red", "nir"]
        assert whole(scene)[:, 0, 0].tolist() == [10, 20]
    with pytest.raises(InputError, match="no asset swir"):
        ingest(services, [str(tmp_path / "item.json")], options=IngestOptions(assets=("swir",)))


def test_index_and_scenes_open_elsewhere(services: Services, tmp_path: Path) -> None:
    """DuckDB reads the GeoParquet index, pystac the items."""
    import geopandas

    uri = write(tmp_path / "a.tif", np.ones((1, 700, 700), np.uint8))
    entry = ingest(services, [uri]).scenes[0]
    with services.store.local_path(index_key(entry.scene_id, entry.plan_id)) as path:
        frame = geopandas.read_parquet(path)
    assert len(frame) == 4
    assert frame.crs.to_authority() == ("OGC", "CRS84")
    assert frame.total_bounds[0] == pytest.approx(31.2, abs=0.3)
    scene = next(list_scenes(services))
    item = pystac.Item.from_dict(stac_item(scene))
    assert item.id == scene.id
    assert item.properties["proj:code"] == "EPSG:32636"


def test_mosaic_of_several_crs(data_dir: Path) -> None:
    """Files in two CRSs are refused without, and joined with, a target CRS."""
    folder = data_dir / "imagery" / "edge" / "rio-tiler"
    paths = [str(folder / "mosaic_value_1.tif"), str(folder / "mosaic_value_3.tif")]
    with pytest.raises(InputError, match="several CRSs"):
        mosaic_xml(paths)
    with rasterio.open(mosaic_xml(paths, target_crs="EPSG:32618")) as mosaic, rasterio.open(paths[0]) as first:
        assert mosaic.crs.to_epsg() == 32618
        values = mosaic.read(1)
        own = values[mosaic.index(*first.xy(400, 400))]
        with rasterio.open(paths[1]) as second:
            assert mosaic.bounds.left < first.bounds.left or mosaic.bounds.top > first.bounds.top
            reached = np.intersect1d(values, second.read(1))
        assert own == first.read(1)[400, 400] or own in reached
        assert len(reached[reached > 0]) > 3


def test_conversion_keeps_pixels_and_hash(services: Services, tmp_path: Path) -> None:
    """A strip file becomes a COG once; the record keeps the source's sha256; CRS assigned on the way."""
    import hashlib

    data = np.random.default_rng(0).integers(0, 9000, (2, 600, 500), dtype=np.uint16)
    uri = write(tmp_path / "strips.tif", data, crs=None)
    asked = IngestOptions(cog=True, open=OpenOptions(assign_crs="EPSG:32636"))
    first, second = (ingest(services, [uri], options=asked).scenes[0] for _ in range(2))
    assert first.scene_id == second.scene_id
    scene = load_scene(services, first.scene_id)
    assert scene.georef.crs == "EPSG:32636"
    assert np.array_equal(whole(scene), data)
    source = scene.properties["converted_from"]
    assert source["source_sha256"] == hashlib.sha256(Path(uri).read_bytes()).hexdigest()
    with rasterio.open(scene.uri) as cog:
        assert cog.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


def test_dates_on_one_grid(data_dir: Path) -> None:
    """A NAIP date laid on another's grid has its transform exactly, and correlates with it."""
    folder = data_dir / "imagery" / "timeseries" / "naip_northdakota"
    first = open_scene(str(folder / "m_4709963_se_14_1_20090818.tif")).require()
    aligned = OpenOptions(align_to=first.georef.to_json())
    other = open_scene(str(folder / "m_4709963_se_14_1_20140720.tif"), aligned).require()
    assert other.georef == first.georef
    a, b = whole(first)[3].astype(float)[50:-50, 50:-50], whole(other)[3].astype(float)[50:-50, 50:-50]
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.3


def test_damaged_file_ends_as_items(data_dir: Path, services: Services) -> None:
    """Chips that can't be read are listed with their sentence and number of tries; the others are made."""
    asked = IngestOptions(plan=PlanSpec(size_px=256, overlap=0.0))
    entry = ingest(services, [str(data_dir / "imagery/edge/rasterio/corrupt.tif")], options=asked).scenes[0]
    assert entry.planned == 16
    assert 0 < len(entry.failed) < 16
    assert all(f["tries"] == 3 and "can't be read" in f["error"] for f in entry.failed)
    states = [row["state"] for row in read_rows(services, entry.scene_id, entry.plan_id)]
    assert states.count("failed") == len(entry.failed)


def test_cloud_fractions_and_thresholds(services: Services, tmp_path: Path) -> None:
    """A QA band gives fractions per chip; cloudy ones are skipped and counted; a mask raster on another grid works."""
    data = np.full((2, 256, 256), 21824, np.uint16)  # clear, by QA_PIXEL
    data[1, :128, :128] = 22280  # cloud
    uri = write(tmp_path / "scene.tif", data)
    plan = PlanSpec(size_px=128, overlap=0.0)
    asked = IngestOptions(plan=plan, qa="qa_pixel", qa_source="b2", max_cloud=0.5)
    entry = ingest(services, [uri], options=asked).scenes[0]
    rows = list(read_rows(services, entry.scene_id, entry.plan_id))
    assert [round(row["cloud_fraction"], 2) for row in rows] == [1.0, 0.0, 0.0, 0.0]
    assert entry.skipped == {"with more than 50% cloud": 1}
    scl = np.zeros((1, 128, 128), np.uint8)
    scl[:, 64:, 64:] = 9
    mask = write(tmp_path / "scl.tif", scl, transform=from_origin(300000, 50000, 20, 20))
    other = IngestOptions(plan=plan, qa="scl", qa_source=mask)
    entry = ingest(services, [uri], options=other).scenes[0]
    rows = list(read_rows(services, entry.scene_id, entry.plan_id))
    assert [round(row["cloud_fraction"], 1) for row in rows] == [0.0, 0.0, 0.0, 1.0]
    guessed = ingest(services, [uri], options=IngestOptions(plan=plan, mask_predictor="brightness")).scenes[0]
    assert guessed.planned == 4


def test_footprint_keeps_holes(services: Services, tmp_path: Path) -> None:
    """The outline of valid data has the hole that the raster has."""
    import shapely.geometry

    data = np.ones((1, 400, 400), np.uint8)
    data[:, 150:250, 150:250] = 0
    data[:, :, 350:] = 0
    entry = ingest(services, [write(tmp_path / "a.tif", data, nodata=0)]).scenes[0]
    scene = load_scene(services, entry.scene_id)
    shape = shapely.geometry.shape(scene.properties["footprint"])
    assert len(shape.interiors) == 1
    share = shape.area / shapely.Polygon(scene.georef.outline_lonlat()).area
    assert share == pytest.approx((400 * 350 - 100 * 100) / 160000, abs=0.02)


def test_real_radar(data_dir: Path, services: Services) -> None:
    """A complex Sentinel-1 burst is warped by its control points, shown in decibels, filtered without seams."""
    uri = str(data_dir / "imagery/edge/rio-cogeo/slc.tif")
    asked = IngestOptions(open=OpenOptions(warp=True), render="radar-lee", plan=PlanSpec(size_px=256), read="none")
    entry = ingest(services, [uri], options=asked).scenes[0]
    assert entry.planned > 4
    scene = load_scene(services, entry.scene_id)
    assert scene.dtype.startswith("complex")
    from geolabel.raster.render import render_window
    from geolabel.raster.renders import choose_render

    render = choose_render(scene, "radar-lee")
    raster = open_raster(scene)
    try:
        wide = render_window(scene, raster, Window(col=200, row=200, width=128, height=64), (128, 64), render)
        left = render_window(scene, raster, Window(col=200, row=200, width=64, height=64), (64, 64), render)
    finally:
        raster.close()
    assert np.array_equal(wide[:, :64], left)
    assert wide[:, :, 0].std() > 1


def test_other_planets_and_odd_places(tmp_path: Path) -> None:
    """Mars, engineering CRSs and impossible extents are refused, each for its reason."""
    data = np.ones((1, 8, 8), np.uint8)
    mars = "+proj=longlat +a=3396190 +b=3376200 +no_defs"
    local = 'LOCAL_CS["site",UNIT["metre",1]]'
    cases = {
        "RAS005": {"crs": mars, "transform": from_origin(10, 10, 0.1, 0.1)},
        "RAS004": {"crs": local},
        "RAS010": {"crs": "EPSG:4326", "transform": from_origin(30, 150, 0.1, 0.1)},
        "RAS011": {"crs": "EPSG:32636", "transform": from_origin(1e9, 0, 10, 10)},
    }
    for code, profile in cases.items():
        found = open_scene(write(tmp_path / f"{code}.tif", data, **profile))
        assert code in [issue.code for issue in found.issues], (code, found.issues)
        assert found.errors
    rotated = write(tmp_path / "rotated.tif", data, transform=rasterio.Affine(8, 6, 3e5, 6, -8, 5e4))
    scene = open_scene(rotated).require()
    assert scene.georef == Georeference(crs="EPSG:32636", transform=(8, 6, 3e5, 6, -8, 5e4), width=8, height=8)
