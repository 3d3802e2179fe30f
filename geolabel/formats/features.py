"""Objects as rows of a table: one schema for every map format, in both directions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely

from geolabel.core.dataset import KIND_INDEX, ORIGINS, AttributeType, Batch, Dataset, Geometries
from geolabel.core.georef import Georeference, crs_text
from geolabel.core.placing import crs_of, place, scene_georefs
from geolabel.core.shapes import SHAPE_KINDS
from geolabel.core.taxonomy import LabelClass, Taxonomy
from geolabel.errors import InputError, TaxonomyError

FAMILIES = ("polygon", "line", "point")
ATTRIBUTE_PREFIX = "a_"
#: Columns of every map format, in order, before those of attributes.
BASE_COLUMNS: tuple[tuple[str, pa.DataType], ...] = (
    ("id", pa.string()),
    ("class", pa.string()),
    ("class_id", pa.int64()),
    ("score", pa.float64()),
    ("predicted", pa.bool_()),
    ("origin", pa.string()),
    ("kind", pa.string()),
    ("scene", pa.string()),
    ("task_id", pa.int64()),
    ("annotation_id", pa.int64()),
    ("annotator", pa.string()),
    ("created", pa.string()),
    ("updated", pa.string()),
    ("sources", pa.string()),
)
_ARROW: Mapping[str, pa.DataType] = {
    "text": pa.string(), "json": pa.string(), "real": pa.float64(), "int": pa.int64(), "bool": pa.bool_(),
}  # fmt: skip
KIND_NAMES = np.array(SHAPE_KINDS, dtype=object)
ORIGIN_NAMES = np.array([str(o) for o in ORIGINS], dtype=object)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Objects that share a geometry family and a CRS: what one layer can hold."""

    family: str
    crs: str
    count: int
    multi: bool


def family_of(geometry: Geometries) -> npt.NDArray[np.int64]:
    """Return the index into `FAMILIES` of each geometry."""
    types = shapely.get_type_id(geometry)
    return np.select([np.isin(types, (3, 6)), np.isin(types, (1, 2, 5))], [0, 1], 2).astype(np.int64)


def groups(dataset: Dataset) -> list[Group]:
    """Return the groups of a dataset by the CRS of its scenes, in one pass."""
    codes = crs_of(scene_georefs(dataset.scenes))
    code_of = np.array([codes.index(scene.georef.crs) for scene in dataset.scenes], dtype=np.int64)
    counts = np.zeros((len(FAMILIES), max(1, len(codes))), dtype=np.int64)
    multi = np.zeros_like(counts)
    for batch in dataset.objects():
        key = family_of(batch.geometry), code_of[batch.frame]
        np.add.at(counts, key, 1)
        np.add.at(multi, key, shapely.get_type_id(batch.geometry) >= 4)
    return [
        Group(family=family, crs=code, count=int(counts[f, c]), multi=bool(multi[f, c]))
        for c, code in enumerate(codes)
        for f, family in enumerate(FAMILIES)
        if counts[f, c]
    ]


def schema(dataset: Dataset, *, geometry: bool = True) -> pa.Schema:
    """Return the columns: the base ones, one per attribute, and the geometry as WKB."""
    fields = [pa.field(name, kind) for name, kind in BASE_COLUMNS]
    fields += [pa.field(ATTRIBUTE_PREFIX + name, _ARROW[kind]) for name, kind in dataset.attributes.items()]
    if geometry:
        fields.append(pa.field("geometry", pa.binary()))
    return pa.schema(fields)


def columns(batch: Batch, dataset: Dataset) -> dict[str, pa.Array]:
    """Return the columns of a batch of objects as Arrow arrays, without the geometry."""
    names = dataset.class_names()
    scenes = np.array([scene.name or scene.id for scene in dataset.scenes], dtype=object)
    values: dict[str, Any] = {
        "id": batch.id,
        "class": [names.get(i, str(i)) for i in batch.class_id.tolist()],
        "class_id": batch.class_id,
        "score": batch.score,
        "predicted": batch.predicted,
        "origin": ORIGIN_NAMES[batch.origin],
        "kind": KIND_NAMES[batch.kind],
        "scene": scenes[batch.frame],
        "task_id": batch.task_id,
        "annotation_id": batch.annotation_id,
        "annotator": batch.annotator,
        "created": batch.created,
        "updated": batch.updated,
        "sources": batch.sources,
    }
    out = {name: pa.array(values[name], type=kind, from_pandas=(name == "score")) for name, kind in BASE_COLUMNS}
    for name, kind in dataset.attributes.items():
        listed = [typed(batch.attribute(i).get(name), kind) for i in range(len(batch))] if batch.attributes else None
        arrow = _ARROW[kind]
        out[ATTRIBUTE_PREFIX + name] = pa.nulls(len(batch), arrow) if listed is None else pa.array(listed, type=arrow)
    return out


def typed(value: Any, kind: AttributeType) -> Any:
    """Return an attribute's value as its column's type."""
    if value is None:
        return None
    match kind:
        case "real":
            return float(value)
        case "int":
            return int(value)
        case "bool":
            return bool(value)
        case "json":
            return json.dumps(value, sort_keys=True, ensure_ascii=False)
        case _:
            return str(value)


