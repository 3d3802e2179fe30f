"""One image with its records as a JSON object: what WebDataset, Hugging Face and TFRecord carry beside pixels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import shapely

from geolabel.core.dataset import Batch, Dataset
from geolabel.core.taxonomy import Taxonomy
from geolabel.errors import InputError
from geolabel.formats.coco import extras, read_extras
from geolabel.formats.imagery import ImageParts, dataset_of_images, image_of_record, image_record


def objects_of(item: ImageParts, names: Mapping[int, str]) -> list[dict[str, Any]]:
    """Return the records of an image: class, box and WKB outline in px, and all that `extras` holds."""
    batch = item.parts
    bounds = shapely.bounds(batch.geometry).tolist()
    outlines = shapely.to_wkb(batch.geometry, hex=True)
    areas = np.round(shapely.area(batch.geometry), 4).tolist()
    rows = zip(batch.class_id.tolist(), bounds, areas, outlines, extras(batch), strict=True)
    return [
        {
            "category": class_id, "label": names.get(class_id, str(class_id)), "bbox": [a, b, c - a, d - b],
            "area": area, "outline": outline, **tail,
        }
        for class_id, (a, b, c, d), area, outline, tail in rows
    ]  # fmt: skip


def image_object(item: ImageParts, dataset: Dataset, names: Mapping[int, str]) -> dict[str, Any]:
    """Return an image as a JSON object with its records under "objects"."""
    return {**image_record(item.image, dataset.scenes), "objects": objects_of(item, names)}


def read_objects(
    name: str, records: Sequence[Mapping[str, Any]], taxonomy: Taxonomy, attributes: Mapping[str, Any] | None = None
) -> Dataset:
    """Return images that were written by `image_object` as a dataset.

    Raises:
        InputError: a record has no outline that can be read.
    """
    scenes: dict[str, int] = {}
    ordered = sorted(records, key=lambda r: (int(r.get("task_id", 0)), int(r.get("item_index", 0)), str(r["id"])))
    images = [image_of_record(record, scenes) for record in ordered]

    def parts() -> Iterator[Batch]:
        for frame, record in enumerate(ordered):
            listed = record["objects"]
            if not listed:
                continue
            try:
                shapes = shapely.from_wkb([o["outline"] for o in listed])
            except (KeyError, TypeError, shapely.errors.ShapelyError) as error:
                raise InputError(f"image {record['id']} of {name!r} has a record without outline: {error!r}") from error
            classes = np.array([taxonomy.by_name(o["label"]).id for o in listed], dtype=np.int64)
            yield Batch.of(shapes, frame=frame, class_id=classes, **read_extras(listed))

    return dataset_of_images(name, taxonomy, images, scenes, parts, attributes)


def dumps(value: Any) -> bytes:
    """Return JSON with sorted keys."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
