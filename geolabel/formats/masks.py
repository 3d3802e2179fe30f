"""Masks as GeoTIFF or COG: class ids (semantic) or instance numbers, at their place, with colours and nodata."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from geolabel.core.dataset import Batch, Dataset, ImageRef
from geolabel.core.shapes import mask_outline
from geolabel.core.taxonomy import Taxonomy
from geolabel.errors import AdapterError, InputError
from geolabel.formats.coco import extras, missing_images, read_extras
from geolabel.formats.contract import KEEPABLE, FormatSpec, Loss, WriteOptions, Written, count_classes
from geolabel.formats.imagery import (
    burn_all,
    by_image,
    dataset_of_images,
    polygonal,
    read_images,
    read_sidecar,
    write_image,
    write_sidecar,
)

_BASE = frozenset({"unplaced", "empty_images", "outline", "rotation", "holes", "multipart"})
_INSTANCES = "instances.jsonl"
Mask = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Masks:
    """The format: one raster an image. Pixels past the edge of the scene are nodata."""

    spec: FormatSpec
    instances: bool

    def write(self, dataset: Dataset, folder: Path, options: WriteOptions) -> Written:
        """Write masks/SPLIT/*.tif, images when asked and the sidecar; option `cog` true for COG. See `Format.write`."""
        counts: dict[int, int] = {}
        hidden = missing = 0
        most = max(c.id for c in dataset.taxonomy.classes)
        dtype: Any = np.uint8 if most < 255 and not self.instances else np.uint16
        with (folder / _INSTANCES).open("wb") as told:
            for item in by_image(dataset):
                batch = polygonal(item.parts, split=False)
                numbers = range(1, len(batch) + 1) if self.instances else batch.class_id.tolist()
                if len(batch) >= np.iinfo(dtype).max:
                    raise InputError(f"image {item.image.id} has {len(batch)} records; a mask can number 65,534")
                pairs = list(zip(batch.geometry, numbers, strict=True))
                mask = burn_all(pairs, item.image.width, item.image.height, dtype)
                shown = np.isin(numbers, np.unique(mask)) if self.instances else np.ones(len(batch), dtype=bool)
                hidden += int((~shown).sum())
                count_classes(counts, batch.class_id[shown])
                self._hide_outside(mask, item.image, dataset)
                target = folder / "masks" / (item.image.split or "all")
                target.mkdir(parents=True, exist_ok=True)
                _write_tiff(target / f"{item.image.id}.tif", mask, item.image, self._colours(dataset), options)
                if self.instances:
                    told.write(_instance_lines(item.image, batch, shown))
                if options.images != "none":
                    missing += write_image(item.image, folder / "images" / (item.image.split or "all"), options) is None
        if not self.instances:
            (folder / _INSTANCES).unlink()
        write_sidecar(folder, dataset, nodata=int(np.iinfo(dtype).max))
        losses = [missing_images(missing)] if missing else []
        if hidden:
            message = f"{hidden} × records lie under others or hold no pixel centre and have no pixels"
            losses.append(Loss(what="overlaps", count=hidden, message=message))
        files = tuple(sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()))
        return Written(files=files, records=counts, losses=tuple(losses))

    def _hide_outside(self, mask: Mask, image: ImageRef, dataset: Dataset) -> None:
        if image.window is None or image.scene < 0:
            return
        scene, window = dataset.scenes[image.scene].georef, image.window
        cols = window.col + (np.arange(image.width) + 0.5) * window.width / image.width
        rows = window.row + (np.arange(image.height) + 0.5) * window.height / image.height
        nodata = np.iinfo(mask.dtype).max
        mask[:, (cols < 0) | (cols > scene.width)] = nodata
        mask[(rows < 0) | (rows > scene.height), :] = nodata

    def _colours(self, dataset: Dataset) -> dict[int, tuple[int, int, int, int]] | None:
        if self.instances:
            return None
        table = {0: (0, 0, 0, 0)}
        for c in dataset.taxonomy.classes:
            red, green, blue = (int(c.colour[i : i + 2], 16) for i in (1, 3, 5))
            table[c.id] = (red, green, blue, 255)
        return table

    def read(self, path: Path, taxonomy: Taxonomy | None = None) -> Dataset:
        """Open a folder with `geolabel.json`; areas of one class come back as one record each. See `Format.read`."""
        side = read_sidecar(path)
        own = Taxonomy.from_json(side["taxonomy"])
        found = taxonomy or own
        images, scenes = read_images(side)
        names = {c.id: c.name for c in own.classes}
        told = _read_instances(path / _INSTANCES) if self.instances else {}

        def parts() -> Iterator[Batch]:
            for frame, image in enumerate(images):
                file = path / "masks" / (image.split or "all") / f"{image.id}.tif"
                if not file.is_file():
                    continue
                mask = _read_tiff(file)
                mask = np.where(mask == side["nodata"], 0, mask)
                batch = self._records(mask, frame, image, names, told.get(image.id, []), found)
                if len(batch):
                    yield batch

        return dataset_of_images(path.name, found, images, scenes, parts)

    def _records(
        self,
        mask: Mask,
        frame: int,
        image: ImageRef,
        names: Mapping[int, str],
        told: list[dict[str, Any]],
        taxonomy: Taxonomy,
    ) -> Batch:
        if self.instances:
            shapes = [mask_outline(mask == record["value"]) for record in told]
            classes = [taxonomy.by_name(names[record["class_id"]]).id for record in told]
            return Batch.of(shapes, frame=frame, class_id=np.array(classes, dtype=np.int64), **read_extras(told))
        shapes, classes = [], []
        for value in np.unique(mask[mask > 0]).tolist():
            pieces = shapely.get_parts(mask_outline(mask == value))
            shapes += list(pieces)
            classes += [taxonomy.by_name(names[value]).id] * len(pieces)
        ids = np.array([f"{image.id}-{i:05d}" for i in range(len(shapes))], dtype=object)
        return Batch.of(shapes, frame=frame, class_id=np.array(classes, dtype=np.int64), id=ids, task_id=image.task_id)


def _instance_lines(image: ImageRef, batch: Batch, shown: npt.NDArray[np.bool_]) -> bytes:
    lines = []
    for i, (class_id, tail) in enumerate(zip(batch.class_id.tolist(), extras(batch), strict=True)):
        if shown[i]:
            record = {"image": image.id, "value": i + 1, "class_id": class_id, **tail}
            lines.append(json.dumps(record, sort_keys=True, ensure_ascii=False) + "\n")
    return "".join(lines).encode()


def _read_instances(path: Path) -> dict[str, list[dict[str, Any]]]:
    out: dict[str, list[dict[str, Any]]] = {}
    with path.open(encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            out.setdefault(record["image"], []).append(record)
    return out


def _write_tiff(
    path: Path,
    mask: Mask,
    image: ImageRef,
    colours: Mapping[int, tuple[int, int, int, int]] | None,
    options: WriteOptions,
) -> None:
    import warnings

    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    place: dict[str, Any] = {}
    if image.georef is not None:
        place = {"crs": image.georef.crs, "transform": image.georef.affine}
    driver = "COG" if options.extra.get("cog") else "GTiff"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(
                path, "w", driver=driver, width=image.width, height=image.height, count=1, dtype=mask.dtype,
                compress="deflate", nodata=int(np.iinfo(mask.dtype).max), **place,
            ) as target:  # fmt: skip
                target.write(mask, 1)
                if colours is not None and mask.dtype == np.uint8:
                    target.write_colormap(1, dict(colours))
    except RasterioError as error:
        raise AdapterError(f"{path.name} could not be written: {error}") from error


def _read_tiff(path: Path) -> Mask:
    import warnings

    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as source:
                out: Mask = source.read(1)
    except RasterioError as error:
        raise InputError(f"{path.name} can't be read: {error}") from error
    return out


SEMANTIC = Masks(
    instances=False,
    spec=FormatSpec(
        name="mask-semantic", title="Masks of classes (GeoTIFF, COG)", stream="parts", suffix="", keeps=_BASE,
        images="beside", crs="image", note="pixel value = class id, 0 = nothing, the highest value = past the scene",
    ),
)  # fmt: skip
INSTANCE = Masks(
    instances=True,
    spec=FormatSpec(
        name="mask-instance", title="Masks of instances (GeoTIFF, COG)", stream="parts", suffix="",
        keeps=frozenset(KEEPABLE) - {"lines", "points", "sources", "subpixel", "overlaps"},
        images="beside", crs="image", note="pixel value = number of the record in instances.jsonl",
    ),
)  # fmt: skip
