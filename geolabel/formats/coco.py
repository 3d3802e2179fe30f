"""COCO: detection, and instances with polygons, or run lengths where holes and parts need them.

Category ids are those of the taxonomy. Every image carries numeric CRS, transform and bounds, every annotation its
region, score and attributes, as further members that readers of COCO pass over.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson
import shapely

from geolabel.core.dataset import KIND_INDEX, ORIGINS, Batch, Dataset
from geolabel.core.shapes import SHAPE_KINDS
from geolabel.core.taxonomy import Taxonomy
from geolabel.errors import InputError
from geolabel.formats import runs
from geolabel.formats.contract import KEEPABLE, FormatSpec, Loss, WriteOptions, Written, count_classes
from geolabel.formats.features import taxonomy_of_names
from geolabel.formats.imagery import dataset_of_images, image_name, image_of_record, image_record, write_image

_KEEPS = frozenset(KEEPABLE) - {"lines", "points", "sources"}
_DECIMALS = 4
_FILE = "annotations.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Coco:
    """The format, with outlines or with boxes only."""

    spec: FormatSpec
    outlines: bool

    def write(self, dataset: Dataset, folder: Path, options: WriteOptions) -> Written:
        """Write `annotations.json` and, when asked, images; see `Format.write`."""
        counts: dict[int, int] = {}
        missing = 0
        # Annotations come first on disk: they stream, while images are known only with their files.
        with (folder / _FILE).open("wb") as file:
            head = {
                "info": {"description": dataset.name, "version": dataset.taxonomy.version},
                "licenses": [],
                "categories": categories(dataset.taxonomy),
                "attributes": dict(dataset.attributes),
            }
            file.write(orjson.dumps(head)[:-1] + b',"images":[\n')
            for number, image in enumerate(dataset.images):
                name = write_image(image, folder / "images", options)
                missing += name is None and options.images != "none"
                record = {
                    **image_record(image, dataset.scenes), "id": number + 1, "chip_id": image.id,
                    "file_name": f"images/{name or image_name(image, options)}",
                }  # fmt: skip
                file.write((b"" if number == 0 else b",\n") + orjson.dumps(record))
            file.write(b'],"annotations":[\n')
            self._annotations(file, dataset, counts)
            file.write(b"\n]}\n")
        losses = (missing_images(missing),) if missing else ()
        files = tuple(sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()))
        return Written(files=files, records=counts, losses=losses)

    def _annotations(self, file: BinaryIO, dataset: Dataset, counts: dict[int, int]) -> None:
        number = 0
        for batch in dataset.parts():
            keep = np.isin(shapely.get_type_id(batch.geometry), (3, 6))
            batch = batch if keep.all() else batch.take(keep)
            if not len(batch):
                continue
            count_classes(counts, batch.class_id)
            file.write(b"" if number == 0 else b",\n")
            file.write(b",\n".join(self._texts(batch, dataset, number)))
            number += len(batch)

    def _texts(self, batch: Batch, dataset: Dataset, first: int) -> Iterator[bytes]:
        bounds = shapely.bounds(batch.geometry)
        boxes = np.round(np.column_stack([bounds[:, :2], bounds[:, 2:] - bounds[:, :2]]), _DECIMALS)
        areas = np.round(shapely.area(batch.geometry), _DECIMALS) if self.outlines else boxes[:, 2] * boxes[:, 3]
        outlines = segmentations(batch, dataset) if self.outlines else iter(list, None)
        tails = extras(batch)
        rows = zip(
            batch.frame.tolist(), batch.class_id.tolist(), boxes.tolist(), areas.tolist(), outlines, tails, strict=False
        )
        for number, (frame, class_id, box, area, outline, tail) in enumerate(rows, first + 1):
            record = {
                "id": number, "image_id": frame + 1, "category_id": class_id, "bbox": box, "area": area, "iscrowd": 0,
                "segmentation": outline, **tail,
            }  # fmt: skip
            yield orjson.dumps(record, option=orjson.OPT_SERIALIZE_NUMPY)

    def read(self, path: Path, taxonomy: Taxonomy | None = None) -> Dataset:
        """Open a COCO file or the folder it lies in; results files (a list with scores) need `images` beside them."""
        file = path / _FILE if path.is_dir() else path
        try:
            value = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{file.name!r} can't be read as COCO: {error}") from error
        return read_coco(value, file.name, taxonomy, outlines=self.outlines)


def categories(taxonomy: Taxonomy) -> list[dict[str, Any]]:
    """Return the classes as COCO categories; ids are those of the taxonomy."""
    return [{"id": c.id, "name": c.name, "supercategory": taxonomy.name, "color": c.colour} for c in taxonomy.classes]


def missing_images(count: int) -> Loss:
    """Return the loss of images whose pixels can't be had."""
    return Loss(what="images", count=count, message=f"{count} × images could not be had, since they are no chips")


