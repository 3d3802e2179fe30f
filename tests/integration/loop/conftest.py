"""A made town in a real Label Studio, its chips as tasks, and its truth to annotate from."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from rasterio.transform import from_origin

from geolabel.core.georef import Window
from geolabel.core.labels import Region
from geolabel.core.scene import Chip, RenderSpec, chip_id
from geolabel.core.shapes import from_shapely
from geolabel.core.tiling import Grid, plan_windows
from geolabel.labelstudio.codec import encode_regions
from geolabel.labelstudio.config import LabelConfig
from geolabel.labelstudio.task import build_task, chip_of_task
from geolabel.pipeline.scenes import save_scene
from geolabel.raster.scene import open_scene
from tests.servers import Stack

CONFIG = """
<View>
  <Image name="image" value="$image"/>
  <PolygonLabels name="polygon" toName="image">
    <Label value="Roof" background="#e6194b"/>
    <Label value="Canal" background="#4363d8"/>
  </PolygonLabels>
</View>
"""
#: Tests wait as long as a loaded machine may take; a quiet one needs a few seconds.
PATIENCE_S = 240.0


def wait_for(what: Callable[[], Any], sentence: str, *, timeout_s: float = PATIENCE_S) -> Any:
    """Poll until something is true and return it."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = what()
        if value:
            return value
        time.sleep(0.3)
    raise AssertionError(f"after {timeout_s:.0f} s: {sentence}")


@dataclass(kw_only=True)
class Loop:
    """A project over a made town."""

    stack: Stack
    project_id: int
    config: LabelConfig
    truth: list[tuple[str, shapely.Polygon]]
    tasks: dict[int, dict[str, Any]] = field(default_factory=dict)

    @property
    def pid(self) -> str:
        return str(self.project_id)

    @property
    def labelstudio(self) -> Any:
        return self.stack.services.labelstudio

    def result(self, task_id: int) -> list[dict[str, Any]]:
        """What a person would draw."""
        chip = chip_of_task(self.tasks[task_id])
        window = chip.window
        box = shapely.box(window.col, window.row, window.col + window.width, window.row + window.height)
        regions = []
        for n, (label, outline) in enumerate(self.truth):
            for part in shapely.get_parts(outline.intersection(box)):
                if isinstance(part, shapely.Polygon) and part.area > 8:
                    local = shapely.transform(part, lambda xy: xy - [window.col, window.row])
                    regions.append(Region(id=f"drawn-{n:06d}", shape=from_shapely(local), label=label))
        encoded = encode_regions(regions, self.config, width_px=chip.georef.width, height_px=chip.georef.height)
        return [dict(item) for item in encoded.result]

    def annotate(self, task_id: int, **fields: Any) -> dict[str, Any]:
        """Annotate a task by the truth."""
        made: dict[str, Any] = self.labelstudio.annotate(task_id, self.result(task_id), **fields)
        return made

    def served(self, count: int, client: Any = None) -> list[int]:
        """Ask Label Studio for task after task, finishing each, and return them in order."""
        out: list[int] = []
        asker = client or self.labelstudio
        for _ in range(count):
            task = asker.next_task(self.project_id)
            if task is None:
                break
            out.append(int(task["id"]))
            asker.annotate(task["id"], [])
        return out


def paint(path: Path, size: int, seed: int) -> list[tuple[str, shapely.Polygon]]:
    """Write a GeoTIFF of bright roofs and a dark canal on grass."""
    rng = np.random.default_rng(seed)
    image = np.stack([rng.normal(level, 7, (size, size)) for level in (70, 105, 55)])
    row = size // 2 - 12
    image[:, row : row + 24, :] = rng.normal(0, 5, (3, 24, size)) + np.array([30, 45, 80])[:, None, None]
    truth = [("Canal", shapely.box(0, row, size, row + 24))]
    for y in range(10, size - 40, 50):
        for x in range(10, size - 40, 50):
            width, height = (int(v) for v in rng.integers(14, 28, 2))
            if rng.random() < 0.25 or (y < row + 30 and y + height > row - 6):
                continue
            tone = np.array([190, 120, 100]) + rng.normal(0, 10)
            image[:, y : y + height, x : x + width] = rng.normal(0, 7, (3, height, width)) + tone[:, None, None]
            truth.append(("Roof", shapely.box(x, y, x + width, y + height)))
    profile = {
        "driver": "GTiff", "width": size, "height": size, "count": 3, "dtype": "uint8", "crs": "EPSG:32636",
        "transform": from_origin(450000, 40000, 0.5, 0.5), "tiled": True, "blockxsize": 256, "blockysize": 256,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as target:
        target.write(image.clip(1, 255).astype(np.uint8))
    return truth


def make_loop(
    stack: Stack, folder: Path, *, size: int = 256, chip: int = 64, seed: int = 1, labelled: int = 0, **project: Any
) -> Loop:
    """Make the scene, register it, and import its chips as tasks of a new project, the first ones with annotations."""
    services = stack.services
    path = folder / f"loop-town-{seed}-{size}.tif"
    truth = paint(path, size, seed)
    scene = open_scene(str(path)).require()
    save_scene(services, scene)
    config = LabelConfig.parse(CONFIG)
    made = services.labelstudio.create_project(f"loop {seed} {size} {time.time_ns() % 10**9}", config.xml, **project)
    project_id = int(made["id"])
    render = scene.render or RenderSpec(bands=(1, 2, 3), rescale=((0.0, 255.0),) * 3)
    data: list[dict[str, Any]] = []
    for col, row, width, height in plan_windows(size, size, Grid(size_px=chip, overlap=0.125)).tolist():
        window = Window(col=col, row=row, width=width, height=height)
        key = chip_id(scene.id, window, (width, height), render.digest())
        cut = Chip(id=key, scene_id=scene.id, window=window, georef=scene.georef.window(window), render=render)
        data.append({"data": build_task(cut, scene, f"http://127.0.0.1:9/chips/{key}.jpg")})
    loop = Loop(stack=stack, project_id=project_id, config=config, truth=truth, tasks=dict(enumerate(data)))
    for number in range(labelled):
        data[number]["annotations"] = [{"result": loop.result(number)}]
    services.labelstudio.import_tasks(project_id, data)
    loop.tasks = {int(task["id"]): task for task in services.labelstudio.tasks(project_id)}
    return loop


@pytest.fixture(scope="module")
def new_loop(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Loop]]:
    """Function that makes a project; all are removed afterwards."""
    made: list[Loop] = []

    def make(**options: Any) -> Loop:
        made.append(make_loop(stack, tmp_path_factory.mktemp("town"), **options))
        return made[-1]

    yield make
    for loop in made:
        try:
            stack.services.labelstudio.delete_project(loop.project_id)
        except LookupError:
            continue


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., Any]:
    """Function that polls until something is true."""
    return wait_for
