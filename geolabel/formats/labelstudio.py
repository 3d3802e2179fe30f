"""Label Studio's own JSON: tasks with annotations and predictions, and the label config that they need."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import shapely

from geolabel.core.dataset import KIND_INDEX, ORIGINS, Batch, Dataset, ImageRef
from geolabel.core.labels import Region
from geolabel.core.shapes import SHAPE_KINDS, Box, Ellipse, Mask, RotatedBox, Shape, from_shapely, to_shapely
from geolabel.core.taxonomy import LabelClass, Taxonomy
from geolabel.errors import InputError
from geolabel.formats.contract import KEEPABLE, FormatSpec, Loss, WriteOptions, Written
from geolabel.formats.imagery import ImageParts, burn, by_image, dataset_of_images, image_of_record, image_record
from geolabel.labelstudio.codec import decode_result, encode_regions
from geolabel.labelstudio.config import LabelConfig, build_config

_ELLIPSE_QUARTER = 16  # of the 64 points that an ellipse is drawn with
_FILE = "tasks.json"


def shape_of(geometry: shapely.Geometry, kind: str, image: ImageRef) -> Shape:
    """Return what was drawn from its outline; an outline that is no longer of its kind becomes a polygon."""
    if geometry.geom_type == "Polygon" and not geometry.interiors:
        xy = shapely.get_coordinates(geometry)[:-1]
        if kind == "box" and len(xy) == 4 and geometry.equals(shapely.box(*geometry.bounds)):
            xmin, ymin, xmax, ymax = geometry.bounds
            return Box(xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax)
        if kind == "rotated_box" and len(xy) == 4:
            return _rotated(xy)
        if kind == "ellipse" and len(xy) == 4 * _ELLIPSE_QUARTER:
            return _ellipse(xy)
    if kind == "mask" and geometry.geom_type in ("Polygon", "MultiPolygon"):
        mask = burn(geometry, image.width, image.height)
        if mask.any():
            return Mask.from_array(mask)
    return from_shapely(geometry)


def _rotated(xy: Any) -> Shape:
    across, down = xy[1] - xy[0], xy[2] - xy[1]
    centre = xy.mean(axis=0)
    return RotatedBox(
        cx=float(centre[0]), cy=float(centre[1]), width=float(np.hypot(*across)), height=float(np.hypot(*down)),
        angle_deg=float(np.degrees(np.arctan2(across[1], across[0]))),
    )  # fmt: skip


def _ellipse(xy: Any) -> Shape:
    centre = xy.mean(axis=0)
    first, second = xy[0] - centre, xy[_ELLIPSE_QUARTER] - centre
    return Ellipse(
        cx=float(centre[0]), cy=float(centre[1]), rx=float(np.hypot(*first)), ry=float(np.hypot(*second)),
        angle_deg=float(np.degrees(np.arctan2(first[1], first[0]))),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelStudioJson:
    """The format."""

    spec: FormatSpec

    def write(self, dataset: Dataset, folder: Path, options: WriteOptions) -> Written:
        """Write tasks.json and config.xml; see `Format.write`."""
        del options
        taxonomy = _carrying(dataset)
        xml = build_config(taxonomy, prompts=False)
        config = LabelConfig.parse(xml)
        (folder / "config.xml").write_text(xml, encoding="utf-8")
        names = dataset.class_names()
        counts: dict[int, int] = {}
        lost: dict[str, int] = {}
        with (folder / _FILE).open("wb") as file:
            file.write(b"[\n")
            for item in by_image(dataset):
                file.write(b"" if item.number == 0 else b",\n")
                file.write(orjson.dumps(_task(item, dataset, config, names, counts, lost)))
            file.write(b"\n]\n")
        losses = tuple(Loss(what=code, count=n, message=f"{n} × {code}") for code, n in sorted(lost.items()))
        return Written(files=("config.xml", _FILE), records=counts, losses=losses)

    def read(self, path: Path, taxonomy: Taxonomy | None = None) -> Dataset:
        """Open a folder (or tasks.json) that was written by this format; see `Format.read`."""
        file = path / _FILE if path.is_dir() else path
        try:
            tasks = json.loads(file.read_text("utf-8"))
            records = [task["data"]["geolabel"] for task in tasks]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{file.name!r} was not written by this format ({error!r}); other files of Label Studio go through "
                "`geolabel export --from-file`"
            ) from error
        config = file.parent / "config.xml"
        found = taxonomy or LabelConfig.parse(config.read_text("utf-8")).taxonomy(file.name)
        scenes: dict[str, int] = {}
        images = [image_of_record(record, scenes) for record in records]

        def parts() -> Iterator[Batch]:
            for frame, (task, image) in enumerate(zip(tasks, images, strict=True)):
                held = [(a, False) for a in task["annotations"]] + [(p, True) for p in task["predictions"]]
                batches = [_batch(a, predicted, frame, image, found) for a, predicted in held]
                batch = Batch.concat([b for b in batches if len(b)])
                if len(batch):
                    yield batch

        return dataset_of_images(file.name, found, images, scenes, parts)


def _carrying(dataset: Dataset) -> Taxonomy:
    """Return the taxonomy with every shape kind that occurs, so that the config can carry all of it."""
    kinds: dict[int, set[int]] = {}
    for batch in dataset.parts():
        for class_id in np.unique(batch.class_id).tolist():
            kinds.setdefault(class_id, set()).update(np.unique(batch.kind[batch.class_id == class_id]).tolist())

    def widened(c: LabelClass) -> LabelClass:
        shapes = tuple(dict.fromkeys([*c.shapes, *(SHAPE_KINDS[k] for k in sorted(kinds.get(c.id, ())))]))
        return replace(c, shapes=shapes)

    return Taxonomy(
        name=dataset.taxonomy.name, version=dataset.taxonomy.version,
        classes=tuple(widened(c) for c in dataset.taxonomy.classes),
    )  # fmt: skip


def _task(
    item: ImageParts,
    dataset: Dataset,
    config: LabelConfig,
    names: dict[int, str],
    counts: dict[int, int],
    lost: dict[str, int],
) -> dict[str, Any]:
    image, batch = item.image, item.parts
    data: dict[str, Any] = {config.image_key: image.uri, "geolabel": image_record(image, dataset.scenes)}
    if image.geo:
        data["geo"] = orjson.loads(image.geo)
        data["chip_id"] = image.id
    task: dict[str, Any] = {"id": image.task_id, "data": data, "annotations": [], "predictions": []}
    keys = list(zip(batch.predicted.tolist(), batch.annotation_id.tolist(), batch.annotator.tolist(),
                    batch.created.tolist(), batch.updated.tolist(), strict=True))  # fmt: skip
    for key in dict.fromkeys(keys):
        rows = [i for i, k in enumerate(keys) if k == key]
        regions = [_region(batch, i, image, names) for i in rows]
        encoded = encode_regions(regions, config, width_px=image.width, height_px=image.height)
        gone = {issue.region_id for issue in encoded.losses if issue.code != "LSC000"}
        for issue in encoded.losses:
            lost[issue.code] = lost.get(issue.code, 0) + 1
        written = {item.get("id") for item in encoded.result} if hasattr(encoded, "result") else set()
        for i, region in zip(rows, regions, strict=True):
            if region.id in written or region.id not in gone:
                class_id = int(batch.class_id[i])
                counts[class_id] = counts.get(class_id, 0) + 1
        predicted, number, who, created, updated = key
        entry: dict[str, Any] = {"id": number, "result": encoded.result, "created_at": created, "updated_at": updated}
        entry["model_version" if predicted else "completed_by"] = who
        task["predictions" if predicted else "annotations"].append(entry)
    return task


def _region(batch: Batch, i: int, image: ImageRef, names: dict[int, str]) -> Region:
    score = float(batch.score[i])
    return Region(
        id=str(batch.id[i]), shape=shape_of(batch.geometry[i], SHAPE_KINDS[int(batch.kind[i])], image),
        label=names[int(batch.class_id[i])], score=None if np.isnan(score) else score,
        attributes=dict(batch.attribute(i)), origin=ORIGINS[int(batch.origin[i])],
    )  # fmt: skip


def _batch(entry: dict[str, Any], predicted: bool, frame: int, image: ImageRef, taxonomy: Taxonomy) -> Batch:
    decoded = decode_result(entry["result"], width_px=image.width, height_px=image.height, taxonomy=taxonomy)
    regions = decoded.regions
    if not regions:
        return Batch.empty()
    return Batch.of(
        [to_shapely(r.shape) for r in regions],
        id=np.array([r.id for r in regions], dtype=object),
        frame=frame,
        kind=np.array([KIND_INDEX[r.shape.kind] for r in regions], dtype=np.int64),
        class_id=np.array([taxonomy.by_name(r.label).id for r in regions], dtype=np.int64),
        score=np.array([np.nan if r.score is None else r.score for r in regions]),
        origin=np.array([ORIGINS.index(r.origin) for r in regions], dtype=np.int64),
        predicted=predicted,
        task_id=image.task_id,
        annotation_id=entry["id"],
        annotator=entry["model_version" if predicted else "completed_by"],
        created=entry["created_at"],
        updated=entry["updated_at"],
        attributes=[dict(r.attributes) for r in regions] if any(r.attributes for r in regions) else None,
    )


FORMAT = LabelStudioJson(
    spec=FormatSpec(
        name="labelstudio", title="Label Studio JSON", stream="parts", suffix="",
        keeps=frozenset(KEEPABLE) - {"sources"}, crs="image",
        note="tasks with annotations and predictions, and a config",
    )
)  # fmt: skip
