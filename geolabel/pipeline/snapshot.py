"""Snapshots: the tasks of a project, page by page, as one compressed file of JSON lines that later steps read.

Reading goes by task id, so an interruption of Label Studio or of the job costs one page: the next try goes on behind
the last task that was kept.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import orjson
import pyarrow as pa

from geolabel.errors import AdapterError, InputError, LabelStudioError
from geolabel.services import Services

Task = dict[str, Any]
_SECRET = ("sig", "token", "expires", "exp", "x-amz", "x-goog", "se", "sp", "sv", "sr", "key")
_ANNOTATION = (
    "id", "result", "completed_by", "was_cancelled", "ground_truth", "created_at", "updated_at", "lead_time",
    "parent_prediction", "model_version", "score", "cluster",
)  # fmt: skip
_PAGE = 200
_MAX_AGE_S = 6 * 3600
WAIT_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A complete snapshot on local disk.

    Attributes:
        path: File of JSON lines, zstd.
        sha256: Of the uncompressed lines, so that it does not depend on the compressor.
        tasks, annotations, predictions: How many it holds.
        taken: ISO 8601 UTC, when it was complete.
        labels: Label names that occur in results.
    """

    path: Path
    sha256: str
    tasks: int
    annotations: int
    predictions: int
    taken: str
    labels: tuple[str, ...]


