"""A scene of bright roofs, registered in a store of its own, and tasks as Label Studio would send them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from geolabel.core.georef import Window
from geolabel.core.scene import Chip, RenderSpec, chip_id
from geolabel.labelstudio.task import build_task
from geolabel.pipeline.scenes import save_scene
from geolabel.predict.sam_models import SAM21_TINY, save_seeded
from geolabel.raster.scene import open_scene
from geolabel.services import Services
from geolabel.settings import Settings, load_settings

CONFIG = """
<View>
  <Image name="image" value="$image"/>
  <KeyPointLabels name="points" toName="image" smart="true" smartOnly="true">
    <Label value="Building" background="#e6194b"/><Label value="Water" background="#4363d8"/>
  </KeyPointLabels>
  <RectangleLabels name="boxes" toName="image" smart="true" smartOnly="true">
    <Label value="Building" background="#e6194b"/><Label value="Water" background="#4363d8"/>
  </RectangleLabels>
  <PolygonLabels name="polygons" toName="image"><Label value="Building" background="#e6194b"/></PolygonLabels>
  <{0} name="masks" toName="image"><Label value="Water" background="#4363d8"/></{0}>
</View>
"""
ROOF = (40, 50, 100, 90)  # xmin, ymin, xmax, ymax in px of every chip
CHIP_PX = 256


@dataclass(frozen=True, kw_only=True)
class Site:
    """Four chips with a roof each in the same place, of another size each."""

    settings: Settings
    tasks: list[dict[str, Any]]

    def payload(self, number: int, results: list[dict[str, Any]], brush: str = "BrushLabels", **context: Any) -> Any:
        """What Label Studio sends for a prompt."""
        return {
            "tasks": [self.tasks[number]],
            "project": "7.1795197371",
            "label_config": CONFIG.format(brush),
            "params": {"login": None, "password": None, "context": {"result": results, **context}},
        }


def click(x: float, y: float, *, label: str = "Building", positive: bool = True) -> dict[str, Any]:
    """A key point as the editor sends it; x, y in px of the chip."""
    value = {"x": x / CHIP_PX * 100, "y": y / CHIP_PX * 100, "width": 0.26, "keypointlabels": [label]}
    return {"type": "keypointlabels", "from_name": "points", "to_name": "image", "id": "UP8Qz92Inh",
            "original_width": 9999, "original_height": 9999, "is_positive": positive, "value": value}  # fmt: skip


def box(xmin: float, ymin: float, xmax: float, ymax: float, *, label: str = "Building") -> dict[str, Any]:
    """A rectangle as the editor sends it, px of the chip."""
    per = 100 / CHIP_PX
    value = {"x": xmin * per, "y": ymin * per, "width": (xmax - xmin) * per, "height": (ymax - ymin) * per,
             "rotation": 0, "rectanglelabels": [label]}  # fmt: skip
    return {"type": "rectanglelabels", "from_name": "boxes", "to_name": "image", "id": "CXanQ92Inh", "value": value}


def make_site(folder: Path, settings: Settings) -> Site:
    """Paint the scene, register it and cut it."""
    rng = np.random.default_rng(3)
    size = 2 * CHIP_PX
    image = np.stack([rng.normal(level, 6, (size, size)) for level in (70, 100, 60)])
    for number in range(4):
        row, col = divmod(number, 2)
        left, top = col * CHIP_PX + ROOF[0], row * CHIP_PX + ROOF[1]
        right, bottom = col * CHIP_PX + ROOF[2] + 8 * number, row * CHIP_PX + ROOF[3]
        image[:, top:bottom, left:right] = rng.normal(200, 6, (3, bottom - top, right - left))
    path = folder / "roofs.tif"
    profile = {"driver": "GTiff", "width": size, "height": size, "count": 3, "dtype": "uint8", "crs": "EPSG:32636",
               "transform": from_origin(450000, 35000, 0.5, 0.5)}  # fmt: skip
    with rasterio.open(path, "w", **profile) as out:
        out.write(np.clip(image, 0, 255).astype(np.uint8))
    services = Services(settings)
    scene = open_scene(str(path)).require()
    save_scene(services, scene)
    render = RenderSpec(bands=(1, 2, 3), rescale=((0.0, 255.0),) * 3)
    tasks = []
    for number in range(4):
        row, col = divmod(number, 2)
        window = Window(col=col * CHIP_PX, row=row * CHIP_PX, width=CHIP_PX, height=CHIP_PX)
        key = chip_id(scene.id, window, (CHIP_PX, CHIP_PX), render.digest())
        chip = Chip(id=key, scene_id=scene.id, window=window, georef=scene.georef.window(window), render=render)
        data = build_task(chip, scene, f"http://127.0.0.1:9/chips/{key}.jpg")
        tasks.append({"id": number + 1, "project": 7, "data": data, "drafts": [], "annotations": [], "predictions": []})
    return Site(settings=settings, tasks=tasks)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, new_redis_url: Callable[[], str]) -> Site:
    """The scene in a store without any weights."""
    folder = tmp_path_factory.mktemp("site")
    environ = {"GEOLABEL_STATE_DIR": str(folder / "state"), "REDIS_URL": new_redis_url()}
    return make_site(folder, load_settings(environ))


@pytest.fixture(scope="session")
def sam_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of SAM 2.1 tiny with seeded random weights."""
    return save_seeded(tmp_path_factory.mktemp("weights") / "sam2.1_tiny_seeded.pt", SAM21_TINY, seed=1)
