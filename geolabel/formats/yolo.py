"""YOLO as Ultralytics reads it: detect, segment and oriented boxes, with `data.yaml` and our sidecar.

YOLO numbers classes from 0 without gaps; `data.yaml` and the sidecar hold which class of the taxonomy each number is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from geolabel.core.dataset import KIND_INDEX, Batch, Dataset
from geolabel.core.taxonomy import Taxonomy
from geolabel.errors import InputError
from geolabel.formats.coco import missing_images
from geolabel.formats.contract import FormatSpec, Loss, WriteOptions, Written, count_classes
from geolabel.formats.imagery import (
    SIDECAR,
    ImageParts,
    by_image,
    dataset_of_images,
    polygonal,
    read_images,
    read_sidecar,
    write_image,
    write_sidecar,
)

_DIGITS = 8
#: Ultralytics needs train and val; images that are not split go to train.
_UNSPLIT = "train"


@dataclass(frozen=True, slots=True, kw_only=True)
class Yolo:
    """The format, for one of its tasks: detect, segment or obb."""

    spec: FormatSpec
    task: str

    def write(self, dataset: Dataset, folder: Path, options: WriteOptions) -> Written:
        """Write labels/SPLIT/*.txt, images when asked, data.yaml and the sidecar; see `Format.write`."""
        order = {c.id: i for i, c in enumerate(sorted(dataset.taxonomy.classes, key=lambda c: c.id))}
        counts: dict[int, int] = {}
        outside = missing = 0
        splits = sorted({image.split or _UNSPLIT for image in dataset.images})
        for split in splits:
            (folder / "labels" / split).mkdir(parents=True)
            if options.images != "none":
                (folder / "images" / split).mkdir(parents=True)
        for item in by_image(dataset):
            split = item.image.split or _UNSPLIT
            lines, past = self._lines(item, order, counts)
            outside += past
            text = "".join(line + "\n" for line in lines)
            (folder / "labels" / split / f"{item.image.id}.txt").write_text(text, encoding="ascii")
            if options.images != "none":
                missing += write_image(item.image, folder / "images" / split, options) is None
        write_sidecar(
            folder, dataset, task=self.task, classes=[i for i, _ in sorted(order.items(), key=lambda p: p[1])]
        )
        (folder / "data.yaml").write_text(data_yaml(dataset, splits), encoding="utf-8")
        losses = [missing_images(missing)] if missing else []
        if outside:
            message = f"{outside} × coordinates past the image's edge are moved to it, since YOLO wants 0 to 1"
            losses.append(Loss(what="edge", count=outside, message=message))
        files = tuple(sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()))
        return Written(files=files, records=counts, losses=tuple(losses))

    def _lines(self, item: ImageParts, order: dict[int, int], counts: dict[int, int]) -> tuple[list[str], int]:
        batch = polygonal(item.parts, split=True)
        count_classes(counts, batch.class_id)
        size = np.array([item.image.width, item.image.height], dtype=np.float64)
        lines, outside = [], 0
        for class_id, geometry in zip(batch.class_id.tolist(), batch.geometry, strict=True):
            points = self._points(geometry) / size
            inside = np.clip(points, 0.0, 1.0)
            outside += int((inside != points).any(axis=1).sum())
            if self.task == "detect":
                low, high = inside.min(axis=0), inside.max(axis=0)
                inside = np.stack([(low + high) / 2, high - low])
            numbers = " ".join(f"{v:.{_DIGITS}f}".rstrip("0").rstrip(".") for v in inside.reshape(-1).tolist())
            lines.append(f"{order[class_id]} {numbers}")
        return lines, outside

    def _points(self, geometry: shapely.Geometry) -> Any:
        if self.task == "obb":
            geometry = shapely.oriented_envelope(geometry)
        if self.task == "detect":
            xmin, ymin, xmax, ymax = geometry.bounds
            return np.array([[xmin, ymin], [xmax, ymax]])
        return shapely.get_coordinates(geometry.exterior)[:-1]

    def read(self, path: Path, taxonomy: Taxonomy | None = None) -> Dataset:
        """Open a folder with `geolabel.json`; predictions of YOLO (with a confidence at the end) are read as well."""
        side = read_sidecar(path)
        found = taxonomy or Taxonomy.from_json(side["taxonomy"])
        own = Taxonomy.from_json(side["taxonomy"])
        names = {c.id: c.name for c in own.classes}
        ids = [found.by_name(names[i]).id for i in side["classes"]]
        images, scenes = read_images(side)

        def parts() -> Iterator[Batch]:
            for frame, image in enumerate(images):
                split = image.split or _UNSPLIT
                places = (path / "labels" / split, path / "labels", path)
                file = next((f for f in (p / f"{image.id}.txt" for p in places) if f.is_file()), None)
                rows = file.read_text("ascii").split("\n") if file is not None else []
                made = [self._record(row, image.width, image.height, ids, str(file)) for row in rows if row.strip()]
                if made:
                    yield Batch.of(
                        [shape for _, shape, _ in made],
                        frame=frame,
                        class_id=np.array([c for c, _, _ in made], dtype=np.int64),
                        score=np.array([s for _, _, s in made], dtype=np.float64),
                        kind=KIND_INDEX[{"detect": "box", "obb": "rotated_box"}.get(self.task, "polygon")],
                        id=np.array([f"{image.id}-{i:05d}" for i in range(len(made))], dtype=object),
                        task_id=image.task_id,
                    )

        return dataset_of_images(path.name, found, images, scenes, parts)

    def _record(
        self, row: str, width: int, height: int, ids: list[int], where: str
    ) -> tuple[int, shapely.Geometry, float]:
        words = row.split()
        try:
            number = int(words[0])
            values = [float(w) for w in words[1:]]
            score = np.nan
            if len(values) % 2:
                score = values.pop()
            points: Any = np.array(values).reshape(-1, 2)
            if self.task == "detect":
                middle, size = points
                points = np.array([middle - size / 2, middle + size / 2]) * [width, height]
                return ids[number], shapely.box(*points[0], *points[1]), float(score)
            return ids[number], shapely.Polygon(points * [width, height]), float(score)
        except (ValueError, IndexError) as error:
            raise InputError(f"{where}: line {row[:80]!r} is no label of YOLO {self.task}: {error}") from error


def data_yaml(dataset: Dataset, splits: list[str]) -> str:
    """Return the `data.yaml` of Ultralytics; without `path` it looks beside the file ("." is the current folder)."""
    import yaml

    classes = sorted(dataset.taxonomy.classes, key=lambda c: c.id)
    value: dict[str, Any] = {
        "train": "images/train" if "train" in splits else f"images/{splits[0] if splits else 'train'}",
        "val": "images/val" if "val" in splits else f"images/{splits[0] if splits else 'train'}",
        "names": {i: c.name for i, c in enumerate(classes)},
    }
    if "test" in splits:
        value["test"] = "images/test"
    return f"# Class numbers of the taxonomy, places and splits of the images are in {SIDECAR}.\n" + yaml.safe_dump(
        value, sort_keys=False, allow_unicode=True
    )


def _spec(name: str, title: str, keeps: set[str], note: str) -> FormatSpec:
    kept = frozenset({"unplaced", "empty_images", "overlaps", "instances"} | keeps)
    return FormatSpec(
        name=name, title=title, stream="parts", suffix="", keeps=kept, images="beside", crs="image", note=note
    )


DETECT = Yolo(task="detect", spec=_spec("yolo-detect", "YOLO detect", set(), "boxes from 0 to 1"))
SEGMENT = Yolo(
    task="segment", spec=_spec("yolo-segment", "YOLO segment", {"outline", "subpixel", "rotation"}, "one ring a record")
)
OBB = Yolo(
    task="obb", spec=_spec("yolo-obb", "YOLO oriented boxes", {"rotation", "subpixel"}, "the smallest rotated box")
)
