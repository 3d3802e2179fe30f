"""Pascal VOC: one XML an image, boxes from 1, and the image's place as numbers."""

from __future__ import annotations

import xml.etree.ElementTree as ET
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
from geolabel.formats.contract import FormatSpec, WriteOptions, Written, count_classes
from geolabel.formats.imagery import (
    ImageParts,
    by_image,
    dataset_of_images,
    image_name,
    polygonal,
    read_images,
    read_sidecar,
    write_image,
    write_sidecar,
)

_FIRST = 1.0  # VOC's first pixel is number 1
_DIGITS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Voc:
    """The format."""

    spec: FormatSpec

    def write(self, dataset: Dataset, folder: Path, options: WriteOptions) -> Written:
        """Write Annotations/*.xml, ImageSets, JPEGImages when asked, and the sidecar; see `Format.write`."""
        (folder / "Annotations").mkdir()
        sets = folder / "ImageSets" / "Main"
        sets.mkdir(parents=True)
        names = dataset.class_names()
        counts: dict[int, int] = {}
        missing = 0
        listed: dict[str, list[str]] = {}
        for item in by_image(dataset):
            tree = _tree(item, names, options, counts)
            ET.indent(tree)
            (folder / "Annotations" / f"{item.image.id}.xml").write_bytes(ET.tostring(tree, encoding="utf-8") + b"\n")
            listed.setdefault(item.image.split or "train", []).append(item.image.id)
            if options.images != "none":
                missing += write_image(item.image, folder / "JPEGImages", options) is None
        for split, ids in listed.items():
            (sets / f"{split}.txt").write_text("".join(f"{i}\n" for i in ids), encoding="utf-8")
        write_sidecar(folder, dataset)
        files = tuple(sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()))
        losses = (missing_images(missing),) if missing else ()
        return Written(files=files, records=counts, losses=losses)

    def read(self, path: Path, taxonomy: Taxonomy | None = None) -> Dataset:
        """Open a folder with `geolabel.json`; see `Format.read`."""
        side = read_sidecar(path)
        found = taxonomy or Taxonomy.from_json(side["taxonomy"])
        images, scenes = read_images(side)

        def parts() -> Iterator[Batch]:
            for frame, image in enumerate(images):
                file = path / "Annotations" / f"{image.id}.xml"
                if not file.is_file():
                    continue
                try:
                    objects = ET.parse(file).getroot().findall("object")
                    made = [_box(node, found) for node in objects]
                except (ET.ParseError, TypeError, ValueError) as error:
                    raise InputError(f"{file.name!r} is no annotation of VOC: {error}") from error
                if made:
                    yield Batch.of(
                        [shape for _, shape in made],
                        frame=frame,
                        class_id=np.array([c for c, _ in made], dtype=np.int64),
                        kind=KIND_INDEX["box"],
                        id=np.array([f"{image.id}-{i:05d}" for i in range(len(made))], dtype=object),
                        task_id=image.task_id,
                    )

        return dataset_of_images(path.name, found, images, scenes, parts)


def _tree(item: ImageParts, names: dict[int, str], options: WriteOptions, counts: dict[int, int]) -> ET.Element:
    image = item.image
    root = ET.Element("annotation")
    _add(root, "folder", "JPEGImages")
    _add(root, "filename", image_name(image, options))
    size = ET.SubElement(root, "size")
    for name, value in (("width", image.width), ("height", image.height), ("depth", 3)):
        _add(size, name, value)
    if image.georef is not None:
        place = ET.SubElement(root, "georeference")
        _add(place, "crs", image.georef.crs)
        _add(place, "transform", " ".join(repr(v) for v in image.georef.transform))
        _add(place, "bounds", " ".join(repr(v) for v in image.georef.bounds()))
    _add(root, "segmented", 0)
    batch = polygonal(item.parts, split=True)
    count_classes(counts, batch.class_id)
    bounds = shapely.bounds(batch.geometry)
    edge = np.array([image.width, image.height, image.width, image.height], dtype=np.float64)
    for class_id, box in zip(batch.class_id.tolist(), bounds.tolist(), strict=True):
        node = ET.SubElement(root, "object")
        _add(node, "name", names.get(class_id, str(class_id)))
        _add(node, "pose", "Unspecified")
        _add(node, "truncated", int(min(box) <= 0 or box[2] >= edge[0] or box[3] >= edge[1]))
        _add(node, "difficult", 0)
        bndbox = ET.SubElement(node, "bndbox")
        for name, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True):
            # Corners move by one: our left edge 0 is VOC's 1; our right edge w is VOC's last pixel w, counted inside.
            shift = _FIRST if name.endswith("min") else 0.0
            _add(bndbox, name, f"{value + shift:.{_DIGITS}f}".rstrip("0").rstrip("."))
    return root


def _add(parent: ET.Element, name: str, value: Any) -> None:
    ET.SubElement(parent, name).text = str(value)


def _box(node: ET.Element, taxonomy: Taxonomy) -> tuple[int, shapely.Geometry]:
    box = node.find("bndbox")
    if box is None:
        raise ValueError("an object has no bndbox")
    xmin, ymin, xmax, ymax = (float(box.findtext(name) or "") for name in ("xmin", "ymin", "xmax", "ymax"))
    number = taxonomy.by_name(node.findtext("name") or "").id
    return number, shapely.box(xmin - _FIRST, ymin - _FIRST, xmax, ymax)


FORMAT = Voc(
    spec=FormatSpec(
        name="voc", title="Pascal VOC", stream="parts", suffix="",
        keeps=frozenset({"subpixel", "unplaced", "empty_images", "overlaps", "instances"}), images="beside",
        crs="image",
        note="boxes; min corners count pixels from 1, as VOC does",
    )
)  # fmt: skip
