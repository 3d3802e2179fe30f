"""The chips index: one GeoParquet file per plan in the store, readable by QGIS and DuckDB."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from geolabel.core.georef import WGS84, Georeference, Window, transformer
from geolabel.core.plans import Plan, chip_ids, corners_crs
from geolabel.core.scene import Chip, RenderSpec, Scene
from geolabel.core.tiling import Windows
from geolabel.errors import NotFoundError
from geolabel.pipeline.scenes import clean_id, cut_antimeridian
from geolabel.services import Services

_BATCH = 100_000
Fractions = Mapping[str, npt.NDArray[np.float32]]


def index_key(scene_id: str, plan_id: str) -> str:
    """Return the key of a plan's index."""
    return f"chips/{clean_id(scene_id)}/{clean_id(plan_id)}.parquet"


def write_index(
    path: Path, scene: Scene, render: RenderSpec, plan: Plan, *, fractions: Fractions | None = None,
    states: npt.NDArray[np.object_] | None = None, reasons: npt.NDArray[np.object_] | None = None,
) -> int:  # fmt: skip
    """Write a plan as GeoParquet in batches of 100,000 rows; returns the number of rows.

    Columns: chip_id, scene_id, col, row, width, height (scene px), out_width, out_height (chip px), valid_fraction,
    cloud_fraction, shadow_fraction, state ("planned", "skipped", "failed"), reason, geometry (WGS 84, corners).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema(pa, scene, render, plan)
    written = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for start in range(0, len(plan.windows), _BATCH):
            part = slice(start, start + _BATCH)
            table = _table(pa, schema, scene, render, plan, part, fractions or {}, states, reasons)
            writer.write_table(table)
            written += table.num_rows
    return written


def _schema(pa: Any, scene: Scene, render: RenderSpec, plan: Plan) -> Any:
    geo = {
        "version": "1.1.0",
        "primary_column": "geometry",
        # CRS left out means OGC:CRS84, longitude before latitude.
        "columns": {"geometry": {"encoding": "WKB", "geometry_types": []}},
    }
    record = {"scene": scene.id, "plan": plan.id, "render": render.to_json(), "left_out": dict(plan.left_out)}
    fields = [
        ("chip_id", pa.string()), ("scene_id", pa.dictionary(pa.int32(), pa.string())), ("col", pa.int32()),
        ("row", pa.int32()), ("width", pa.int32()), ("height", pa.int32()), ("out_width", pa.int32()),
        ("out_height", pa.int32()), ("valid_fraction", pa.float32()), ("cloud_fraction", pa.float32()),
        ("shadow_fraction", pa.float32()), ("state", pa.dictionary(pa.int32(), pa.string())),
        ("reason", pa.dictionary(pa.int32(), pa.string())), ("geometry", pa.binary()),
    ]  # fmt: skip
    metadata = {b"geo": json.dumps(geo).encode(), b"geolabel:plan": json.dumps(record).encode()}
    return pa.schema(fields, metadata=metadata)


def _table(
    pa: Any, schema: Any, scene: Scene, render: RenderSpec, plan: Plan, part: slice, fractions: Fractions,
    states: npt.NDArray[np.object_] | None, reasons: npt.NDArray[np.object_] | None,
) -> Any:  # fmt: skip
    windows = plan.windows[part]
    count = len(windows)
    size = windows[:, 2:] if plan.size_px is None else np.broadcast_to(np.array(plan.size_px), (count, 2))
    state = pa.array(["planned"] * count if states is None else states[part].tolist()).dictionary_encode()
    reason = pa.array([""] * count if reasons is None else reasons[part].tolist(), pa.string()).dictionary_encode()

    def fraction(name: str) -> Any:
        values = fractions.get(name)
        return pa.nulls(count, pa.float32()) if values is None else pa.array(values[part], pa.float32())

    columns = [
        pa.array(chip_ids(scene.id, windows, plan.size_px, render.digest())),
        pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, dtype=np.int32)), pa.array([scene.id])),
        *(pa.array(windows[:, i], pa.int32()) for i in range(4)),
        pa.array(size[:, 0], pa.int32()), pa.array(size[:, 1], pa.int32()),
        fraction("valid"), fraction("cloud"), fraction("shadow"), state, reason,
        pa.array(_wkb(windows, scene.georef), pa.binary()),
    ]  # fmt: skip
    return pa.Table.from_arrays(columns, schema=schema)


def _wkb(windows: Windows, georef: Georeference) -> npt.NDArray[np.object_]:
    corners = corners_crs(windows, georef).reshape(-1, 2)
    x, y = transformer(georef.crs, WGS84).transform(corners[:, 0], corners[:, 1])
    lonlat = np.stack([np.asarray(x), np.asarray(y)], axis=1).reshape(-1, 4, 2)
    finite = np.isfinite(lonlat).all(axis=(1, 2))
    lonlat[~finite] = 0.0
    lonlat[:, :, 0] = np.unwrap(lonlat[:, :, 0], period=360.0, axis=1)
    out = np.asarray(shapely.to_wkb(shapely.polygons(lonlat)), dtype=object)
    for i in np.flatnonzero(finite & (np.abs(lonlat[:, :, 0]) > 180.0).any(axis=1)):
        out[i] = shapely.to_wkb(cut_antimeridian(shapely.Polygon(lonlat[i])))
    out[~finite] = None
    return out


def off_earth(windows: Windows, georef: Georeference) -> npt.NDArray[np.bool_]:
    """Tell which windows have a corner without an image on the Earth (beyond the limb of a geostationary picture)."""
    corners = corners_crs(windows, georef).reshape(-1, 2)
    x, y = transformer(georef.crs, WGS84).transform(corners[:, 0], corners[:, 1])
    finite = np.isfinite(np.asarray(x)) & np.isfinite(np.asarray(y))
    return np.asarray(~finite.reshape(-1, 4).all(axis=1), dtype=np.bool_)


def save_index(services: Services, scene: Scene, render: RenderSpec, plan: Plan, **columns: Any) -> str:
    """Write a plan's index into the store; returns its key."""
    key = index_key(scene.id, plan.id)
    with tempfile.TemporaryDirectory(prefix="geolabel-index-") as folder:
        path = Path(folder) / "chips.parquet"
        write_index(path, scene, render, plan, **columns)
        services.store.put_file(key, path)
    return key


