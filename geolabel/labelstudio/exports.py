"""Files that Label Studio, its older versions and its backends write: one form for all, or a refusal that says why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from geolabel.errors import InputError

ResultKind: TypeAlias = Literal["annotation", "prediction"]
#: Where results lie in a task: key and what they are. "completions" is the name before version 1.0.
_RESULT_KEYS: tuple[tuple[str, ResultKind], ...] = (
    ("annotations", "annotation"),
    ("completions", "annotation"),
    ("predictions", "prediction"),
)
_MIN_GEOMETRY = ("points", "vertices", "rle", "imageDataURL", "radiusX", "x")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResult:
    """One annotation or prediction as stored.

    Attributes:
        kind: Annotation or prediction.
        id: Label Studio's number or text, or None.
        result: The list that `decode_result` reads.
        record: The whole record (author, times, model version …).
    """

    kind: ResultKind
    id: int | str | None
    result: tuple[Mapping[str, Any], ...]
    record: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTask:
    """One task of an export.

    Attributes:
        id: Label Studio's number, or None where the file names none.
        data: Of the task.
        results: Annotations first.
        size_px: Width and height that its regions name, or None when no region names one.
    """

    id: int | str | None
    data: Mapping[str, Any]
    results: tuple[StoredResult, ...]
    size_px: tuple[int, int] | None


def read_export(value: Any) -> tuple[StoredTask, ...]:
    """Read a parsed JSON file that holds Label Studio's results.

    Understood are exports (JSON and JSON_MIN), exports before version 1.0 (completions), single tasks, imports with
    predictions, lists of predictions that a backend answers, and webhook bodies.

    Raises:
        InputError: the file is of another kind; the sentence says which, as far as it can be told.
    """
    if isinstance(value, Mapping):
        _refuse_foreign(value)
        return (read_task(value),)
    if not isinstance(value, list):
        raise InputError(f"a Label Studio export is a JSON list of tasks; this file holds a {type(value).__name__}")
    tasks = []
    for number, item in enumerate(value):
        if not isinstance(item, Mapping):
            raise InputError(f"entry {number} is a {type(item).__name__}; each must be a task (a JSON object)")
        tasks.append(read_task(item))
    return tuple(tasks)


def read_task(value: Mapping[str, Any]) -> StoredTask:
    """Read one entry of an export.

    Raises:
        InputError: it holds neither results nor task data.
    """
    if isinstance(value.get("result"), list):
        kind: ResultKind = "prediction" if "model_version" in value or "score" in value else "annotation"
        return _task(value.get("task"), {}, (_stored(value, kind),))
    if isinstance(value.get("annotation"), Mapping):  # body of a webhook
        task = value.get("task")
        inner = task if isinstance(task, Mapping) else {}
        return _task(inner.get("id"), _data(inner), (_stored(value["annotation"], "annotation"),))
    present = [(key, kind) for key, kind in _RESULT_KEYS if isinstance(value.get(key), list)]
    if present or isinstance(value.get("data"), Mapping):
        results = tuple(
            _stored(record, kind) for key, kind in present for record in value[key] if isinstance(record, Mapping)
        )
        return _task(value.get("id"), _data(value), results)
    flat = tuple(_from_flat(value))
    if flat:
        record = {key: value[key] for key in ("annotator", "annotation_id", "updated_at") if key in value}
        stored = StoredResult(kind="annotation", id=value.get("annotation_id"), result=flat, record=record)
        return _task(value.get("id"), value, (stored,))
    raise InputError(
        f"an entry with the keys {', '.join(sorted(map(str, value))[:8]) or 'none'} is no task of Label Studio; "
        "a task has data and annotations, predictions or completions"
    )


def _task(task_id: Any, data: Mapping[str, Any], results: tuple[StoredResult, ...]) -> StoredTask:
    return StoredTask(
        id=task_id if isinstance(task_id, int | str) else None,
        data=data,
        results=results,
        size_px=stored_size([item for stored in results for item in stored.result]),
    )


def _data(value: Mapping[str, Any]) -> Mapping[str, Any]:
    data = value.get("data")
    return data if isinstance(data, Mapping) else {}


def _stored(record: Mapping[str, Any], kind: ResultKind) -> StoredResult:
    result = record.get("result")
    items = tuple(item for item in result if isinstance(item, Mapping)) if isinstance(result, list) else ()
    rest = {key: found for key, found in record.items() if key != "result"}
    found_id = record.get("id")
    return StoredResult(kind=kind, id=found_id if isinstance(found_id, int | str) else None, result=items, record=rest)


def stored_size(result: Sequence[Mapping[str, Any]]) -> tuple[int, int] | None:
    """Return the width and height, px, that most of the results name, or None."""
    sizes = Counter(
        (int(item["original_width"]), int(item["original_height"]))
        for item in result
        if _positive(item.get("original_width")) and _positive(item.get("original_height"))
    )
    return sizes.most_common(1)[0][0] if sizes else None


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 1


def _from_flat(value: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield results of a JSON_MIN entry, where each control's regions lie under its name beside the task's data."""
    for name, found in value.items():
        for number, item in enumerate(found if isinstance(found, list) else ()):
            if not isinstance(item, Mapping):
                continue
            kind = next((key for key in item if str(key).endswith("labels")), None)
            if kind is None or not any(key in item for key in _MIN_GEOMETRY):
                continue
            size = {key: item[key] for key in ("original_width", "original_height") if key in item}
            yield {
                "id": f"{value.get('id', 'task')}-{name}-{number}",
                "from_name": name,
                "to_name": "image",
                "type": kind,
                **size,
                "value": {key: part for key, part in item.items() if key not in size},
            }


def _refuse_foreign(value: Mapping[str, Any]) -> None:
    if isinstance(value.get("images"), list) and isinstance(value.get("categories"), list):
        raise InputError("this is a COCO file, not a Label Studio export; read it with `geolabel import --format coco`")
    if value.get("type") == "FeatureCollection":
        raise InputError("this is GeoJSON, not a Label Studio export; read it with `geolabel import --format geojson`")
