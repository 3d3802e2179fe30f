"""The pixels of a chip as predictors take them, read once for every kind of model."""

from __future__ import annotations

import numpy as np

from geolabel.core.scene import Chip
from geolabel.predict.contract import ChipInput
from geolabel.services import Services


def read_chip_input(services: Services, chip: Chip, task_id: int | None = None) -> ChipInput:
    """Read a chip's raw pixels, its valid mask and what the annotator sees.

    Args:
        services: For the scene's record.
        chip: As its task describes it.
        task_id: For messages.

    Raises:
        NotFoundError: the scene isn't registered in this store.
        RasterReadError: the raster can't be read.
    """
    from geolabel.pipeline.scenes import load_scene
    from geolabel.raster.read import read_chip
    from geolabel.raster.render import render_chip

    scene = load_scene(services, chip.scene_id)
    pixels = read_chip(scene, chip)
    rgba = np.asarray(render_chip(scene, chip))
    valid = np.asarray(pixels.mask, dtype=bool)
    rgb = np.ascontiguousarray(rgba[..., :3])
    if rgba.shape[-1] == 4:
        rgb = np.where(rgba[..., 3:] > 0, rgb, 0).astype(np.uint8)
    return ChipInput(
        chip=chip,
        scene=scene,
        pixels=np.asarray(pixels.array),
        valid=valid,
        rgb=rgb,
        bands=tuple(pixels.bands),
        task_id=task_id,
    )
