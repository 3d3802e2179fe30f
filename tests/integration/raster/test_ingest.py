"""Ingest into a real Label Studio: exactly once, resumed after a kill, pictures by signed address, dates aligned."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.transform import from_origin

from geolabel.core.plans import PlanSpec
from geolabel.core.scene import Chip
from geolabel.errors import LabelStudioError
from geolabel.pipeline.ingest import ingest
from geolabel.pipeline.ingest_report import IngestOptions, list_records
from geolabel.raster.read import read_chip
from geolabel.raster.scene import open_scene
from tests.servers import Stack

CONFIG = (
    '<View><Image name="image" value="$image"/><PolygonLabels name="p" toName="image"><Label value="A"/>'
    "</PolygonLabels></View>"
)
DEADLINE_S = 180


@pytest.fixture
def project(stack: Stack) -> Iterator[int]:
    """A project of its own."""
    number = int(stack.services.labelstudio.create_project("raster ingest", CONFIG)["id"])
    yield number
    stack.services.labelstudio.delete_project(number)


def make_raster(path: Path, size: int = 1024, seed: int = 0, **profile: Any) -> Path:
    """Write an RGB raster of noise in UTM."""
    rng = np.random.default_rng(seed)
    small = rng.integers(1, 255, (3, size // 16, size // 16), dtype=np.uint8)
    data = np.kron(small, np.ones((1, 16, 16), dtype=np.uint8))
    fields = {
        "driver": "GTiff", "width": size, "height": size, "count": 3, "dtype": "uint8", "crs": "EPSG:32636",
        "transform": from_origin(300000, 50000, 0.5, 0.5), "tiled": True, "blockxsize": 256, "blockysize": 256,
        "photometric": "RGB", "compress": "deflate",
    }  # fmt: skip
    with rasterio.open(path, "w", **{**fields, **profile}) as out:
        out.write(data)
    return path


def tasks_of(stack: Stack, project: int) -> list[dict[str, Any]]:
    """Return all tasks."""
    return list(stack.services.labelstudio.tasks(project, fields="task_only"))


def test_ingest_twice_then_look(stack: Stack, project: int, tmp_path: Path) -> None:
    """A second ingest adds nothing; the picture is the window's pixels; the address can't be changed."""
    raster = make_raster(tmp_path / "scene.tif")
    first = ingest(stack.services, [str(raster)], project)
    assert (first.total("created"), first.total("existing")) == (9, 0)
    moved = raster.rename(tmp_path / "moved.tif")
    second = ingest(stack.services, [str(moved)], project)
    assert (second.total("created"), second.total("existing")) == (0, 9)
    tasks = tasks_of(stack, project)
    assert len(tasks) == len({task["data"]["chip_id"] for task in tasks}) == 9
    geo = tasks[0]["data"]["geo"]
    assert geo["crs"] == "EPSG:32636"
    assert geo["crs_log"]["operation"]
    assert geo["crs_log"]["epsg"]
    url = stack.backend()
    address = tasks[0]["data"]["image"]
    assert address.startswith(url)
    with httpx.Client(timeout=60, trust_env=False) as client:
        answer = client.get(address, headers={"Origin": stack.labelstudio.url})
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "image/jpeg"
        assert answer.headers["access-control-allow-origin"] == stack.labelstudio.url
        chip = Chip.from_geo(geo)
        scene = open_scene(str(moved)).require()
        seen = np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"))
        raw = np.moveaxis(read_chip(scene, chip).array, 0, -1)
        assert np.abs(seen.astype(int) - raw.astype(int)).mean() < 6
        again = client.get(address, headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304
        assert client.head(address).headers["etag"] == answer.headers["etag"]
        for changed, status in (
            (address.replace("w=0,0", "w=1,0"), 401),
            (address.split("&sig=")[0], 401),
            (url + "/chips/..%2f..%2fetc.jpg?sig=x", 401),
        ):
            refused = client.get(changed)
            assert refused.status_code in (status, 404), changed
            assert "Traceback" not in refused.text
        signer_query = {k: v[0] for k, v in parse_qs(urlsplit(address).query).items() if k != "sig"}
        assert client.get(f"{url}/chips/{chip.id}.gif?{urlencode(signer_query)}").status_code == 400
        _check_tiles(stack, client, geo["scene_id"])


def _check_tiles(stack: Stack, client: httpx.Client, scene_id: str) -> None:
    from geolabel.pipeline.chip_urls import UrlSigner

    described = client.get(UrlSigner(stack.settings).tiles(scene_id)).json()
    assert described["tilejson"] == "3.0.0"
    west, south, east, north = described["bounds"]
    z = described["maxzoom"]
    x = int(((west + east) / 2 + 180) / 360 * 2**z)
    lat = np.radians((south + north) / 2)
    y = int((1 - np.arcsinh(np.tan(lat)) / np.pi) / 2 * 2**z)
    template = described["tiles"][0]
    tile = client.get(template.format(z=z, x=x, y=y))
    assert tile.status_code == 200
    assert np.asarray(Image.open(io.BytesIO(tile.content)))[:, :, 3].max() == 255
    assert client.get(template.format(z=z, x=x, y=y).split("sig=")[0]).status_code == 401
    assert client.get(template.format(z=z, x=2**z, y=y)).status_code == 400


def test_prerendered_pictures_are_served(stack: Stack, tmp_path: Path) -> None:
    """With pictures in the store the raster itself is not needed to show them."""
    from geolabel.pipeline.chip_index import chip_of_row, read_rows
    from geolabel.pipeline.pictures import Pictures

    raster = make_raster(tmp_path / "scene.tif", seed=5)
    services = stack.services
    entry = ingest(services, [str(raster)], options=IngestOptions(prerender=True)).scenes[0]
    raster.unlink()
    pictures = Pictures(services)
    scene = pictures.scene(entry.scene_id)
    row = next(read_rows(services, entry.scene_id, entry.plan_id))
    assert scene.render is not None
    chip = chip_of_row(row, scene, scene.render)
    query = {"s": scene.id, "w": ",".join(map(str, chip.window.to_list())), "r": chip.render.digest()}
    assert pictures.chip(chip.id, "jpg", query).make()[:2] == b"\xff\xd8"


def test_lost_answer_is_not_sent_twice(stack: Stack, project: int, tmp_path: Path, monkeypatch: Any) -> None:
    """Label Studio stores the batch, the answer is lost: nothing is there twice."""
    raster = make_raster(tmp_path / "scene.tif", seed=9)
    real = stack.services.labelstudio.import_tasks
    lost = []

    def losing(number: int, tasks: Any) -> list[int]:
        ids = real(number, tasks)
        if not lost:
            lost.append(len(ids))
            raise LabelStudioError("the connection broke", retryable=True)
        return ids

    monkeypatch.setattr(stack.services.labelstudio, "import_tasks", losing)
    report = ingest(stack.services, [str(raster)], project)
    assert lost == [9]
    assert report.total("created") == 9
    assert len(tasks_of(stack, project)) == 9


def test_killed_worker_leaves_nothing_wrong(stack: Stack, project: int, tmp_path: Path) -> None:
    """SIGKILL in the middle of the import: after a restart the same job ends, and no chip is there twice."""
    raster = make_raster(tmp_path / "scene.tif", size=2048, seed=3)
    options = IngestOptions(plan=PlanSpec(size_px=128, overlap=0.0))
    slow = {"GEOLABEL_LABELSTUDIO__IMPORT_BATCH": "4"}
    worker = stack.worker(**slow)
    payload = {"uris": [str(raster)], "project": project, "options": options.to_json()}
    jobs = stack.services.jobs
    job = jobs.enqueue("workers.jobs_ingest.ingest", payload, queue="cpu")
    deadline = time.monotonic() + DEADLINE_S
    while int(stack.services.labelstudio.project(project)["task_number"]) < 8:
        assert time.monotonic() < deadline, jobs.status(job.id)
        assert jobs.status(job.id).state not in ("finished", "failed"), jobs.status(job.id)
        time.sleep(0.05)
    _kill_tree(worker.pid)
    stack.stop_child(worker)
    half = int(stack.services.labelstudio.project(project)["task_number"])
    assert half < 256
    stack.worker()
    done = jobs.wait(job.id, timeout_s=DEADLINE_S)
    assert done.state == "finished", done
    identities = [task["data"]["chip_id"] for task in tasks_of(stack, project)]
    assert len(identities) == len(set(identities)) == 256
    assert done.result["created"] + done.result["existing"] == 256
    assert done.result["existing"] >= 8
    assert {r["state"] for r in list_records(stack.services) if r["id"] == done.result["id"]} == {"done"}


def _kill_tree(pid: int | None) -> None:
    assert pid is not None
    for process in [pid, *_descendants(pid)]:  # the pool first, so that it starts nothing again
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _descendants(pid: int) -> list[int]:
    """All processes below one, the job's own process among them."""
    with contextlib.suppress(FileNotFoundError):
        children = [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return children + [below for child in children for below in _descendants(child)]
    return []


def test_dates_become_one_task_each_place(stack: Stack, data_dir: Path) -> None:
    """Four NAIP dates whose grids differ: one task a place, four images of the same ground, in order of date."""
    template = Path(__file__).parents[3] / "ls_configs" / "change-detection" / "config.xml"
    number = int(stack.services.labelstudio.create_project("change", template.read_text())["id"])
    folder = data_dir / "imagery" / "timeseries" / "naip_northdakota"
    options = IngestOptions(stack=True, plan=PlanSpec(size_px=384, overlap=0.0))
    try:
        report = ingest(stack.services, [str(folder)], number, options=options)
        again = ingest(stack.services, [str(folder)], number, options=options)
        tasks = tasks_of(stack, number)
    finally:
        stack.services.labelstudio.delete_project(number)
    assert len(report.scenes) == 4
    assert report.total("created") == len(tasks) == 6
    assert again.total("created") == 0
    for task in tasks:
        geos = task["data"]["geos"]
        assert len(task["data"]["images"]) == len(geos) == len(task["data"]["dates"]) == 4
        assert len({tuple(geo["transform"]) for geo in geos}) == 1
        assert len({geo["crs"] for geo in geos}) == 1
