"""GeoParquet 1.1 with covering bbox: one file a CRS, written as a stream of row groups."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely

from geolabel.core.dataset import AttributeType, Batch, Dataset, Geometries, rebatch
from geolabel.core.georef import parse_crs
from geolabel.core.placing import crs_of, place, scene_georefs
from geolabel.core.taxonomy import Taxonomy
from geolabel.errors import InputError
from geolabel.formats.contract import FormatSpec, WriteOptions, Written, count_classes
from geolabel.formats.features import (
    ATTRIBUTE_PREFIX,
    CLASS_FIELDS,
    batch_of_table,
    columns,
    plain_dataset,
    schema,
    taxonomy_of_names,
)
from geolabel.formats.gpkg import MAP_KEEPS
from geolabel.formats.layers import crs_tag

_ROW_GROUP = 50_000
_BBOX = pa.struct([(name, pa.float64()) for name in ("xmin", "ymin", "xmax", "ymax")])
_COVERING = {name: ["bbox", name] for name in ("xmin", "ymin", "xmax", "ymax")}


@dataclass(slots=True)
class _Seen:
    """What the metadata tells of all rows."""

    low: Any
    high: Any
    types: set[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class GeoParquet:
    """The format."""

    spec: FormatSpec

    def write(self, dataset: Dataset, folder: Path, options: WriteOptions) -> Written:
        """Write one file a CRS; see `Format.write`."""
        codes = crs_of(scene_georefs(dataset.scenes))
        counts: dict[int, int] = {}
        files = []
        for turn, target in enumerate(options.crs):
            found: dict[int, int] = {}
            for source in codes if target == "scene" else [""]:
                crs = source or target
                several = len(codes) > 1 and target == "scene"
                name = "labels" + (f"_{crs_tag(crs)}" if several else "") + ("" if turn == 0 else f"_in_{crs_tag(crs)}")
                _write_file(folder / f"{name}.parquet", dataset, source, crs, found)
                files.append(f"{name}.parquet")
            counts = found if turn == 0 else counts
        return Written(files=tuple(sorted(files)), records=counts)

    def read(self, path: Path, taxonomy: Taxonomy | None = None) -> Dataset:
        """Open a file or a folder of files of one CRS; see `Format.read`."""
        files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        files = [f for f in files if "_in_" not in f.stem] or files
        if not files:
            raise InputError(f"{path.name!r} holds no .parquet file")
        return read_files(files, taxonomy)


def _write_file(path: Path, dataset: Dataset, source: str, crs: str, counts: dict[int, int]) -> None:
    rows = schema(dataset, geometry=False).append(pa.field("bbox", _BBOX)).append(pa.field("geometry", pa.binary()))
    seen = _Seen(low=np.full(2, np.inf), high=np.full(2, -np.inf), types=set())
    # Dictionaries pay for repeated texts only; on coordinates and ids they cost time.
    encoded = [name for name in ("class", "origin", "kind", "scene", "annotator") if name in rows.names]
    with pq.ParquetWriter(path, rows, compression="zstd", use_dictionary=encoded, store_schema=False) as writer:
        for batch, geometry in _placed(dataset, source, crs):
            count_classes(counts, batch.class_id)
            writer.write_batch(_record_batch(batch, geometry, dataset, rows, seen))
        writer.add_key_value_metadata({"geo": json.dumps(_metadata(crs, seen), sort_keys=True)})


def _placed(dataset: Dataset, source: str, crs: str) -> Iterator[tuple[Batch, Geometries]]:
    georefs = scene_georefs(dataset.scenes)
    wanted = np.array([not source or g.crs == source for g in georefs], dtype=bool)
    batches = (b if wanted[b.frame].all() else b.take(wanted[b.frame]) for b in dataset.objects())
    for batch in rebatch((b for b in batches if len(b)), _ROW_GROUP):
        yield batch, place(batch, georefs, "" if source else crs)


def _record_batch(batch: Batch, geometry: Geometries, dataset: Dataset, rows: pa.Schema, seen: _Seen) -> pa.RecordBatch:
    bounds = shapely.bounds(geometry)
    seen.low, seen.high = (
        np.minimum(seen.low, bounds[:, :2].min(axis=0)),
        np.maximum(seen.high, bounds[:, 2:].max(axis=0)),
    )
    type_names = np.array(["Point", "LineString", "", "Polygon", "MultiPoint", "MultiLineString", "MultiPolygon"])
    seen.types |= set(type_names[np.unique(shapely.get_type_id(geometry))].tolist())
    values: dict[str, pa.Array] = columns(batch, dataset)
    values["bbox"] = pa.StructArray.from_arrays([pa.array(bounds[:, i]) for i in range(4)], fields=list(_BBOX))
    values["geometry"] = pa.array(shapely.to_wkb(geometry), pa.binary())
    return pa.RecordBatch.from_arrays([values[name] for name in rows.names], schema=rows)


def _metadata(crs: str, seen: _Seen) -> dict[str, Any]:
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": sorted(seen.types),
        "crs": parse_crs(crs).to_json_dict(),
        "edges": "planar",
        "covering": {"bbox": _COVERING},
    }
    if np.isfinite(seen.low).all():
        column["bbox"] = [*seen.low.tolist(), *seen.high.tolist()]
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}


def read_files(files: list[Path], taxonomy: Taxonomy | None) -> Dataset:
    """Open GeoParquet files of one CRS.

    Raises:
        InputError: a file is no GeoParquet, or CRSs differ.
    """
    crs: dict[str, None] = {}
    names: list[str] = []
    for path in files:
        try:
            parquet = pq.ParquetFile(path)
            geo = json.loads((parquet.schema_arrow.metadata or {})[b"geo"])
        except (pa.ArrowException, KeyError, ValueError, OSError) as error:
            raise InputError(f"{path.name!r} is no GeoParquet file: {error!r}") from error
        column = geo["columns"][geo["primary_column"]]
        names.append(str(geo["primary_column"]))
        from geolabel.core.georef import crs_text

        crs[crs_text(column.get("crs") or "OGC:CRS84")] = None
    if len(crs) > 1:
        raise InputError(f"the files have {len(crs)} CRSs ({', '.join(c[:20] for c in crs)}); read them one by one")
    found = taxonomy or _found(files)
    kinds = _attribute_types(files[0])

    def objects() -> Iterator[Batch]:
        for path, name in zip(files, names, strict=True):
            for rows in pq.ParquetFile(path).iter_batches(batch_size=_ROW_GROUP):
                geometry = shapely.from_wkb(np.asarray(rows.column(name).to_pylist(), dtype=object))
                kept = pa.array(~shapely.is_missing(geometry))
                yield batch_of_table(rows.filter(kept), geometry[np.asarray(kept)], found)

    return plain_dataset(next(iter(crs)), found, kinds, objects, "geoparquet")


def _found(files: list[Path]) -> Taxonomy:
    pairs: dict[tuple[int | None, str], None] = {}
    for path in files:
        have = pq.ParquetFile(path).schema_arrow.names
        field = next((f for f in CLASS_FIELDS if f in have), None)
        if field is None:
            continue
        table = pq.read_table(path, columns=[field, *(["class_id"] if "class_id" in have else [])])
        unique = table.group_by(table.schema.names).aggregate([])
        numbers = unique.column("class_id").to_pylist() if "class_id" in unique.schema.names else [None] * len(unique)
        pairs |= dict.fromkeys(zip(numbers, pc.cast(unique.column(field), pa.string()).to_pylist(), strict=True))
    return taxonomy_of_names(list(pairs), "geoparquet")


def _attribute_types(path: Path) -> dict[str, AttributeType]:
    out: dict[str, AttributeType] = {}
    for column in pq.ParquetFile(path).schema_arrow:
        if column.name.startswith(ATTRIBUTE_PREFIX):
            tests: tuple[tuple[AttributeType, Any], ...] = (
                ("bool", pa.types.is_boolean), ("int", pa.types.is_integer), ("real", pa.types.is_floating),
            )  # fmt: skip
            matching = [name for name, test in tests if test(column.type)]
            kind: AttributeType = matching[0] if matching else "text"
            out[column.name.removeprefix(ATTRIBUTE_PREFIX)] = kind
    return dict(sorted(out.items()))


FORMAT = GeoParquet(
    spec=FormatSpec(
        name="geoparquet", title="GeoParquet 1.1", stream="objects", suffix=".parquet", keeps=MAP_KEEPS,
        note="WKB with a covering bbox column, zstd; one file a CRS",
    )
)  # fmt: skip
