"""Tasks of a snapshot → images and batches of parts: polygons by the column, all else through the codec."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
import orjson
import shapely

from geolabel.core.dataset import KIND_INDEX, ORIGINS, AttributeType, Batch, ImageRef, SceneRef
from geolabel.core.georef import Georeference, Window, crs_text
from geolabel.core.labels import Region
from geolabel.core.placing import scene_plane
from geolabel.core.scene import TASK_SCHEMA
from geolabel.core.shapes import to_shapely
from geolabel.core.taxonomy import Taxonomy
from geolabel.errors import GeoLabelError, GeoreferenceError, InputError, TaxonomyError
from geolabel.labelstudio.codec import decode_result

Task = Mapping[str, Any]
Chooser = Callable[[Task], Sequence[Mapping[str, Any]]]
_PLAIN_KEYS = frozenset({
    "id", "type", "value", "to_name", "from_name", "image_rotation", "original_width", "original_height", "origin",
    "score", "readonly", "hidden", "locked", "item_index",
})  # fmt: skip
_POLYGON = KIND_INDEX["polygon"]
_ORIGIN_INDEX = {str(o): i for i, o in enumerate(ORIGINS)}
_EXAMPLES = 200
_FLUSH = 20_000


@dataclass(slots=True)
class Decoding:
    """What decoding found besides the records.

    Attributes:
        images: Every image of every task, by task id and item index.
        scenes: Scenes of these images, by id.
        lost: Records that could not be read, by code.
        examples: The first of them as sentences, for people.
        regions: Records read.
        attributes: Type of every attribute.
        annotations: Annotations taken.
    """

    images: list[ImageRef] = field(default_factory=list)
    scenes: list[SceneRef] = field(default_factory=list)
    lost: Counter[str] = field(default_factory=Counter)
    examples: list[dict[str, Any]] = field(default_factory=list)
    regions: int = 0
    attributes: dict[str, AttributeType] = field(default_factory=dict)
    annotations: int = 0

    def lose(self, code: str, message: str, task_id: Any, count: int = 1, **facts: Any) -> None:
        """Count records that are left out."""
        self.lost[code] += count
        if len(self.examples) < _EXAMPLES:
            self.examples.append({"code": code, "message": message, "task": task_id, **facts})


class Decoder:
    """Decodes tasks one by one and yields batches.

    Args:
        taxonomy: Classes; labels outside of it are lost, and counted.
        choose: Which annotations (and predictions, marked `_predicted`) of a task are taken.
        image_key: Key of `task.data` that holds the image address, or "" to guess.
        with_geo: Keep `task.data.geo` of every image, for rendering and for writing Label Studio's own format.
    """

    def __init__(self, taxonomy: Taxonomy, choose: Chooser, *, image_key: str = "", with_geo: bool = True) -> None:
        self.taxonomy = taxonomy
        self.found = Decoding()
        self._choose = choose
        self._image_key = image_key
        self._with_geo = with_geo
        self._scenes: dict[str, SceneRef] = {}
        self._scene_number: dict[str, int] = {}
        self._class_ids: dict[str, int] = {}
        self._kinds: dict[str, set[type]] = {}
        self._plain = _Plain()
        self._held: list[Batch] = []
        self._count = 0

    def run(self, tasks: Iterable[Task]) -> Iterator[Batch]:
        """Yield batches of parts in image order; afterwards `found` is complete."""
        for task in tasks:
            self._task(task)
            if self._count >= _FLUSH:
                yield self._flush()
        if self._count:
            yield self._flush()
        self._finish()

    def _flush(self) -> Batch:
        self._take_plain()
        batch = Batch.concat(self._held)
        self._held, self._count = [], 0
        # Within an image, records keep the order of Label Studio's results.
        return batch.take(np.argsort(batch.frame, kind="stable"))

    def _task(self, task: Task) -> None:
        first = len(self.found.images)
        chosen = self._choose(task)
        images = self._images(task, chosen)
        self.found.images += images
        for annotation in chosen:
            result = annotation.get("result")
            if not images:
                count = len(result) if isinstance(result, list) else 1
                if count:
                    message = f"task {task.get('id')} has neither data.geo nor original_width and original_height"
                    self.found.lose("EXP001", f"{message}; percent can't become pixels", task.get("id"), count)
                continue
            self.found.annotations += 1
            self._annotation(task, annotation, images, first)

    def _annotation(self, task: Task, annotation: Mapping[str, Any], images: list[ImageRef], first: int) -> None:
        facts = _facts(task, annotation)
        result = annotation.get("result")
        if len(images) == 1 and isinstance(result, list) and self._plain.take(self, result, images[0], first, facts):
            self._count += len(result)
            return
        self._take_plain()  # keeps records in order
        for number, image in enumerate(images):
            own = result
            if len(images) > 1 and isinstance(result, list):
                own = [r for r in result if not isinstance(r, Mapping) or (r.get("item_index") or 0) == number]
            decoded = decode_result(own, width_px=image.width, height_px=image.height, taxonomy=self.taxonomy)
            for issue in decoded.losses:
                self.found.lose(issue.code, issue.message, task.get("id"), region=issue.region_id)
            if decoded.image_values:
                self.found.lose(
                    "EXP002",
                    f"values of the whole image are no regions: {sorted(decoded.image_values)}",
                    task.get("id"),
                )
            self._regions(decoded.regions, first + number, facts)

    def _regions(self, regions: Sequence[Region], frame: int, facts: dict[str, Any]) -> None:
        kept, shapes = [], []
        for region in regions:
            try:
                shape = to_shapely(region.shape)
            except (GeoLabelError, ValueError, shapely.errors.ShapelyError) as error:
                self.found.lose("EXP003", f"region {region.id!r} has no geometry: {error}", facts["task_id"])
                continue
            kept.append(region)
            shapes.append(shape)
        if not kept:
            return
        for region in kept:
            for name, value in region.attributes.items():
                self._kinds.setdefault(name, set()).add(type(value))
        self._held.append(
            Batch.of(
                shapes,
                id=np.array([r.id for r in kept], dtype=object),
                frame=frame,
                kind=np.array([KIND_INDEX[r.shape.kind] for r in kept], dtype=np.int64),
                class_id=np.array([self.class_id(r.label) for r in kept], dtype=np.int64),
                score=np.array([np.nan if r.score is None else r.score for r in kept]),
                origin=np.array([ORIGINS.index(r.origin) for r in kept], dtype=np.int64),
                attributes=[dict(r.attributes) for r in kept] if any(r.attributes for r in kept) else None,
                **facts,
            )
        )
        self._count += len(kept)
        self.found.regions += len(kept)

    def class_id(self, label: str) -> int:
        """Return the id of a label (or alias), or -1 when the taxonomy has none."""
        number = self._class_ids.get(label)
        if number is None:
            try:
                number = self.taxonomy.by_name(label).id
            except TaxonomyError:
                number = -1
            self._class_ids[label] = number
        return number

    def _take_plain(self) -> None:
        batch = self._plain.batch()
        if batch is not None:
            self.found.regions += len(batch)
            self._held.append(batch)

    def _images(self, task: Task, chosen: Sequence[Mapping[str, Any]]) -> list[ImageRef]:
        data = task["data"]
        geos = data.get("geos") if isinstance(data.get("geos"), list) else [data.get("geo")]
        task_id = task.get("id")
        number = task_id if isinstance(task_id, int) else 0
        uris = _uris(data, self._image_key)
        images = []
        for item, geo in enumerate(geos or [None]):
            uri = uris[item] if item < len(uris) else ""
            if isinstance(geo, Mapping) and geo.get("schema") == TASK_SCHEMA:
                try:
                    images.append(self._chip(geo, number, item, uri))
                    continue
                except GeoreferenceError as error:
                    self.found.lose("EXP004", f"task {task_id}: {error.message}; it has no place", task_id, 0)
            elif geo is not None:
                self.found.lose("EXP005", f"task {task_id}: data.geo is not of GeoLabel; it has no place", task_id, 0)
            size = _size_of_results(chosen)
            if size is None:
                return []
            images.append(_unplaced(number, item, size, uri))
        if len(images) == 1 and len(uris) > 1:
            images += [
                replace(images[0], id=f"{images[0].id}-{i}", item_index=i, uri=uris[i]) for i in range(1, len(uris))
            ]
        return images

    def _chip(self, geo: Mapping[str, Any], task_id: int, item: int, uri: str) -> ImageRef:
        try:
            col, row, width, height = (int(v) for v in geo["window"])
            size = int(geo["size"][0]), int(geo["size"][1])
            scene_id, chip_id = str(geo["scene_id"]), str(geo["chip_id"])
            plane = Georeference(
                crs=_crs(str(geo["crs"])), transform=tuple(float(v) for v in geo["transform"]),  # type: ignore[arg-type]
                width=size[0], height=size[1],
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise GeoreferenceError(f"data.geo lacks or garbles a field: {error!r}") from error
        whole = scene_plane(plane, (col, row, width, height))
        known = self._scenes.get(scene_id)
        if known is None:
            self._scenes[scene_id] = SceneRef(id=scene_id, georef=whole, crs_log=dict(geo.get("crs_log") or {}))
            self._scene_number[scene_id] = len(self._scene_number)
        elif known.georef.width < whole.width or known.georef.height < whole.height:
            w, h = max(known.georef.width, whole.width), max(known.georef.height, whole.height)
            self._scenes[scene_id] = replace(known, georef=replace(known.georef, width=w, height=h))
        return ImageRef(
            id=chip_id, task_id=task_id, width=size[0], height=size[1], georef=plane,
            scene=self._scene_number[scene_id], window=Window(col=col, row=row, width=width, height=height), uri=uri,
            item_index=item,
            geo=orjson.dumps(geo, option=orjson.OPT_SORT_KEYS).decode() if self._with_geo else "",
        )  # fmt: skip

    def _finish(self) -> None:
        order = sorted(self._scenes)
        place = {self._scene_number[scene_id]: i for i, scene_id in enumerate(order)}
        self.found.scenes = [self._scenes[scene_id] for scene_id in order]
        if any(old != new for old, new in place.items()):
            self.found.images = [
                image if image.scene < 0 else replace(image, scene=place[image.scene]) for image in self.found.images
            ]
        doubled = {i for i, n in Counter(image.id for image in self.found.images).items() if n > 1}
        if doubled:  # one chip imported as two tasks: file names must differ
            self.found.images = [
                replace(image, id=f"{image.id}-{image.task_id}") if image.id in doubled else image
                for image in self.found.images
            ]
        self.found.attributes = {name: _attribute_type(kinds) for name, kinds in sorted(self._kinds.items())}


@dataclass(slots=True)
class _Plain:
    """Columns of plain polygon results, gathered until they become one batch."""

    ids: list[str] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)
    scores: list[Any] = field(default_factory=list)
    origins: list[int] = field(default_factory=list)
    points: list[Any] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    scale: list[tuple[float, float]] = field(default_factory=list)
    facts: list[tuple[int, dict[str, Any]]] = field(default_factory=list)

    def take(self, owner: Decoder, result: list[Any], image: ImageRef, frame: int, facts: dict[str, Any]) -> bool:
        """Take an annotation's results when each is a plain polygon; else take nothing and return False."""
        size = (image.width, image.height)
        rows = []
        for item in result:
            row = _plain_row(item, size, owner)
            if row is None:
                return False
            rows.append(row)
        ids = [row[0] for row in rows]
        if len(set(ids)) != len(ids):
            return False
        for _, points, class_id, score, origin in rows:
            self.points.extend(points)
            self.lengths.append(len(points))
            self.classes.append(class_id)
            self.scores.append(score)
            self.origins.append(origin)
        n = len(rows)
        self.ids += ids
        self.frames += [frame] * n
        self.scale += [(size[0] / 100.0, size[1] / 100.0)] * n
        if n:
            self.facts.append((n, facts))
        return True

    def batch(self) -> Batch | None:
        """Return what was gathered as a batch, and start anew."""
        n = len(self.ids)
        if not n:
            return None
        owner = np.repeat(np.arange(n), self.lengths)
        xy = np.asarray(self.points, dtype=np.float64) * np.asarray(self.scale)[owner]
        shapes = shapely.polygons(shapely.linearrings(xy, indices=owner))
        counts = [number for number, _ in self.facts]

        def repeated(name: str) -> Any:
            values = [facts[name] for _, facts in self.facts]
            kind = object if isinstance(values[0], str) else None
            return np.repeat(np.array(values, dtype=kind), counts)

        columns = {name: repeated(name) for name in self.facts[0][1]}
        batch = Batch.of(
            shapes,
            id=np.array(self.ids, dtype=object),
            frame=np.array(self.frames, dtype=np.int64),
            kind=_POLYGON,
            class_id=np.array(self.classes, dtype=np.int64),
            score=np.array([np.nan if s is None else s for s in self.scores], dtype=np.float64),
            origin=np.array(self.origins, dtype=np.int64),
            **columns,
        )
        for name in ("ids", "frames", "classes", "scores", "origins", "points", "lengths", "scale", "facts"):
            getattr(self, name).clear()
        return batch


