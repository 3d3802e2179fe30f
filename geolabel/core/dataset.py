"""Datasets as streams of columns: what assembly gives, what the gate checks and what exporters take.

Two streams of one record type: *parts* are the regions as drawn, one record a region of an image, in the pixels of
that image; *objects* are the things on the ground, put together across images, in the pixels of their scene. Formats
of images and boxes take parts, formats of maps take objects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import shapely

from geolabel.core.georef import Georeference, Window
from geolabel.core.labels import Origin
from geolabel.core.shapes import SHAPE_KINDS
from geolabel.core.taxonomy import Taxonomy
from geolabel.errors import InputError

Geometries: TypeAlias = npt.NDArray[np.object_]
Texts: TypeAlias = npt.NDArray[np.object_]
Ints: TypeAlias = npt.NDArray[np.int64]
#: Type of an attribute column: text, real, whole, truth, or any JSON value written as text.
AttributeType: TypeAlias = Literal["text", "real", "int", "bool", "json"]
ORIGINS: tuple[Origin, ...] = tuple(Origin)
BATCH_SIZE = 20_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Records, one column a field; all columns have n entries, row i of each belongs to record i.

    Attributes:
        id: (n,) str. Region id (parts; unique within task) or computed object id (objects; unique in the dataset).
        frame: (n,) int64. Index into `Dataset.images` (parts) or `Dataset.scenes` (objects).
        geometry: (n,) shapely geometries, never None, in px of the frame; masks as the exact outline of their pixels,
            ellipses as 64 points, boxes and rotated boxes as four corners.
        kind: (n,) int64. Index into `SHAPE_KINDS`: what was drawn.
        class_id: (n,) int64. Id of the taxonomy.
        score: (n,) float64, 0 to 1, NaN for none.
        origin: (n,) int64. Index into `ORIGINS`.
        predicted: (n,) bool. The record is a prediction, not part of an annotation.
        task_id: (n,) int64. Task drawn on; of an object, that of its largest part.
        annotation_id: (n,) int64. Annotation (or prediction, where `predicted`); of an object, as `task_id`.
        annotator: (n,) str. Who drew it, or "model version" of a prediction; "" when unknown.
        created, updated: (n,) str. ISO 8601 UTC or "".
        sources: (n,) str. Parts of an object as "task:annotation:region" joined by ","; "" for parts.
        attributes: n mappings of JSON values, or None when no record of this batch has any.
    """

    id: Texts
    frame: Ints
    geometry: Geometries
    kind: Ints
    class_id: Ints
    score: npt.NDArray[np.float64]
    origin: Ints
    predicted: npt.NDArray[np.bool_]
    task_id: Ints
    annotation_id: Ints
    annotator: Texts
    created: Texts
    updated: Texts
    sources: Texts
    attributes: tuple[Mapping[str, Any], ...] | None = None

    def __post_init__(self) -> None:
        n = len(self.geometry)
        wrong = {name: len(getattr(self, name)) for name in COLUMNS if len(getattr(self, name)) != n}
        if self.attributes is not None and len(self.attributes) != n:
            wrong["attributes"] = len(self.attributes)
        if wrong:
            raise InputError(f"columns of a batch must all have {n} entries, as geometry has; these differ: {wrong}")

    def __len__(self) -> int:
        return len(self.geometry)

    @classmethod
    def of(cls, geometry: Iterable[shapely.Geometry] | Geometries, **columns: Any) -> Batch:
        """Build from geometries; columns not given take neutral values (class 1, no score, manual, frame 0).

        A column may be given as one value for all records.
        """
        shapes = np.empty(0, dtype=object)
        listed = geometry if isinstance(geometry, np.ndarray) else list(geometry)
        shapes = np.empty(len(listed), dtype=object)
        shapes[:] = listed
        n = len(shapes)
        attributes = columns.pop("attributes", None)
        unknown = set(columns) - set(COLUMNS)
        if unknown:
            raise InputError(f"a batch has no columns {sorted(unknown)}; it has {', '.join(COLUMNS)}")
        made = {name: _column(name, columns.get(name), n) for name in COLUMNS if name != "geometry"}
        if "id" not in columns:
            made["id"] = np.array([f"{i:012d}" for i in range(n)], dtype=object)
        if "kind" not in columns:
            made["kind"] = np.array([KIND_INDEX[drawn_kind(g)] for g in shapes], dtype=np.int64)
        return cls(geometry=shapes, attributes=None if attributes is None else tuple(attributes), **made)

    @classmethod
    def empty(cls) -> Batch:
        """Return a batch of no records."""
        return cls.of([])

    def take(self, index: Any) -> Batch:
        """Return the records of an integer index array, boolean mask or slice, in that order."""
        columns = {name: getattr(self, name)[index] for name in COLUMNS}
        attributes = self.attributes
        if attributes is not None:
            attributes = tuple(attributes[i] for i in np.arange(len(self))[index])
        return Batch(attributes=attributes, **columns)

    def with_columns(self, **columns: Any) -> Batch:
        """Return a copy with some columns replaced (full columns, not single values)."""
        return replace(self, **columns)

    def attribute(self, row: int) -> Mapping[str, Any]:
        """Return the attributes of one record, empty when it has none."""
        return {} if self.attributes is None else self.attributes[row]

    @classmethod
    def concat(cls, batches: Sequence[Batch]) -> Batch:
        """Join batches in order."""
        if len(batches) == 1:
            return batches[0]
        if not batches:
            return cls.empty()
        columns = {name: np.concatenate([getattr(b, name) for b in batches]) for name in COLUMNS}
        attributes: tuple[Mapping[str, Any], ...] | None = None
        if any(b.attributes is not None for b in batches):
            attributes = tuple(b.attribute(i) for b in batches for i in range(len(b)))
        return cls(attributes=attributes, **columns)


