"""A real raster: labels drawn in Label Studio come back out where they were drawn."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from pyproj import Transformer

from tests.e2e.conftest import ROOT
from tests.servers import Stack

pytestmark = pytest.mark.timeout(1800)  # a browser on a loaded machine
LABELS = 20
TOLERANCE_PX = 0.01
EDGE_PX = 3.0


def _geolabel(stack: Stack, *words: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-m", "geolabel", *words],
        env={**_base(), **stack.env},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def _base() -> dict[str, str]:
    import os

    from geolabel.local.processes import child_environment

    return child_environment(os.environ)


def _truth_px(folder: Path, transform: Any, crs: Any) -> list[shapely.Polygon]:
    """Read the buildings and place them in the raster's pixels by rasterio's transform, not by our own code."""
    collection = json.loads((folder / "kampala_a_buildings.geojson").read_text())
    to_crs = Transformer.from_crs("OGC:CRS84", crs, always_xy=True)
    found = []
    for feature in collection["features"]:
        geometry = shapely.geometry.shape(feature["geometry"])
        for part in getattr(geometry, "geoms", [geometry]):
            xs, ys = to_crs.transform(*np.asarray(part.exterior.coords)[:, :2].T)
            cols, rows = ~transform @ (np.asarray(xs), np.asarray(ys))
            found.append(shapely.Polygon(np.column_stack([cols, rows])))
    return found


def test_twenty_buildings_come_back_within_a_hundredth_of_a_pixel(stack: Stack, data_dir: Path, tmp_path: Path) -> None:
    folder = data_dir / "imagery" / "labelled" / "kampala_buildings_oam"
    if not (folder / "kampala_a.tif").is_file():
        pytest.skip(f"{folder} has no kampala_a.tif")
    with rasterio.open(folder / "kampala_a.tif") as raster:
        transform, crs = raster.transform, raster.crs
    stack.backend()
    said = _geolabel(stack, "setup", "--scene", str(folder / "kampala_a.tif"), "--title", "kampala walk")
    project = int(said.split()[1].rstrip(":"))
    drawn = _draw(stack, project, _truth_px(folder, transform, crs))
    assert len(drawn) == LABELS

    _geolabel(stack, "export", str(project), "--out", str(tmp_path / "out"))
    back = []
    to_crs = Transformer.from_crs("OGC:CRS84", crs, always_xy=True)
    for path in (tmp_path / "out").rglob("*.geojson"):
        collection = json.loads(path.read_text())
        if "crs" in collection:
            continue
        for feature in collection["features"]:
            xs, ys = to_crs.transform(*np.asarray(feature["geometry"]["coordinates"][0])[:, :2].T)
            cols, rows = ~transform @ (np.asarray(xs), np.asarray(ys))
            back.append(shapely.Polygon(np.column_stack([cols, rows])))
    for polygon in drawn:
        nearest = min(back, key=lambda other: shapely.hausdorff_distance(other, polygon))
        assert shapely.hausdorff_distance(nearest, polygon) < TOLERANCE_PX


def _draw(stack: Stack, project: int, buildings: list[shapely.Polygon]) -> list[shapely.Polygon]:
    """Draw buildings, each in one chip that holds it wholly, by Label Studio's own API."""
    drawn: list[shapely.Polygon] = []
    with stack.labelstudio.client() as client:
        query = {"project": project, "page_size": 500, "fields": "all"}
        tasks = client.get("/api/tasks", params=query).json()["tasks"]
        for task in tasks:
            left, top, right, bottom = _window(task)
            width, height, frame = right - left, bottom - top, shapely.box(left, top, right, bottom)
            results = []
            for number, building in enumerate(buildings):
                if len(drawn) == LABELS:
                    break
                # Away from the chip's edge: what touches it is joined with the neighbour's part on export.
                if building in drawn or not frame.buffer(-EDGE_PX).contains(building):
                    continue
                points = (np.asarray(building.exterior.coords)[:-1] - [left, top]) / [width, height] * 100
                value = {"points": points.tolist(), "closed": True, "polygonlabels": ["Building"]}
                control = {"from_name": "polygon", "to_name": "image", "type": "polygonlabels", "origin": "manual"}
                size = {"original_width": width, "original_height": height, "image_rotation": 0}
                results.append({"id": f"drawn{number:06d}", "value": value, **control, **size})
                drawn.append(building)
            if results:
                answer = client.post(f"/api/tasks/{task['id']}/annotations/", json={"result": results})
                assert answer.status_code == 201, answer.text
    return drawn


def _window(task: dict[str, Any]) -> tuple[int, int, int, int]:
    col, row, width, height = task["data"]["geo"]["window"]
    return col, row, col + width, row + height