def segmentations(batch: Batch, dataset: Dataset) -> Iterator[Any]:
    """Yield a list of one flat ring for plain polygons, RLE for polygons with holes or several parts."""
    plain = (shapely.get_type_id(batch.geometry) == 3) & (shapely.get_num_interior_rings(batch.geometry) == 0)
    xy, owner = shapely.get_coordinates(batch.geometry, return_index=True)
    flat = np.ascontiguousarray(np.round(xy, _DECIMALS)).reshape(-1)
    stops = np.cumsum(np.bincount(owner, minlength=len(batch)))
    start = 0
    for i, (is_plain, stop) in enumerate(zip(plain.tolist(), stops.tolist(), strict=True)):
        if is_plain:
            # COCO's rings do not repeat their first point.
            yield [flat[2 * start : 2 * (stop - 1)]]
        else:
            image = dataset.images[int(batch.frame[i])]
            yield runs.encode(batch.geometry[i], image.width, image.height)
        start = stop


_ORIGIN_NAMES = [str(o) for o in ORIGINS]


def extras(batch: Batch) -> Iterator[dict[str, Any]]:
    """Yield what COCO has no member for: region, task, annotation, score, origin, kind, times, attributes."""
    scored = np.isfinite(batch.score).tolist()
    rows = zip(
        batch.id.tolist(), batch.task_id.tolist(), batch.annotation_id.tolist(), batch.kind.tolist(),
        batch.origin.tolist(), batch.predicted.tolist(), batch.annotator.tolist(), batch.created.tolist(),
        batch.updated.tolist(), batch.score.tolist(), strict=True,
    )  # fmt: skip
    for i, (region, task, annotation, kind, origin, predicted, who, created, updated, score) in enumerate(rows):
        tail: dict[str, Any] = {
            "region_id": region, "task_id": task, "annotation_id": annotation, "kind": SHAPE_KINDS[kind],
            "origin": _ORIGIN_NAMES[origin], "annotator": who, "created": created, "updated": updated,
        }  # fmt: skip
        if predicted:
            tail["predicted"] = True
        if scored[i]:
            tail["score"] = score
        if batch.attributes is not None and batch.attributes[i]:
            tail["attributes"] = batch.attributes[i]
        yield tail