class SnapshotWriter:
    """Writes tasks as JSON lines, keys sorted, secrets of addresses removed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._raw = pa.OSFile(str(path), "wb")
        self._file = pa.CompressedOutputStream(self._raw, "zstd")
        self._hash = hashlib.sha256()
        self._counts = [0, 0, 0]
        self._labels: dict[str, None] = {}

    def add(self, task: Mapping[str, Any]) -> None:
        """Append one task."""
        kept = clean_task(task)
        line = orjson.dumps(kept, option=orjson.OPT_SORT_KEYS) + b"\n"
        self._file.write(line)
        self._hash.update(line)
        self._counts[0] += 1
        self._counts[1] += len(kept["annotations"])
        self._counts[2] += len(kept["predictions"])
        for item in (*kept["annotations"], *kept["predictions"]):
            for label in _labels(item.get("result")):
                self._labels[label] = None

    def close(self, taken: str) -> Snapshot:
        """End the file."""
        self._file.close()
        self._raw.close()
        return Snapshot(
            path=self.path, sha256=self._hash.hexdigest(), tasks=self._counts[0], annotations=self._counts[1],
            predictions=self._counts[2], taken=taken, labels=tuple(sorted(self._labels)),
        )  # fmt: skip


def _labels(result: Any) -> Iterator[str]:
    for item in result if isinstance(result, list) else ():
        value = item.get("value") if isinstance(item, dict) else None
        if isinstance(value, dict):
            for key, found in value.items():
                if key.endswith("labels") and isinstance(found, list):
                    yield from (str(label) for label in found)


def clean_task(task: Mapping[str, Any]) -> Task:
    """Return what a snapshot keeps of a task; `completions` of old exports become annotations.

    Raises:
        InputError: it is no task.
    """
    if not isinstance(task, Mapping) or not isinstance(task.get("data"), Mapping):
        raise InputError(f"this is no task of Label Studio, it has no data: {str(task)[:120]!r}")
    annotations = task.get("annotations", task.get("completions")) or []
    predictions = task.get("predictions") or []
    for name, value in (("annotations", annotations), ("predictions", predictions)):
        if not isinstance(value, list) or not all(isinstance(v, Mapping) for v in value):
            raise InputError(f"{name} of task {task.get('id')} must be a list of objects; got {str(value)[:80]!r}")
    return {
        "id": task.get("id"),
        "data": {key: _without_secrets(value) for key, value in task["data"].items()},
        "annotations": [_item(a) for a in sorted(annotations, key=_by_id)],
        "predictions": [_item(p) for p in sorted(predictions, key=_by_id)],
        "updated_at": task.get("updated_at", ""),
    }


def _by_id(item: Mapping[str, Any]) -> tuple[int, str]:
    number = item.get("id")
    return (number, "") if isinstance(number, int) else (0, str(number))


def _item(item: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: item[name] for name in _ANNOTATION if name in item}
    who = kept.get("completed_by")
    if isinstance(who, Mapping):
        kept["completed_by"] = who.get("email") or who.get("id")
    return kept


def _without_secrets(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_secrets(v) for v in value]
    if not isinstance(value, str) or "?" not in value or not value.startswith(("http", "/", "s3:", "gs:", "azure")):
        return value
    try:
        parts = urlsplit(value)
    except ValueError:
        return value
    query = [(k, v) for k, v in parse_qsl(parts.query, keep_blank_values=True) if not _is_secret(k)]
    return urlunsplit(parts._replace(query=urlencode(query)))


def _is_secret(name: str) -> bool:
    low = name.lower()
    return low in _SECRET or low.startswith(("x-amz", "x-goog", "sig"))


def read_snapshot(path: Path) -> Iterator[Task]:
    """Yield the tasks of a snapshot."""
    with pa.OSFile(str(path), "rb") as raw, pa.CompressedInputStream(raw, "zstd") as file:
        rest = b""
        while chunk := file.read(1 << 22):
            lines = (rest + chunk).split(b"\n")
            rest = lines.pop()
            for line in lines:
                yield orjson.loads(line)
    if rest:
        yield orjson.loads(rest)


def take_snapshot(
    services: Services,
    project_id: int,
    folder: Path,
    *,
    progress: Callable[[int, int | None, str], None] | None = None,
    wait_s: float = WAIT_S,
) -> Snapshot:
    """Read a project's tasks into `folder`, going on where an earlier try stopped.

    Args:
        services: For the Label Studio client.
        project_id: Project.
        folder: Local folder of this snapshot; pages of an unfinished try are kept in it.
        progress: Told done, total, message.
        wait_s: How long to wait for Label Studio to come back in the middle.

    Raises:
        LabelStudioError: Label Studio stayed away longer than `wait_s`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    total = services.labelstudio.project(project_id).get("task_number")
    pages = _Pages(folder)
    ended = time.monotonic() + wait_s
    while True:
        try:
            for page in _task_pages(services, project_id, pages.last_id):
                pages.keep(page)
                ended = time.monotonic() + wait_s
                if progress is not None:
                    progress(pages.count, total, "reading tasks")
            break
        except LabelStudioError as error:
            if not error.retryable or time.monotonic() > ended:
                raise
            time.sleep(2.0)
    taken = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    writer = SnapshotWriter(folder / "snapshot.jsonl.zst")
    for task in pages.tasks():
        writer.add(task)
    snapshot = writer.close(taken)
    pages.remove()
    return snapshot


def _task_pages(services: Services, project_id: int, after: int) -> Iterator[list[Task]]:
    while True:
        query = {
            "ordering": ["tasks:id"],
            "filters": {
                "conjunction": "and",
                "items": [{"filter": "filter:tasks:id", "operator": "greater", "type": "Number", "value": after}],
            },
        }
        page: list[Task] = []
        for task in services.labelstudio.tasks(project_id, page_size=_PAGE, query=query):
            page.append(task)
            if len(page) == _PAGE:
                break
        if page:
            yield page
            after = int(page[-1]["id"])
        if len(page) < _PAGE:
            return


