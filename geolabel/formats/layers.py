"""Formats that GDAL writes as layers of rows: one class for GeoPackage, FlatGeobuf and Shapefile, through Arrow."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely

from geolabel.core.dataset import AttributeType, Batch, Dataset, Geometries
from geolabel.core.placing import reproject
from geolabel.core.taxonomy import Taxonomy
from geolabel.errors import AdapterError, GeoLabelError, InputError
from geolabel.formats.contract import FormatSpec, Loss, WriteOptions, Written, count_classes
from geolabel.formats.features import (
    ATTRIBUTE_PREFIX,
    CLASS_FIELDS,
    Group,
    batch_of_table,
    columns,
    groups,
    plain_dataset,
    schema,
    table_batches,
    taxonomy_of_names,
)

#: GDAL puts the time of writing into files; equal inputs must give equal bytes.
_STILL = {"OGR_CURRENT_DATE": "1970-01-01T00:00:00.000Z"}
_GEOMETRY = {"polygon": "Polygon", "line": "LineString", "point": "Point"}
_PROMOTED = {"polygon": "MultiPolygon", "line": "MultiLineString", "point": "MultiPoint"}
_ROWS = 65_536


@contextmanager
def still_time() -> Iterator[None]:
    """Let GDAL write a fixed time instead of now."""
    import pyogrio

    before = {name: pyogrio.get_gdal_config_option(name) for name in _STILL}
    pyogrio.set_gdal_config_options(_STILL)
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options(before)


def crs_tag(crs: str) -> str:
    """Return a CRS as part of a file or layer name."""
    tag = re.sub(r"[^A-Za-z0-9]+", "_", crs if len(crs) < 40 else "custom_" + str(abs(hash_text(crs)) % 10**8))
    return tag.strip("_")


def hash_text(text: str) -> int:
    """Return a number computed from a text, the same in every process."""
    import zlib

    return zlib.crc32(text.encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFormat:
    """A GDAL driver as a format.

    Attributes:
        spec: The format.
        driver: GDAL driver name.
        one_file: All layers go into one file (GeoPackage); else one file a layer.
        dataset_options, layer_options: Of the driver.
        multi: Always promote to multi geometries where any geometry is one.
    """

    spec: FormatSpec
    driver: str
    one_file: bool = False
    dataset_options: Mapping[str, str] = field(default_factory=dict)
    layer_options: Mapping[str, str] = field(default_factory=dict)

    def write(self, dataset: Dataset, folder: Path, options: WriteOptions) -> Written:
        """Write one layer a geometry family and CRS; see `Format.write`."""
        found = groups(dataset)
        counts: dict[int, int] = {}
        losses: list[Loss] = []
        for turn, target in enumerate(options.crs):
            crs = "" if target == "scene" else target
            names = layer_names(found, crs, first=turn == 0)
            for group, name in zip(found, names, strict=True):
                path = folder / (f"labels{self.spec.suffix}" if self.one_file else f"{name}{self.spec.suffix}")
                losses += self._write_layer(dataset, group, crs, path, name, counts if turn == 0 else {})
        files = tuple(sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()))
        return Written(files=files, records=counts, losses=tuple(losses))

    def _write_layer(
        self, dataset: Dataset, group: Group, crs: str, path: Path, name: str, counts: dict[int, int]
    ) -> list[Loss]:
        rows = schema(dataset)
        writer = LayerWriter(self.driver, path, name, crs or group.crs, _layer_type(group))
        writer.run(
            rows,
            _record_batches(dataset, group, crs, rows, counts),
            dict(self.dataset_options) if not path.exists() else {},
            dict(self.layer_options),
        )
        return []

    def read(self, path: Path, taxonomy: Taxonomy | None = None) -> Dataset:
        """Open a file, or a folder of the format's files; see `Format.read`."""
        files = sorted(path.glob(f"*{self.spec.suffix}")) if path.is_dir() else [path]
        return read_layers(files, taxonomy, self.spec.name)


def layer_names(found: list[Group], crs: str, *, first: bool) -> list[str]:
    """Return one name a group: the family, and the CRS where there are several or it is a further target."""
    several = len({group.crs for group in found}) > 1
    names = []
    for group in found:
        name = f"{group.family}s"
        if several:
            name += f"_{crs_tag(group.crs)}"
        names.append(name if first else f"{name}_in_{crs_tag(crs or group.crs)}")
    return names


def _layer_type(group: Group) -> str:
    return _PROMOTED[group.family] if group.multi else _GEOMETRY[group.family]


def _record_batches(
    dataset: Dataset, group: Group, crs: str, rows: pa.Schema, counts: dict[int, int]
) -> Iterator[pa.RecordBatch]:
    for batch, geometry in table_batches(dataset, group, crs):
        count_classes(counts, batch.class_id)
        values = columns(batch, dataset)
        values["geometry"] = pa.array(shapely.to_wkb(promote(geometry) if group.multi else geometry), pa.binary())
        yield pa.RecordBatch.from_arrays([values[name] for name in rows.names], schema=rows)


def promote(geometry: Geometries) -> Geometries:
    """Return geometries as multi geometries."""
    makers = {0: shapely.multipoints, 1: shapely.multilinestrings, 3: shapely.multipolygons}
    out = geometry.copy()
    types = shapely.get_type_id(geometry)
    for kind, make in makers.items():
        at = np.flatnonzero(types == kind)
        if len(at):
            out[at] = make(geometry[at], indices=np.arange(len(at)))
    return out


