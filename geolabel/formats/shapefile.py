"""ESRI Shapefile: short names, short texts, 2 GB; what that costs is counted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import shapely

from geolabel.core.dataset import Batch, Dataset
from geolabel.core.taxonomy import Taxonomy
from geolabel.errors import InputError
from geolabel.formats.contract import FormatSpec, Loss, WriteOptions, Written, count_classes
from geolabel.formats.features import ATTRIBUTE_PREFIX, Group, columns, groups, schema, table_batches
from geolabel.formats.gpkg import MAP_KEEPS
from geolabel.formats.layers import LayerWriter, layer_names, promote, read_layers

_NAME = 10
_TEXT = 254
_MAX_BYTES = 2**31 - 1
_SHORT = {"annotation_id": "annot_id"}
_FIELDS = "labels_fields.json"
_TYPES = {"polygon": "MultiPolygon", "line": "MultiLineString", "point": "Point"}


def short_names(names: list[str]) -> dict[str, str]:
    """Return a name of at most 10 characters, unique without regard to case, for each column."""
    out: dict[str, str] = {}
    used: set[str] = set()
    for name in names:
        base = _SHORT.get(name, name)
        short, number = base.encode("ascii", "replace").decode().replace("?", "_")[:_NAME], 0
        while short.lower() in used:
            number += 1
            short = f"{base[: _NAME - 1 - len(str(number))]}_{number}"
        used.add(short.lower())
        out[name] = short
    return out


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapefile:
    """The format."""

    spec: FormatSpec

    def write(self, dataset: Dataset, folder: Path, options: WriteOptions) -> Written:
        """Write one shapefile a geometry family and CRS, and the table of column names; see `Format.write`."""
        full = schema(dataset, geometry=False).names
        short = short_names(full)
        found = groups(dataset)
        counts: dict[int, int] = {}
        cut = [0]
        for turn, target in enumerate(options.crs):
            crs = "" if target == "scene" else target
            for group, name in zip(found, layer_names(found, crs, first=turn == 0), strict=True):
                tally = (counts, cut) if turn == 0 else ({}, [0])
                self._write_layer(dataset, group, crs, folder / f"{name}.shp", short, tally)
        renamed = {name: s for name, s in short.items() if s != name}
        (folder / _FIELDS).write_text(json.dumps(renamed, sort_keys=True, indent=1), encoding="utf-8")
        losses = []
        if cut[0]:
            losses.append(Loss(what="text_length", count=cut[0], message=f"{cut[0]} × texts are cut to {_TEXT} bytes"))
        foreign = {n: s for n, s in renamed.items() if n not in _SHORT}
        if foreign:
            message = "column names are shortened: " + ", ".join(f"{n} → {s}" for n, s in foreign.items())
            losses.append(Loss(what="names", count=len(foreign), message=message))
        files = tuple(sorted(p.name for p in folder.iterdir()))
        return Written(files=files, records=counts, losses=tuple(losses))

    def _write_layer(
        self,
        dataset: Dataset,
        group: Group,
        crs: str,
        path: Path,
        short: dict[str, str],
        tally: tuple[dict[int, int], list[int]],
    ) -> None:
        if group.family == "point" and group.multi:
            raise InputError("a shapefile of points holds single points; export to another format or split them first")
        full = schema(dataset)
        # DBF has no truth type that GDAL writes from Arrow; 0 and 1 stand for it.
        kinds = [pa.int32() if pa.types.is_boolean(f.type) else f.type for f in full]
        rows = pa.schema([(short.get(f.name, f.name), kind) for f, kind in zip(full, kinds, strict=True)])

        def batches() -> Iterator[pa.RecordBatch]:
            for batch, geometry in table_batches(dataset, group, crs):
                count_classes(tally[0], batch.class_id)
                values = columns(batch, dataset)
                shapes = geometry if group.family == "point" else promote(geometry)
                values["geometry"] = pa.array(shapely.to_wkb(shapes), pa.binary())
                cols = [_fit(values[f.name], kind, tally[1]) for f, kind in zip(full, kinds, strict=True)]
                yield pa.RecordBatch.from_arrays(cols, schema=rows)

        options = {"ENCODING": "UTF-8", "DBF_DATE_LAST_UPDATE": "1970-01-01"}
        LayerWriter("ESRI Shapefile", path, path.stem, crs or group.crs, _TYPES[group.family]).run(
            rows, batches(), {}, options
        )
        big = [p for p in path.parent.glob(f"{path.stem}.*") if p.stat().st_size > _MAX_BYTES]
        if big:
            raise InputError(f"{big[0].name} has more than 2 GB, which a shapefile can't; export to GeoPackage")

    def read(self, path: Path, taxonomy: Taxonomy | None = None) -> Dataset:
        """Open a .shp file, or a folder of them with the table of names; see `Format.read`."""
        files = sorted(path.glob("*.shp")) if path.is_dir() else [path]
        table = files[0].parent / _FIELDS if files else path
        renamed = json.loads(table.read_text("utf-8")) if table.is_file() else {}
        back = {short: name for name, short in renamed.items()}
        dataset = read_layers(files, taxonomy, self.spec.name)
        long = {n: back.get(f"{ATTRIBUTE_PREFIX}{n}", n).removeprefix(ATTRIBUTE_PREFIX) for n in dataset.attributes}

        def objects() -> Iterator[Batch]:
            for batch in dataset.objects():
                if batch.attributes is not None:
                    named = [{long.get(k, k): v for k, v in a.items()} for a in batch.attributes]
                    batch = batch.with_columns(attributes=tuple(named))
                yield batch

        return replace(dataset, objects=objects, attributes={long[n]: k for n, k in dataset.attributes.items()})


def _fit(values: pa.Array, kind: pa.DataType, cut: list[int]) -> pa.Array:
    if not pa.types.is_string(kind):
        return values.cast(kind)
    lengths = pa.compute.binary_length(values)
    if (pa.compute.max(lengths).as_py() or 0) <= _TEXT:
        return values
    out = []
    for text in values.to_pylist():
        data = (text or "").encode()
        cut[0] += len(data) > _TEXT
        out.append(data[:_TEXT].decode("utf-8", "ignore"))
    return pa.array(out, pa.string())


FORMAT = Shapefile(
    spec=FormatSpec(
        name="shapefile", title="ESRI Shapefile", stream="objects", suffix=".shp",
        keeps=MAP_KEEPS, note="names of 10 and texts of 254 bytes at most, 2 GB a file; truths become 0 and 1",
    )
)  # fmt: skip
