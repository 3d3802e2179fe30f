"""COCO panoptic: one PNG an image whose colours are segment ids, and their list; later records lie on top."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from geolabel.core.dataset import Batch, Dataset
from geolabel.core.shapes import mask_outline
from geolabel.core.taxonomy import Taxonomy
from geolabel.errors import AdapterError, InputError
from geolabel.formats.coco import categories, extras, missing_images, read_extras
from geolabel.formats.contract import KEEPABLE, FormatSpec, Loss, WriteOptions, Written
from geolabel.formats.features import taxonomy_of_names
from geolabel.formats.imagery import (
    ImageParts,
    burn_all,
    by_image,
    dataset_of_images,
    image_name,
    image_of_record,
    image_record,
    polygonal,
    write_image,
)

_FILE = "panoptic.json"
_KEEPS = (frozenset(KEEPABLE) - {"lines", "points", "sources", "subpixel", "overlaps"}) | {"unplaced"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Panoptic:
    """The format."""

    spec: FormatSpec

    def write(self, dataset: Dataset, folder: Path, options: WriteOptions) -> Written:
        """Write `panoptic.json`, PNGs and, when asked, images; see `Format.write`."""
        (folder / "panoptic").mkdir()
        counts: dict[int, int] = {}
        hidden = missing = 0
        images = []
        with (folder / _FILE).open("w", encoding="utf-8") as file:
            head = {"info": {"description": dataset.name}, "licenses": [], "categories": self._categories(dataset)}
            file.write(json.dumps(head, sort_keys=True)[:-1] + ', "annotations": [\n')
            for item in by_image(dataset):
                record, gone = _annotation(item, folder, counts)
                hidden += gone
                file.write(("" if item.number == 0 else ",\n") + json.dumps(record, sort_keys=True))
                name = write_image(item.image, folder / "images", options)
                missing += name is None and options.images != "none"
                images.append(
                    {
                        **image_record(item.image, dataset.scenes), "id": item.number + 1, "chip_id": item.image.id,
                        "file_name": f"images/{name or image_name(item.image, options)}",
                    }
                )  # fmt: skip
            file.write('\n], "images": ' + json.dumps(images, sort_keys=True) + "}\n")
        losses = [missing_images(missing)] if missing else []
        if hidden:
            message = f"{hidden} × records lie under others or hold no pixel centre and have no segment"
            losses.append(Loss(what="overlaps", count=hidden, message=message))
        files = tuple(sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()))
        return Written(files=files, records=counts, losses=tuple(losses))

    def _categories(self, dataset: Dataset) -> list[dict[str, Any]]:
        return [{**c, "isthing": 1, "color": _rgb(c["color"])} for c in categories(dataset.taxonomy)]

    def read(self, path: Path, taxonomy: Taxonomy | None = None) -> Dataset:
        """Open the folder or its `panoptic.json`; see `Format.read`."""
        file = path / _FILE if path.is_dir() else path
        try:
            value = json.loads(file.read_text("utf-8"))
            names = {c["id"]: str(c["name"]) for c in value["categories"]}
            listed = value["annotations"]
            records = value["images"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{file.name!r} can't be read as COCO panoptic: {error!r}") from error
        scenes: dict[str, int] = {}
        images = [image_of_record({**r, "id": r.get("chip_id", Path(r["file_name"]).stem)}, scenes) for r in records]
        frames = {r["id"]: i for i, r in enumerate(records)}
        found = taxonomy or taxonomy_of_names([(int(i), n) for i, n in names.items()], file.name)

        def parts() -> Iterator[Batch]:
            for record in sorted(listed, key=lambda r: frames[r["image_id"]]):
                segments = record["segments_info"]
                if not segments:
                    continue
                ids = _read_png(file.parent / "panoptic" / record["file_name"])
                yield Batch.of(
                    [mask_outline(ids == s["id"]) for s in segments],
                    frame=frames[record["image_id"]],
                    class_id=np.array([found.by_name(names[s["category_id"]]).id for s in segments], dtype=np.int64),
                    **read_extras(segments),
                )

        return dataset_of_images(file.name, found, images, scenes, parts)


def _rgb(colour: str) -> list[int]:
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def _annotation(item: ImageParts, folder: Path, counts: dict[int, int]) -> tuple[dict[str, Any], int]:
    batch = polygonal(item.parts, split=False)
    width, height = item.image.width, item.image.height
    ids = burn_all(list(zip(batch.geometry, range(1, len(batch) + 1), strict=True)), width, height, np.uint32)
    areas = np.bincount(ids.reshape(-1), minlength=len(batch) + 1)[1:]
    segments = []
    for i, (class_id, area, tail) in enumerate(
        zip(batch.class_id.tolist(), areas.tolist(), extras(batch), strict=True)
    ):
        if not area:
            continue
        rows, cols = np.nonzero(ids == i + 1)
        x, y = int(cols.min()), int(rows.min())
        box = [x, y, int(cols.max()) + 1 - x, int(rows.max()) + 1 - y]
        counts[class_id] = counts.get(class_id, 0) + 1
        segments.append({"id": i + 1, "category_id": class_id, "area": area, "bbox": box, "iscrowd": 0, **tail})
    _write_png(folder / "panoptic" / f"{item.image.id}.png", ids)
    record = {"image_id": item.number + 1, "file_name": f"{item.image.id}.png", "segments_info": segments}
    return record, len(batch) - len(segments)


def _write_png(path: Path, ids: npt.NDArray[np.uint32]) -> None:
    # id = R + 256·G + 256²·B, as panopticapi has it; OpenCV wants blue first.
    bgr = np.stack([ids >> 16, (ids >> 8) & 255, ids & 255], axis=-1).astype(np.uint8)
    if not cv2.imwrite(str(path), bgr):
        raise AdapterError(f"{path.name} could not be written; is the disk full?")


def _read_png(path: Path) -> npt.NDArray[np.uint32]:
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise InputError(f"{path.name} is missing or no PNG")
    wide = bgr.astype(np.uint32)
    ids: npt.NDArray[np.uint32] = wide[:, :, 2] + (wide[:, :, 1] << 8) + (wide[:, :, 0] << 16)
    return ids


FORMAT = Panoptic(
    spec=FormatSpec(
        name="coco-panoptic", title="COCO panoptic", stream="parts", suffix="", keeps=_KEEPS, images="beside",
        crs="image", note="whole pixels; where records overlap the later one lies on top",
    )
)  # fmt: skip