def _plain_row(
    item: Any, size: tuple[int, int], owner: Decoder
) -> tuple[str, list[list[float]], int, float | None, int] | None:
    """Return (id, points, class id, score, origin) of a plain polygon, or None: the codec must look at it."""
    try:
        if item["type"] != "polygonlabels" or not item.keys() <= _PLAIN_KEYS or item.get("item_index"):
            return None
        value = item["value"]
        points, labels, region_id, score = value["points"], value["polygonlabels"], item["id"], item.get("score")
        if len(labels) != 1 or len(points) < 3 or "-" in region_id or not region_id:
            return None
        if item.get("original_width", size[0]) != size[0] or item.get("original_height", size[1]) != size[1]:
            return None
        if score is not None and type(score) is not float:
            return None
        # Repeated points may leave no polygon; a jump out of range or a text is for the codec to judge.
        total = 0.0
        for x, y in points:
            total += x * 0.0 + y * 0.0
        if total != 0.0 or (len(points) < 6 and len({(x, y) for x, y in points}) < 3):
            return None
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    class_id = owner.class_id(labels[0])
    if class_id < 0:
        return None
    return region_id, points, class_id, score, _ORIGIN_INDEX.get(item.get("origin", "manual"), 0)


@lru_cache(maxsize=256)
def _crs(text: str) -> str:
    return crs_text(text)