def read_extras(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the columns of `extras`; members that are absent take neutral values."""
    origins = {name: i for i, name in enumerate(_ORIGIN_NAMES)}
    columns: dict[str, Any] = {
        "id": np.array([str(r.get("region_id", r.get("id", i))) for i, r in enumerate(records)], dtype=object),
        "task_id": np.array([int(r.get("task_id", 0)) for r in records], dtype=np.int64),
        "annotation_id": np.array([int(r.get("annotation_id", 0)) for r in records], dtype=np.int64),
        "origin": np.array([origins.get(r.get("origin", ""), 0) for r in records], dtype=np.int64),
        "predicted": np.array([bool(r.get("predicted", False)) for r in records], dtype=bool),
        "score": np.array([float(r["score"]) if r.get("score") is not None else np.nan for r in records]),
    }
    for name in ("annotator", "created", "updated"):
        columns[name] = np.array([str(r.get(name, "")) for r in records], dtype=object)
    if all(r.get("kind") in KIND_INDEX for r in records):
        columns["kind"] = np.array([KIND_INDEX[r["kind"]] for r in records], dtype=np.int64)
    if any(r.get("attributes") for r in records):
        columns["attributes"] = [r.get("attributes") or {} for r in records]
    return columns


def read_coco(value: Any, name: str, taxonomy: Taxonomy | None, *, outlines: bool = True) -> Dataset:
    """Return a parsed COCO file as a dataset.

    Raises:
        InputError: an annotation names an image or category that is not there, or has no geometry.
    """
    if not isinstance(value, dict) or not all(isinstance(value.get(k), list) for k in ("images", "categories")):
        raise InputError(f"{name!r} is no COCO file: it needs lists of images, categories and annotations")
    scene_names: dict[str, int] = {}
    images = [
        image_of_record({**r, "id": r.get("chip_id", Path(str(r.get("file_name", r.get("id")))).stem)}, scene_names)
        for r in value["images"]
    ]
    frames = {r["id"]: i for i, r in enumerate(value["images"])}
    names = {c["id"]: str(c["name"]) for c in value["categories"]}
    found = taxonomy or taxonomy_of_names([(int(i), n) for i, n in names.items()], name)
    listed = value.get("annotations") or []
    for record in listed:
        if record.get("image_id") not in frames or record.get("category_id") not in names:
            raise InputError(
                f"annotation {record.get('id')} of {name!r} names image {record.get('image_id')} and category "
                f"{record.get('category_id')}, which are not both in the file"
            )
    ids = {number: found.by_name(label).id for number, label in names.items() if label in found or listed}
    listed = sorted(listed, key=lambda r: frames[r["image_id"]])
    geometry = [_geometry(record, outlines) for record in listed]

    def parts() -> Iterator[Batch]:
        if listed:
            yield Batch.of(
                geometry,
                frame=np.array([frames[r["image_id"]] for r in listed], dtype=np.int64),
                class_id=np.array([ids[r["category_id"]] for r in listed], dtype=np.int64),
                **read_extras(listed),
            )

    return dataset_of_images(name, found, images, scene_names, parts, value.get("attributes"))


def _geometry(record: dict[str, Any], outlines: bool) -> shapely.Geometry:
    outline = record.get("segmentation")
    try:
        if outlines and isinstance(outline, dict):
            return runs.outline(outline)
        if outlines and outline:
            rings = [shapely.Polygon(np.asarray(ring, dtype=np.float64).reshape(-1, 2)) for ring in outline]
            return rings[0] if len(rings) == 1 else shapely.union_all(rings)
        x, y, width, height = (float(v) for v in record["bbox"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"annotation {record.get('id')} has no geometry that can be read: {error!r}") from error
    return shapely.box(x, y, x + width, y + height)


INSTANCES = Coco(
    outlines=True,
    spec=FormatSpec(
        name="coco", title="COCO instances", stream="parts", suffix="", keeps=_KEEPS | {"unplaced"}, images="beside",
        crs="image", whole_pixels_for=frozenset({"holes", "multipart"}),
        note="polygons; run lengths (whole pixels) where there are holes or several parts",
    ),
)  # fmt: skip
DETECTION = Coco(
    outlines=False,
    spec=FormatSpec(
        name="coco-detection", title="COCO detection", stream="parts", suffix="",
        keeps=(_KEEPS | {"unplaced"}) - {"outline", "holes", "rotation"}, images="beside", crs="image",
        note="boxes; run lengths and outlines are left out",
    ),
)  # fmt: skip
