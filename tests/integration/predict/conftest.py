"""A small made town in a real Label Studio: its scene, its chips as tasks, and its truth to annotate from."""

from __future__ import annotations

from collections.abc import Callable
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

GSD_M = 0.5
CONFIG = """
<View>
  <Image name="image" value="$image"/>
  <PolygonLabels name="polygon" toName="image">
    <Label value="{0}" background="#e6194b"/>
    <Label value="{1}" background="#4363d8"/>
  </PolygonLabels>
</View>
"""


@dataclass(frozen=True, kw_only=True)
class Town:
    """A project in Label Studio over a made scene.

    Attributes:
        truth: (label, outline in scene px) of everything there is.
        tasks: As Label Studio stored them, by id.
    """

    stack: Stack
    project_id: int
    config: LabelConfig
    labels: tuple[str, str]
    truth: list[tuple[str, shapely.Polygon]]
    tasks: dict[int, dict[str, Any]] = field(default_factory=dict)

    @property
    def pid(self) -> str:
        return str(self.project_id)

    def drawn(self, chip: Chip) -> list[Region]:
        """What a person would draw on a chip."""
        window = chip.window
        box = shapely.box(window.col, window.row, window.col + window.width, window.row + window.height)
        regions = []
        for n, (label, outline) in enumerate(self.truth):
            for part in shapely.get_parts(outline.intersection(box)):
                if isinstance(part, shapely.Polygon) and part.area > 8:
                    local = shapely.transform(part, lambda xy: xy - [window.col, window.row])
                    regions.append(Region(id=f"drawn-{n:06d}", shape=from_shapely(local), label=label))
        return regions

    def annotate(self, task_ids: list[int]) -> None:
        """Annotate tasks by the truth."""
        for task_id in task_ids:
            chip = chip_of_task(self.tasks[task_id])
            regions = self.drawn(chip)
            size = {"width_px": chip.georef.width, "height_px": chip.georef.height}
            encoded = encode_regions(regions, self.config, **size)
            assert not encoded.losses
            self.stack.services.labelstudio.annotate(task_id, encoded.result)

    def payload(self, task_ids: list[int], **fields: Any) -> dict[str, Any]:
        """What Label Studio sends to /predict."""
        return {
            "tasks": [self.tasks[i] for i in task_ids],
            "project": f"{self.project_id}.1795197371",
            "label_config": self.config.xml,
            "params": {"login": None, "password": None, "context": None},
            **fields,
        }

    def stored(self, task_ids: list[int]) -> dict[int, list[dict[str, Any]]]:
        """Predictions in Label Studio by task."""
        labelstudio = self.stack.services.labelstudio
        return {i: labelstudio.predictions(i) for i in task_ids}


def paint_town(path: Path, size: int, seed: int) -> list[tuple[int, shapely.Polygon]]:
    """Write a GeoTIFF of bright roofs and a dark canal on grass; returns (0 roof or 1 canal, outline in px)."""
    rng = np.random.default_rng(seed)
    image = np.stack([rng.normal(level, 7, (size, size)) for level in (70, 105, 55)])
    truth: list[tuple[int, shapely.Polygon]] = []
    row = size // 2 - 12
    image[:, row : row + 24, :] = rng.normal(0, 5, (3, 24, size)) + np.array([30, 45, 80])[:, None, None]
    truth.append((1, shapely.box(0, row, size, row + 24)))
    for y in range(20, size - 40, 56):
        for x in range(20, size - 40, 56):
            width, height = (int(v) for v in rng.integers(16, 30, 2))
            if y < row + 30 and y + height > row - 6:
                continue
            tone = np.array([190, 120, 100]) + rng.normal(0, 10)
            image[:, y : y + height, x : x + width] = rng.normal(0, 7, (3, height, width)) + tone[:, None, None]
            truth.append((0, shapely.box(x, y, x + width, y + height)))
    profile = {
        "driver": "GTiff", "width": size, "height": size, "count": 3, "dtype": "uint8", "crs": "EPSG:32636",
        "transform": from_origin(450000, 40000, GSD_M, GSD_M), "tiled": True, "blockxsize": 256, "blockysize": 256,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as target:
        target.write(image.clip(1, 255).astype(np.uint8))
    return truth


def make_town(
    stack: Stack, folder: Path, *, labels: tuple[str, str] = ("Roof", "Canal"), size: int = 512, chip: int = 128,
    overlap: float = 0.125, seed: int = 1,
) -> Town:  # fmt: skip
    """Make the scene, register it, and import its chips as tasks of a new project."""
    services = stack.services
    path = folder / f"town-{labels[0].lower()}-{seed}.tif"
    truth = [(labels[kind], outline) for kind, outline in paint_town(path, size, seed)]
    scene = open_scene(str(path)).require()
    save_scene(services, scene)
    config = LabelConfig.parse(CONFIG.format(*labels))
    project = services.labelstudio.create_project(f"town {labels[0]} {seed}", config.xml)
    project_id = int(project["id"])
    render = scene.render or RenderSpec(bands=(1, 2, 3), rescale=((0.0, 255.0),) * 3)
    data = []
    for col, row, width, height in plan_windows(size, size, Grid(size_px=chip, overlap=overlap)).tolist():
        window = Window(col=col, row=row, width=width, height=height)
        key = chip_id(scene.id, window, (width, height), render.digest())
        cut = Chip(id=key, scene_id=scene.id, window=window, georef=scene.georef.window(window), render=render)
        data.append({"data": build_task(cut, scene, f"http://127.0.0.1:9/chips/{key}.jpg")})
    services.labelstudio.import_tasks(project_id, data)
    tasks = {int(task["id"]): task for task in services.labelstudio.tasks(project_id)}
    assert len(tasks) == len(data)
    return Town(stack=stack, project_id=project_id, config=config, labels=labels, truth=truth, tasks=tasks)


@pytest.fixture(scope="module")
def new_town(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Function that makes a town; its projects are removed afterwards."""
    made: list[Town] = []

    def make(**options: Any) -> Town:
        made.append(make_town(stack, tmp_path_factory.mktemp("town"), **options))
        return made[-1]

    yield make
    for town in made:
        stack.services.labelstudio.delete_project(town.project_id)


@pytest.fixture(scope="module")
def town(new_town: Callable[..., Town]) -> Town:
    """A town of 25 tasks, six of them annotated."""
    made = new_town()
    made.annotate(sorted(made.tasks)[:25:4])
    return made