def list_indexes(services: Services, scene_id: str = "") -> Iterator[tuple[str, str]]:
    """Yield (scene id, plan id) of all indexes, or of those of one scene."""
    prefix = f"chips/{clean_id(scene_id)}/" if scene_id else "chips/"
    for key in services.store.list(prefix):
        parts = key.split("/")
        if len(parts) == 3 and key.endswith(".parquet"):
            yield parts[1], parts[2].removesuffix(".parquet")


def read_rows(services: Services, scene_id: str, plan_id: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of an index, geometry left out, in batches that keep memory flat.

    Raises:
        NotFoundError: there is no such plan.
    """
    import pyarrow.parquet as pq

    with services.store.local_path(index_key(scene_id, plan_id)) as path:
        file = pq.ParquetFile(path)
        columns = [name for name in file.schema_arrow.names if name != "geometry"]
        for batch in file.iter_batches(batch_size=5_000, columns=columns):
            yield from batch.to_pylist()


def read_plan(services: Services, scene_id: str, plan_id: str) -> dict[str, Any]:
    """Return the record of a plan: scene, plan, render, left_out, and its number of rows."""
    import pyarrow.parquet as pq

    with services.store.local_path(index_key(scene_id, plan_id)) as path:
        file = pq.ParquetFile(path)
        metadata = file.schema_arrow.metadata or {}
        if b"geolabel:plan" not in metadata:
            raise NotFoundError(f"{path.name} is no index of chips")
        return {**json.loads(metadata[b"geolabel:plan"]), "rows": file.metadata.num_rows}


def chip_of_row(row: Mapping[str, Any], scene: Scene, render: RenderSpec) -> Chip:
    """Return the chip of an index row."""
    window = Window(col=row["col"], row=row["row"], width=row["width"], height=row["height"])
    georef = scene.georef.window(window)
    if (row["out_width"], row["out_height"]) != (row["width"], row["height"]):
        georef = georef.resample(row["out_width"], row["out_height"])

    def fraction(name: str) -> float | None:
        value = row.get(name)
        return None if value is None else round(float(value), 6)

    valid = fraction("valid_fraction")
    return Chip(
        id=row["chip_id"], scene_id=scene.id, window=window, georef=georef, render=render,
        valid_fraction=1.0 if valid is None else valid, cloud_fraction=fraction("cloud_fraction"),
        shadow_fraction=fraction("shadow_fraction"),
    )  # fmt: skip