def _facts(task: Task, annotation: Mapping[str, Any]) -> dict[str, Any]:
    predicted = bool(annotation.get("_predicted"))
    who = annotation.get("model_version") if predicted else annotation.get("completed_by")
    if isinstance(who, Mapping):
        who = who.get("email") or who.get("id")
    number = annotation.get("id")
    return {
        "predicted": predicted,
        "task_id": task.get("id") if isinstance(task.get("id"), int) else 0,
        "annotation_id": number if isinstance(number, int) else 0,
        "annotator": "" if who is None else str(who),
        "created": _time(annotation.get("created_at")),
        "updated": _time(annotation.get("updated_at")),
    }


def _time(value: Any) -> str:
    return value.replace("+00:00", "Z") if isinstance(value, str) else ""


def _uris(data: Mapping[str, Any], key: str) -> list[str]:
    value = data.get(key) if key else None
    if value is None:
        value = next((v for k, v in data.items() if k in ("image", "images", "img", "url", "pages")), None)
    if value is None:
        value = next((v for v in data.values() if isinstance(v, str) and v.startswith(("http", "/", "s3:", "gs:"))), "")
    return [str(v) for v in value] if isinstance(value, list) else [str(value)]


def _size_of_results(annotations: Sequence[Mapping[str, Any]]) -> tuple[int, int] | None:
    for annotation in annotations:
        result = annotation.get("result")
        for item in result if isinstance(result, list) else ():
            if isinstance(item, Mapping):
                width, height = item.get("original_width"), item.get("original_height")
                if isinstance(width, int | float) and isinstance(height, int | float) and width >= 1 and height >= 1:
                    return int(width), int(height)
    return None