class _Pages:
    """Pages kept so far, as files named by their last task id."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "pages"
        self._folder.mkdir(exist_ok=True)
        found = self._files()
        if found and time.time() - found[0].stat().st_mtime > _MAX_AGE_S:
            self.remove()
            self._folder.mkdir()
            found = []
        self.last_id = int(found[-1].stem.split("-")[1]) if found else 0
        self.count = sum(int(f.stem.split("-")[2]) for f in found)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("page-*.json"))

    def keep(self, page: Sequence[Task]) -> None:
        """Write a page; it appears whole or not at all."""
        self.last_id = int(page[-1]["id"])
        name = f"page-{self.last_id:012d}-{len(page):04d}"
        half = self._folder / f"{name}.half"
        half.write_bytes(orjson.dumps(page))
        half.rename(self._folder / f"{name}.json")
        self.count += len(page)

    def tasks(self) -> Iterator[Task]:
        """Yield all kept tasks by id."""
        for file in self._files():
            yield from orjson.loads(file.read_bytes())

    def remove(self) -> None:
        """Remove all pages."""
        for file in self._folder.iterdir():
            file.unlink()
        self._folder.rmdir()


def snapshot_of_file(path: Path, folder: Path) -> Snapshot:
    """Read a Label Studio JSON export (array, lines, or one task) into a snapshot.

    Raises:
        InputError: it is no such export; the message says what it looks like and what would be right.
    """
    folder.mkdir(parents=True, exist_ok=True)
    writer = SnapshotWriter(folder / "snapshot.jsonl.zst")
    number = 0
    try:
        for number, task in enumerate(read_tasks(path), 1):
            given = dict(task) if isinstance(task, dict) else task
            if isinstance(given, dict):
                refuse_other_exports(given)
                if not isinstance(given.get("id"), int):
                    given["id"] = number
            writer.add(given)
    except InputError as error:
        raise InputError(f"{path.name}: item {number or 1}: {error.message}") from error
    if number == 0:
        raise InputError(f"{path.name}: there is no task in it")
    return writer.close("")


def refuse_other_exports(task: Mapping[str, Any]) -> None:
    """Raise InputError with the reason where an item is of another export format of Label Studio."""
    if isinstance(task.get("data"), Mapping):
        return
    if "result" in task:
        raise InputError("this is an annotation without its task; export the task with its data as JSON")
    if "images" in task and "categories" in task:
        raise InputError("this is COCO; read it by `geolabel import`")
    if "annotation_id" in task or "annotator" in task:
        raise InputError("this is Label Studio's JSON_MIN, which has lost sizes and ids; export as JSON")
    raise InputError(f"this is no task of Label Studio: it has the keys {sorted(map(str, task))[:8]} and no data")


def read_tasks(path: Path) -> Iterator[Any]:
    """Yield the top-level items of a JSON array, the lines of a JSON lines file, or the one object.

    The array is decoded item by item from a buffer, so a file of any size needs the memory of its largest task.

    Raises:
        InputError: it is no JSON.
    """
    decoder = json.JSONDecoder()
    try:
        with path.open(encoding="utf-8-sig") as file:
            buffer, at, ended, in_array = file.read(1 << 20), 0, False, False
            while True:
                at = _skip(buffer, at, " \t\r\n," + ("[" if not in_array else ""))
                in_array = in_array or "[" in buffer[:at]
                if at >= len(buffer) or (in_array and buffer[at] == "]"):
                    if ended or at < len(buffer):
                        return
                    buffer, at = file.read(1 << 22), 0
                    ended = not buffer
                    continue
                try:
                    item, end = decoder.raw_decode(buffer, at)
                except json.JSONDecodeError as error:
                    more = file.read(max(1 << 22, len(buffer) - at))
                    if not more:
                        raise InputError(f"it is no JSON: {error.msg} near {buffer[at : at + 60]!r}") from error
                    buffer, at = buffer[at:] + more, 0
                    continue
                yield item
                at = end
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} can't be read as JSON: {error}") from error


def _skip(text: str, at: int, what: str) -> int:
    while at < len(text) and text[at] in what:
        at += 1
    return at


def keep_snapshot(services: Services, snapshot: Snapshot, project: str) -> str:
    """Put a snapshot into the store under its content, and return its key.

    Raises:
        StoreError: the store does not take it.
    """
    key = f"snapshots/{project}/{snapshot.sha256}.jsonl.zst"
    if not services.store.exists(key):
        try:
            services.store.put_file(key, snapshot.path)
        except OSError as error:
            raise AdapterError(f"the snapshot {snapshot.path} can't be read: {error}") from error
    return key
