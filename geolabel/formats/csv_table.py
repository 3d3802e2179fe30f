"""CSV with the geometry as WKT in the CRS that its column `crs` names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import shapely

from geolabel.core.dataset import AttributeType, Batch, Dataset
from geolabel.core.placing import reproject, scene_georefs
from geolabel.core.taxonomy import Taxonomy
from geolabel.errors import InputError
from geolabel.formats.contract import FormatSpec, WriteOptions, Written, count_classes
from geolabel.formats.features import (
    ATTRIBUTE_PREFIX,
    BASE_COLUMNS,
    batch_of_table,
    columns,
    plain_dataset,
    schema,
    table_batches,
    taxonomy_of_names,
)
from geolabel.formats.gpkg import MAP_KEEPS


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvTable:
    """The format."""

    spec: FormatSpec

    def write(self, dataset: Dataset, folder: Path, options: WriteOptions) -> Written:
        """Write the one file; see `Format.write`. Of several target CRSs the first is used."""
        target = options.crs[0]
        crs = "" if target == "scene" else target
        codes = np.array([crs or g.crs for g in scene_georefs(dataset.scenes)], dtype=object)
        rows = schema(dataset, geometry=False).append(pa.field("crs", pa.string())).append(pa.field("wkt", pa.string()))
        counts: dict[int, int] = {}
        with pyarrow.csv.CSVWriter(str(folder / "labels.csv"), rows) as writer:
            for batch, geometry in table_batches(dataset, None, crs):
                count_classes(counts, batch.class_id)
                values = columns(batch, dataset)
                values["crs"] = pa.array(codes[batch.frame], pa.string())
                values["wkt"] = pa.array(shapely.to_wkt(geometry, rounding_precision=-1), pa.string())
                writer.write_batch(pa.RecordBatch.from_arrays([values[n] for n in rows.names], schema=rows))
        return Written(files=("labels.csv",), records=counts)

    def read(self, path: Path, taxonomy: Taxonomy | None = None) -> Dataset:
        """Open a file with columns `wkt`, `class` and `crs`; see `Format.read`."""
        file = path / "labels.csv" if path.is_dir() else path
        head = pa.csv.open_csv(str(file)).schema.names
        missing = [name for name in ("wkt", "class", "crs") if name not in head]
        if missing:
            raise InputError(f"{file.name!r} lacks the columns {missing}; it needs wkt, class and crs")
        types = {**{name: kind for name, kind in BASE_COLUMNS if name in head}, "crs": pa.string(), "wkt": pa.string()}
        convert = pyarrow.csv.ConvertOptions(
            column_types=types, strings_can_be_null=True, quoted_strings_can_be_null=False
        )
        table = pyarrow.csv.read_csv(str(file), convert_options=convert)
        codes = table.column("crs").unique().to_pylist() or ["OGC:CRS84"]
        pairs = list(zip(*(table.column(n).to_pylist() for n in ("class_id", "class") if n in head), strict=True))
        found = taxonomy or taxonomy_of_names([p if len(p) == 2 else (None, p[0]) for p in dict.fromkeys(pairs)], "csv")

        def objects() -> Iterator[Batch]:
            for code in codes:
                rows = table.filter(pa.compute.equal(table.column("crs"), code))
                geometry = shapely.from_wkt(np.asarray(rows.column("wkt").to_pylist(), dtype=object))
                if code != codes[0]:
                    geometry = reproject(geometry, code, codes[0])
                yield batch_of_table(rows, geometry, found)

        kinds = {
            n.removeprefix(ATTRIBUTE_PREFIX): _kind(table.schema.field(n).type) for n in head if n.startswith("a_")
        }
        return plain_dataset(codes[0], found, kinds, objects, "csv")


def _kind(kind: pa.DataType) -> AttributeType:
    if pa.types.is_boolean(kind):
        return "bool"
    if pa.types.is_integer(kind):
        return "int"
    return "real" if pa.types.is_floating(kind) else "text"


FORMAT = CsvTable(
    spec=FormatSpec(
        name="csv", title="CSV with WKT", stream="objects", suffix=".csv", keeps=MAP_KEEPS,
        note="geometry as WKT in the CRS of column crs",
    )
)  # fmt: skip
