"""Label a few chips of the sample scene from its ground truth, as a first annotator would."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from geolabel.core.ids import region_id
from geolabel.core.labels import Region
from geolabel.core.scene import Chip
from geolabel.core.shapes import from_shapely
from geolabel.labelstudio.codec import encode_regions
from geolabel.labelstudio.config import LabelConfig
from geolabel.labelstudio.task import chip_of_task
from geolabel.services import Services

SMALLEST_PX = 30.0
SMOOTH_PX = 0.5


def label_from_truth(services: Services, project_id: int, truth: Path, count: int) -> int:
    """Annotate the chips that show most classes; returns how many were annotated."""
    import geopandas

    labelstudio = services.labelstudio
    config = LabelConfig.parse(str(labelstudio.project(project_id)["label_config"]))
    frame = geopandas.read_file(truth, engine="pyogrio")
    labels, geometries = [str(label) for label in frame["label"]], list(frame.geometry)
    found = []
    for task in labelstudio.tasks(project_id, fields="task_only"):
        chip = chip_of_task(task)
        regions = list(_regions(chip, labels, geometries, set(config.labels())))
        found.append((task["id"], chip, regions))
    chosen = sorted(found, key=lambda one: (-len({region.label for region in one[2]}), abs(len(one[2]) - 40), one[0]))
    for task_id, chip, regions in chosen[:count]:
        size = {"width_px": chip.georef.width, "height_px": chip.georef.height}
        labelstudio.annotate(int(task_id), encode_regions(regions, config, **size).result)
    return len(chosen[:count])


def _regions(chip: Chip, labels: list[str], geometries: list[Any], known: set[str]) -> Iterator[Region]:
    """Yield the truth inside a chip, in its pixels."""
    frame = shapely.box(0, 0, chip.georef.width, chip.georef.height)
    footprint = shapely.Polygon(
        chip.georef.to_world(np.array([[0, 0], [0, 1], [1, 1], [1, 0]]) * [chip.georef.width, chip.georef.height])
    )
    for index in shapely.STRtree(geometries).query(footprint, predicate="intersects"):
        if labels[index] not in known:
            continue
        in_px = shapely.transform(geometries[index], chip.georef.to_pixel)
        clipped = in_px.intersection(frame).simplify(SMOOTH_PX)
        for part_number, part in enumerate(getattr(clipped, "geoms", [clipped])):
            for number, whole in enumerate(without_holes(part)):
                if whole.area >= SMALLEST_PX:
                    identity = region_id("truth", chip.id, int(index), part_number, number)
                    yield Region(id=identity, shape=from_shapely(whole), label=labels[index])


def without_holes(polygon: Any) -> Iterator[shapely.Polygon]:
    """Cut a polygon at its holes: Label Studio's polygons can't have any."""
    if not isinstance(polygon, shapely.Polygon) or polygon.is_empty:
        return
    if not polygon.interiors:
        yield polygon
        return
    left, top, right, bottom = polygon.bounds
    middle = shapely.Polygon(polygon.interiors[0]).centroid.x
    for half in (shapely.box(left, top, middle, bottom), shapely.box(middle, top, right, bottom)):
        cut = polygon.intersection(half)
        for part in getattr(cut, "geoms", [cut]):
            yield from without_holes(part)