def infer_type(values: Sequence[Any]) -> AttributeType:
    """Return the narrowest attribute type that holds all values without change."""
    kinds = {type(v) for v in values if v is not None}
    if kinds <= {bool}:
        return "bool"
    if kinds <= {int}:
        return "int"
    if kinds <= {int, float}:
        return "real"
    return "text" if kinds <= {str} else "json"


def table_batches(dataset: Dataset, group: Group | None, crs: str) -> Iterator[tuple[Batch, Geometries]]:
    """Yield objects with their geometry in CRS coordinates.

    Args:
        dataset: Dataset.
        group: Only these objects, or None for all.
        crs: Target, or "" for the CRS of the group.
    """
    georefs = scene_georefs(dataset.scenes)
    in_crs = np.array([group is None or g.crs == group.crs for g in georefs], dtype=bool)
    for batch in dataset.objects():
        if group is not None:
            keep = in_crs[batch.frame] & (family_of(batch.geometry) == FAMILIES.index(group.family))
            if not keep.any():
                continue
            batch = batch.take(keep)
        yield batch, place(batch, georefs, crs)


def plain_dataset(
    crs: str, taxonomy: Taxonomy, attributes: Mapping[str, AttributeType], objects: Any, name: str
) -> Dataset:
    """Return a dataset whose one frame is a CRS itself: "pixels" are CRS coordinates."""
    from geolabel.core.dataset import SceneRef

    plane = Georeference(crs=crs_text(crs), transform=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), width=1, height=1)
    return Dataset(
        name=name, taxonomy=taxonomy, images=(), scenes=(SceneRef(id="crs", georef=plane),), parts=lambda: iter(()),
        objects=objects, attributes=attributes,
    )  # fmt: skip


def _as_text(value: Any) -> str:
    # Readers that guess dates give back times; ours are written as ISO 8601 UTC.
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return "" if value is None else str(value)


def batch_of_table(table: pa.Table | pa.RecordBatch, geometry: Geometries, taxonomy: Taxonomy) -> Batch:
    """Return rows as objects; columns that are absent take neutral values, foreign ones become attributes."""
    names = set(table.schema.names)
    n = len(geometry)

    def text(name: str) -> list[str]:
        return [_as_text(v) for v in table.column(name).to_pylist()] if name in names else [""] * n

    given: dict[str, Any] = {
        name: text(name) for name in ("annotator", "created", "updated", "sources") if name in names
    }
    for name in ("task_id", "annotation_id"):
        if name in names:
            given[name] = [0 if v is None else int(v) for v in table.column(name).to_pylist()]
    if "id" in names:
        given["id"] = text("id")
    if "score" in names:
        given["score"] = [np.nan if v is None else float(v) for v in table.column("score").to_pylist()]
    if "predicted" in names:
        given["predicted"] = [bool(v) for v in table.column("predicted").to_pylist()]
    if "kind" in names:
        given["kind"] = [KIND_INDEX.get(v, KIND_INDEX["polygon"]) for v in text("kind")]
    if "origin" in names:
        known = {str(o): i for i, o in enumerate(ORIGINS)}
        given["origin"] = [known.get(v, 0) for v in text("origin")]
    given["class_id"] = _class_ids(table, names, taxonomy, text)
    extra = [name for name in table.schema.names if name.startswith(ATTRIBUTE_PREFIX)]
    attributes = None
    if extra:
        lists = [table.column(name).to_pylist() for name in extra]
        keys = [name.removeprefix(ATTRIBUTE_PREFIX) for name in extra]
        attributes = [
            {k: v for k, v in zip(keys, row, strict=True) if v is not None} for row in zip(*lists, strict=True)
        ]
    return Batch.of(geometry, attributes=attributes, **given)


CLASS_FIELDS = ("class", "label", "class_name", "category", "name")


def _class_ids(table: Any, names: set[str], taxonomy: Taxonomy, text: Any) -> list[int]:
    field = next((name for name in CLASS_FIELDS if name in names), None)
    if field is None:
        if len(taxonomy.classes) == 1:
            return [taxonomy.classes[0].id] * len(table)
        raise InputError(f"no column holds the class; name one of them {', '.join(CLASS_FIELDS)}")
    ids = {name: taxonomy.by_name(name).id for name in dict.fromkeys(text(field))}
    return [ids[name] for name in text(field)]


def taxonomy_of_names(names: Sequence[tuple[int | None, str]], title: str) -> Taxonomy:
    """Return a taxonomy of class names found in a file; ids are kept where the file has them.

    Raises:
        TaxonomyError: a class has two ids, or none has a name.
    """
    given = {name: number for number, name in names if number is not None}
    listed = list(dict.fromkeys(name for _, name in names if name))
    if not listed:
        raise TaxonomyError(f"{title} names no class; give a taxonomy")
    free = max([0, *given.values()])
    classes = []
    for name in listed:
        if name not in given:
            free += 1
        classes.append(LabelClass(id=given.get(name, free), name=name))
    return Taxonomy(name=title, version="found", classes=tuple(sorted(classes, key=lambda c: c.id)))