@dataclass(slots=True)
class LayerWriter:
    """Writes a stream of record batches as one layer, and brings errors of the stream out as they were."""

    driver: str
    path: Path
    layer: str
    crs: str
    geometry_type: str

    def run(
        self,
        rows: pa.Schema,
        batches: Iterator[pa.RecordBatch],
        dataset_options: Mapping[str, str],
        layer_options: Mapping[str, str],
    ) -> None:
        """Write all batches.

        Raises:
            AdapterError: GDAL could not write (disk full, no permission).
        """
        import pyogrio
        from pyogrio.errors import DataLayerError, DataSourceError, FieldError, GeometryError

        failed: list[BaseException] = []

        def guarded() -> Iterator[pa.RecordBatch]:
            try:
                yield from batches
            except GeoLabelError as error:
                failed.append(error)
                raise

        reader = pa.RecordBatchReader.from_batches(rows, guarded())
        try:
            with still_time():
                pyogrio.write_arrow(
                    reader, str(self.path), layer=self.layer, driver=self.driver, geometry_name="geometry",
                    geometry_type=self.geometry_type, crs=self.crs, dataset_options=dict(dataset_options),
                    layer_options=dict(layer_options),
                )  # fmt: skip
        except (
            DataLayerError,
            DataSourceError,
            FieldError,
            GeometryError,
            RuntimeError,
            OSError,
            pa.ArrowException,
        ) as e:
            if failed:
                raise failed[0] from e
            raise AdapterError(f"{self.driver} could not write {self.path.name!r}: {e}") from e
        if failed:
            raise failed[0]


def read_layers(files: list[Path], taxonomy: Taxonomy | None, title: str) -> Dataset:
    """Open every layer of the files; all must have one CRS. Layers written in a further CRS (`_in_`) are left out.

    Raises:
        InputError: there is no layer, GDAL can't open a file, or CRSs differ.
    """
    import pyogrio
    from pyogrio.errors import DataSourceError

    layers: list[tuple[Path, str]] = []
    try:
        for path in files:
            layers += [(path, str(name)) for name, kind in pyogrio.list_layers(path) if kind is not None]
        own = [(path, name) for path, name in layers if "_in_" not in name]
        layers = own or layers
        if not layers:
            raise InputError(f"{', '.join(p.name for p in files) or 'the folder'} holds no layer with geometries")
        infos = [pyogrio.read_info(path, layer=name) for path, name in layers]
    except DataSourceError as error:
        raise InputError(f"{files[0].name!r} can't be opened: {error}") from error
    codes = list(dict.fromkeys(str(info["crs"]) for info in infos if info["crs"]))
    if not codes:
        raise InputError(f"{files[0].name!r} has no CRS; without one nothing can be placed")
    found = taxonomy or _found_taxonomy(layers, infos, title)
    kinds = _attribute_types(infos)

    def objects() -> Iterator[Batch]:
        for (path, name), info in zip(layers, infos, strict=True):
            for table, geometry in _layer_batches(path, name):
                if str(info["crs"]) != codes[0]:
                    geometry = reproject(geometry, str(info["crs"]), codes[0])
                yield batch_of_table(table, geometry, found)

    return plain_dataset(codes[0], found, kinds, objects, title)


def _open_options(path: Path) -> dict[str, Any]:
    # Else GDAL guesses that our texts are dates and hands them back in another spelling.
    return {"DATE_AS_STRING": "YES"} if path.suffix in (".geojson", ".geojsonl", ".json") else {}


def _layer_batches(path: Path, layer: str) -> Iterator[tuple[pa.RecordBatch, Geometries]]:
    import pyogrio

    with pyogrio.open_arrow(path, layer=layer, use_pyarrow=True, batch_size=_ROWS, **_open_options(path)) as (
        meta,
        reader,
    ):
        name = meta["geometry_name"] or "wkb_geometry"
        for batch in reader:
            geometry = shapely.from_wkb(np.asarray(batch.column(name).to_pylist(), dtype=object))
            keep = ~(shapely.is_missing(geometry) | shapely.is_empty(geometry))
            if not keep.all():
                batch, geometry = batch.filter(pa.array(keep)), geometry[keep]
            if len(geometry):
                yield batch.drop_columns([name]), geometry


def _attribute_types(infos: list[dict[str, Any]]) -> dict[str, AttributeType]:
    out: dict[str, AttributeType] = {}
    for info in infos:
        subtypes = info.get("ogr_subtypes", [""] * len(info["fields"]))
        for name, dtype, subtype in zip(info["fields"], info["dtypes"], subtypes, strict=True):
            if str(name).startswith(ATTRIBUTE_PREFIX):
                kind: AttributeType = "text"
                if "bool" in str(dtype) or subtype == "OFSTBoolean":
                    kind = "bool"
                elif "int" in str(dtype):
                    kind = "int"
                elif "float" in str(dtype):
                    kind = "real"
                out[str(name).removeprefix(ATTRIBUTE_PREFIX)] = kind
    return dict(sorted(out.items()))


def _found_taxonomy(layers: list[tuple[Path, str]], infos: list[dict[str, Any]], title: str) -> Taxonomy:
    import pyogrio

    pairs: list[tuple[int | None, str]] = []
    for (path, layer), info in zip(layers, infos, strict=True):
        have = [str(f) for f in info["fields"]]
        field = next((f for f in CLASS_FIELDS if f in have), None)
        if field is None:
            continue
        wanted = [field, *(["class_id"] if "class_id" in have else [])]
        with pyogrio.open_arrow(
            path, layer=layer, columns=wanted, read_geometry=False, use_pyarrow=True, **_open_options(path)
        ) as (
            _,
            reader,
        ):
            for batch in reader:
                numbers = batch.column("class_id").to_pylist() if "class_id" in wanted else [None] * len(batch)
                pairs += list(dict.fromkeys(zip(numbers, batch.column(field).to_pylist(), strict=True)))
        pairs = list(dict.fromkeys(pairs))
    return taxonomy_of_names(pairs, title)