COLUMNS: tuple[str, ...] = tuple(f.name for f in fields(Batch) if f.name != "attributes")
TEXT_COLUMNS = ("id", "annotator", "created", "updated", "sources")
KIND_INDEX: Mapping[str, int] = {kind: i for i, kind in enumerate(SHAPE_KINDS)}
_DEFAULTS: Mapping[str, Any] = {"class_id": 1, "score": np.nan, "predicted": False}


def drawn_kind(geometry: shapely.Geometry) -> str:
    """Return the shape kind that a bare geometry stands for."""
    name = geometry.geom_type
    return {"MultiPolygon": "multipolygon", "LineString": "line", "MultiLineString": "line", "LinearRing": "line"}.get(
        name, "point" if name in ("Point", "MultiPoint") else "polygon"
    )


def _column(name: str, value: Any, n: int) -> npt.NDArray[Any]:
    if name in TEXT_COLUMNS:
        out = np.empty(n, dtype=object)
        out[:] = "" if value is None else value
        return out
    dtype = {"score": np.float64, "predicted": np.bool_}.get(name, np.int64)
    fill = _DEFAULTS.get(name, 0) if value is None else value
    return (
        np.broadcast_to(np.asarray(fill, dtype=dtype), (n,)).copy() if np.ndim(fill) == 0 else np.asarray(fill, dtype)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRef:
    """One labelled image: a chip, or an image without a place on the Earth.

    Attributes:
        id: Chip id, or an id computed from the task when it has none.
        task_id: Task it belongs to.
        width, height: px.
        georef: Of the image's own pixel plane, or None when it has no place (map formats report such records as lost).
        scene: Index into `Dataset.scenes`, or -1.
        window: In scene px, or None.
        split: "train", "val", "test" or "" when not split.
        uri: Where Label Studio shows it from (signature removed), or "".
        geo: `task.data.geo` of a chip as JSON text, so that its pixels can be rendered; "" when none.
        item_index: Position in a task of several images, else 0.
    """

    id: str
    task_id: int
    width: int
    height: int
    georef: Georeference | None = None
    scene: int = -1
    window: Window | None = None
    split: str = ""
    uri: str = ""
    geo: str = ""
    item_index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneRef:
    """A scene that images were cut from; its pixel plane is the frame of objects."""

    id: str
    georef: Georeference
    name: str = ""
    acquired: str = ""
    region: str = ""
    crs_log: Mapping[str, Any] = field(default_factory=dict)


BatchStream: TypeAlias = Callable[[], Iterator[Batch]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """A labelled dataset; the streams may be started as often as wanted and give the same records each time.

    Attributes:
        name: For titles.
        taxonomy: Classes that `class_id` refers to.
        images: Frames of parts, ordered by task id, then item index.
        scenes: Frames of objects, ordered by id.
        parts: Starts a stream of parts, ordered by image index.
        objects: Starts a stream of objects, ordered by scene index.
        attributes: Type of every attribute name that occurs, sorted by name.
        description: Where it came from, for people.
    """

    name: str
    taxonomy: Taxonomy
    images: Sequence[ImageRef]
    scenes: Sequence[SceneRef]
    parts: BatchStream
    objects: BatchStream
    attributes: Mapping[str, AttributeType] = field(default_factory=dict)
    description: str = ""

    def class_names(self) -> dict[int, str]:
        """Map class id to name."""
        return {c.id: c.name for c in self.taxonomy.classes}


def rebatch(batches: Iterable[Batch], size: int = BATCH_SIZE) -> Iterator[Batch]:
    """Yield the same records in batches of exactly `size`, the last one smaller."""
    held: list[Batch] = []
    count = 0
    for batch in batches:
        held.append(batch)
        count += len(batch)
        while count >= size:
            whole = Batch.concat(held)
            yield whole.take(slice(0, size))
            rest = whole.take(slice(size, None))
            held, count = [rest], len(rest)
    if count:
        yield Batch.concat(held)


def stream(*batches: Batch) -> BatchStream:
    """Return a stream over batches held in memory."""
    return lambda: iter(batches)
