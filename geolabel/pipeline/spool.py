"""Batches on disk: an Arrow IPC file, written once as a stream and read as often as wanted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import shapely

from geolabel.core.dataset import COLUMNS, TEXT_COLUMNS, Batch, BatchStream

_TYPES = {"score": pa.float64(), "predicted": pa.bool_(), "geometry": pa.binary()}
_REPEATED = ("annotator", "created", "updated")
_SCHEMA = pa.schema(
    [(name, pa.string() if name in TEXT_COLUMNS else _TYPES.get(name, pa.int64())) for name in COLUMNS]
    + [("attributes", pa.string())]
)


class Spool:
    """Writes batches to a file; `stream()` reads them back in order, batch by batch.

    Args:
        path: File to make.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records = 0
        self._writer: pa.ipc.RecordBatchFileWriter | None = None

    def write(self, batch: Batch) -> None:
        """Append a batch; an empty one is left out."""
        if not len(batch):
            return
        if self._writer is None:
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            self._writer = pa.ipc.new_file(str(self.path), _SCHEMA, options=options)
        self._writer.write_batch(to_arrow(batch))
        self.records += len(batch)

    def close(self) -> BatchStream:
        """End the file and return the stream of its batches."""
        if self._writer is None:
            self._writer = pa.ipc.new_file(str(self.path), _SCHEMA)
        self._writer.close()
        return self.stream()

    def stream(self) -> BatchStream:
        """Return the stream of a closed spool."""
        return lambda: read(self.path)


def spool(path: Path, batches: Iterable[Batch]) -> BatchStream:
    """Write all batches to a file and return the stream that reads them."""
    out = Spool(path)
    for batch in batches:
        out.write(batch)
    return out.close()


def to_arrow(batch: Batch) -> pa.RecordBatch:
    """Return a batch as Arrow columns, geometry as WKB, attributes as JSON text."""
    columns = []
    for name in COLUMNS:
        values = getattr(batch, name)
        if name == "geometry":
            columns.append(pa.array(shapely.to_wkb(values), pa.binary()))
        else:
            columns.append(pa.array(values, _SCHEMA.field(name).type))
    if batch.attributes is None:
        columns.append(pa.nulls(len(batch), pa.string()))
    else:
        columns.append(pa.array([orjson.dumps(a).decode() if a else None for a in batch.attributes], pa.string()))
    return pa.RecordBatch.from_arrays(columns, schema=_SCHEMA)


def from_arrow(rows: pa.RecordBatch) -> Batch:
    """Return Arrow columns as a batch."""
    columns = {}
    for name in COLUMNS:
        column = rows.column(name)
        if name == "geometry":
            columns[name] = shapely.from_wkb(column.to_numpy(zero_copy_only=False))
        elif name in _REPEATED:
            coded = column.dictionary_encode()
            values = np.asarray(coded.dictionary.to_pylist() or [""], dtype=object)
            columns[name] = values[coded.indices.to_numpy(zero_copy_only=False)]
        else:
            columns[name] = column.to_numpy(zero_copy_only=False)
    texts = rows.column("attributes")
    attributes = None
    if texts.null_count < len(texts):
        attributes = tuple({} if t is None else orjson.loads(t) for t in texts.to_pylist())
    return Batch(attributes=attributes, **columns)


def read(path: Path) -> Iterator[Batch]:
    """Yield the batches of a closed spool."""
    with pa.memory_map(str(path)) as source:
        reader = pa.ipc.open_file(source)
        for number in range(reader.num_record_batches):
            yield from_arrow(reader.get_batch(number))