def _unplaced(task_id: int, item: int, size: tuple[int, int], uri: str) -> ImageRef:
    name = f"task-{task_id}" + (f"-{item}" if item else "")
    return ImageRef(id=name, task_id=task_id, width=size[0], height=size[1], uri=uri, item_index=item)


def _attribute_type(kinds: set[type]) -> AttributeType:
    kinds = kinds - {type(None)}
    if kinds <= {bool}:
        return "bool"
    if kinds <= {int}:
        return "int"
    if kinds <= {int, float}:
        return "real"
    return "text" if kinds <= {str} else "json"


def latest_annotations(task: Task) -> list[Mapping[str, Any]]:
    """Return the newest annotation of a task that was not skipped; ground truth wins."""
    done = [a for a in task.get("annotations", ()) if not a.get("was_cancelled")]
    if not done:
        return []
    return [max(done, key=lambda a: (bool(a.get("ground_truth")), str(a.get("updated_at", "")), a.get("id") or 0))]


def refuse_empty(found: Decoding) -> None:
    """Raise InputError when nothing could be read although there was something."""
    if not found.regions and found.lost:
        reasons = "; ".join(f"{n} × {code}" for code, n in sorted(found.lost.items()))
        first = found.examples[0]["message"] if found.examples else ""
        raise InputError(f"no region could be read ({reasons}). First: {first}")
