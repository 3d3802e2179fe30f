"""Labels of other programs: back to the map, or into Label Studio as predictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from geolabel.core.dataset import Batch, Dataset, ImageRef
from geolabel.core.georef import Georeference
from geolabel.core.labels import Region
from geolabel.core.placing import crs_of, place, reproject, scene_georefs, unplace
from geolabel.core.shapes import SHAPE_KINDS, from_shapely
from geolabel.core.taxonomy import Taxonomy
from geolabel.errors import InputError
from geolabel.formats.contract import WriteOptions, Written
from geolabel.formats.labelstudio import shape_of
from geolabel.formats.registry import formats
from geolabel.labelstudio.codec import encode_regions
from geolabel.labelstudio.config import LabelConfig
from geolabel.labelstudio.task import chip_of_task
from geolabel.services import Services

_SUFFIXES = {
    ".geojson": "geojson", ".geojsonl": "geojsonseq", ".gpkg": "gpkg", ".fgb": "flatgeobuf", ".shp": "shapefile",
    ".parquet": "geoparquet", ".kml": "kml", ".csv": "csv", ".json": "coco",
}  # fmt: skip
_BATCH = 200


@dataclass(slots=True)
class Imported:
    """What came in: records read, put on images, predictions made, and what was left out and why."""

    read: int = 0
    placed: int = 0
    predictions: int = 0
    lost: dict[str, int] = field(default_factory=dict)

    def lose(self, why: str, count: int = 1) -> None:
        """Count records that are left out."""
        if count:
            self.lost[why] = self.lost.get(why, 0) + count

    def to_json(self) -> dict[str, Any]:
        """Return JSON types."""
        return {"read": self.read, "placed": self.placed, "predictions": self.predictions, "lost": dict(self.lost)}


def open_labels(path: Path, name: str = "", taxonomy: Taxonomy | None = None) -> Dataset:
    """Open a file or folder in one of our formats.

    Args:
        path: File or folder.
        name: Format, or "" to tell by the suffix.
        taxonomy: Classes, or None for those that the file names.

    Raises:
        InputError: the format can't be told, or the file is not of it.
    """
    if not path.exists():
        raise InputError(f"there is no {path}")
    found = name or _SUFFIXES.get(path.suffix.lower(), "")
    if not found:
        raise InputError(
            f"the format of {path.name!r} can't be told by its name; give one of {', '.join(formats().names())}"
        )
    return formats().get(found).read(path, taxonomy)


def to_map(
    path: Path, name: str, out_format: str, folder: Path, *, crs: str = "scene", taxonomy: Taxonomy | None = None
) -> Written:
    """Write labels of an image format (or any other) as a map.

    Raises:
        InputError: no record has a place on the Earth, or the target is no map format.
    """
    dataset = open_labels(path, name, taxonomy)
    form = formats().get(out_format)
    if form.spec.stream != "objects":
        raise InputError(
            f"{out_format!r} is no map format; take geojson, gpkg, geoparquet, flatgeobuf, shapefile, kml or csv"
        )
    if not dataset.scenes:
        raise InputError(f"no image of {path.name!r} has CRS and transform, so nothing can be put on a map")
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise InputError(f"{folder} is not empty; give a new folder")
    return form.write(dataset, folder, WriteOptions(crs=(crs,)))


def to_project(
    services: Services, project_id: int, path: Path, name: str, *, model_version: str = "imported"
) -> Imported:
    """Bring labels into a project as predictions.

    Records of image formats go to the task of their chip (by chip id); those of map formats to every chip that they
    reach into, cut at its border.

    Raises:
        InputError: nothing fits the project's tasks.
    """
    project = services.labelstudio.project(project_id)
    config = LabelConfig.parse(str(project.get("label_config") or ""))
    dataset = open_labels(path, name, None)
    out = Imported()
    match = _by_chip(dataset, out) if dataset.images else _by_place(dataset, out)
    held: list[dict[str, Any]] = []
    for task in services.labelstudio.tasks(project_id, fields="task_only"):
        try:
            chip = chip_of_task(task)
        except InputError:
            out.lose("tasks without a place", 1)
            continue
        regions = match.regions(chip.id, chip.georef)
        if not regions:
            continue
        out.placed += len(regions)
        encoded = encode_regions(regions, config, width_px=chip.georef.width, height_px=chip.georef.height)
        for issue in encoded.losses:
            out.lose(issue.message if len(out.lost) < 20 else issue.code)
        scores = [r.score for r in regions if r.score is not None]
        score = float(np.mean(scores)) if scores else 0.0
        held.append({"task": task["id"], "result": encoded.result, "score": score, "model_version": model_version})
        if len(held) == _BATCH:
            out.predictions += services.labelstudio.import_predictions(project_id, held)
            held = []
    if held:
        out.predictions += services.labelstudio.import_predictions(project_id, held)
    out.lose("records that lie on no task of the project", match.unused())
    if not out.placed:
        raise InputError(
            f"none of {out.read} records of {path.name!r} lies on a task of project {project_id}; "
            "image formats match by chip id, map formats by place"
        )
    return out


class _Matcher:
    """Gives the regions of a chip, and counts records that no chip took."""

    def __init__(self, names: Mapping[int, str], batch: Batch) -> None:
        self._names = names
        self._batch = batch
        self._used = np.zeros(len(batch), dtype=bool)

    def unused(self) -> int:
        """Return how many records no chip took."""
        return int((~self._used).sum())

    def regions(self, chip_id: str, georef: Georeference) -> list[Region]:
        """Return the regions of a chip, in its px."""
        raise NotImplementedError

    def _regions(self, rows: Any, shapes: Any, image: ImageRef) -> list[Region]:
        out = []
        for row, shape in zip(rows.tolist(), shapes, strict=True):
            self._used[row] = True
            score = float(self._batch.score[row])
            kind = SHAPE_KINDS[int(self._batch.kind[row])]
            region = f"{self._batch.id[row]}"
            out.append(
                Region(
                    id=region if len(region) >= 10 else f"imported{region:0>8}",
                    shape=shape_of(shape, kind, image) if shape.geom_type == "Polygon" else from_shapely(shape),
                    label=self._names[int(self._batch.class_id[row])],
                    score=None if np.isnan(score) else score,
                    attributes=dict(self._batch.attribute(row)),
                )
            )
        return out


class _ByChip(_Matcher):
    def __init__(self, names: Mapping[int, str], batch: Batch, images: Mapping[str, int]) -> None:
        super().__init__(names, batch)
        self._images = images

    def regions(self, chip_id: str, georef: Georeference) -> list[Region]:
        number = self._images.get(chip_id)
        if number is None:
            return []
        rows = np.flatnonzero(self._batch.frame == number)
        image = ImageRef(id=chip_id, task_id=0, width=georef.width, height=georef.height)
        return self._regions(rows, self._batch.geometry[rows], image)


class _ByPlace(_Matcher):
    def __init__(self, names: Mapping[int, str], batch: Batch, crs: str) -> None:
        super().__init__(names, batch)
        self._crs = crs
        self._tree = shapely.STRtree(batch.geometry)

    def regions(self, chip_id: str, georef: Georeference) -> list[Region]:
        outline = shapely.segmentize(georef.footprint(), max(georef.width, georef.height) / 8)
        area = reproject(np.array([outline], dtype=object), georef.crs, self._crs)[0]
        rows = np.sort(self._tree.query(area, predicate="intersects"))
        if not len(rows):
            return []
        frame = np.zeros(len(rows), dtype=np.int64)
        px = unplace(self._batch.geometry[rows], frame, [georef], self._crs)
        cut = shapely.intersection(px, shapely.box(0, 0, georef.width, georef.height))
        same = shapely.get_dimensions(cut) == shapely.get_dimensions(px)
        keep = same & ~shapely.is_empty(cut) & (shapely.get_type_id(cut) < 7)
        image = ImageRef(id=chip_id, task_id=0, width=georef.width, height=georef.height)
        return self._regions(rows[keep], cut[keep], image)


def _whole(batches: Iterator[Batch], out: Imported) -> Batch:
    batch = Batch.concat(list(batches))
    out.read = len(batch)
    return batch


def _by_chip(dataset: Dataset, out: Imported) -> _Matcher:
    images = {image.id: i for i, image in enumerate(dataset.images)}
    return _ByChip(dataset.class_names(), _whole(dataset.parts(), out), images)


def _by_place(dataset: Dataset, out: Imported) -> _Matcher:
    georefs = scene_georefs(dataset.scenes)
    crs = crs_of(georefs)[0]
    batch = _whole(dataset.objects(), out)
    placed = batch.with_columns(geometry=place(batch, georefs, crs))
    return _ByPlace(dataset.class_names(), placed, crs)
