"""KML 2.2 for Google Earth: longitude and latitude, one style a class, all columns as ExtendedData."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import pyarrow as pa
import shapely

from geolabel.core.dataset import AttributeType, Batch, Dataset, Geometries
from geolabel.core.georef import WGS84
from geolabel.core.taxonomy import Taxonomy
from geolabel.errors import InputError
from geolabel.formats.contract import FormatSpec, Loss, WriteOptions, Written, count_classes
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
from geolabel.formats.geojson import decimals_for, to_rfc7946
from geolabel.formats.gpkg import MAP_KEEPS

_NS = "{http://www.opengis.net/kml/2.2}"
_KML_TYPES = {pa.int64(): "int", pa.float64(): "double", pa.bool_(): "bool"}
_BATCH = 10_000


def _ring(ring: shapely.Geometry) -> str:
    return "<LinearRing><coordinates>" + _coordinates(ring) + "</coordinates></LinearRing>"


def _coordinates(line: shapely.Geometry) -> str:
    return " ".join(f"{x!r},{y!r}" for x, y in shapely.get_coordinates(line).tolist())


def geometry_text(geometry: shapely.Geometry) -> str:
    """Return a longitude-latitude geometry as KML."""
    match geometry.geom_type:
        case "Polygon":
            holes = "".join(f"<innerBoundaryIs>{_ring(r)}</innerBoundaryIs>" for r in geometry.interiors)
            return f"<Polygon><outerBoundaryIs>{_ring(geometry.exterior)}</outerBoundaryIs>{holes}</Polygon>"
        case "LineString":
            return f"<LineString><coordinates>{_coordinates(geometry)}</coordinates></LineString>"
        case "Point":
            return f"<Point><coordinates>{_coordinates(geometry)}</coordinates></Point>"
        case _:
            return f"<MultiGeometry>{''.join(geometry_text(g) for g in geometry.geoms)}</MultiGeometry>"


def read_geometry(node: ET.Element) -> shapely.Geometry | None:
    """Return the geometry of a KML element, or None when it is none."""

    def points(owner: ET.Element | None) -> list[tuple[float, float]]:
        text = "" if owner is None else owner.findtext(f".//{_NS}coordinates") or ""
        return [(float(p.split(",")[0]), float(p.split(",")[1])) for p in text.split()]

    match node.tag.removeprefix(_NS):
        case "Polygon":
            holes = [points(hole) for hole in node.findall(f"{_NS}innerBoundaryIs")]
            return shapely.Polygon(points(node.find(f"{_NS}outerBoundaryIs")), holes)
        case "LineString":
            return shapely.LineString(points(node))
        case "Point":
            return shapely.Point(points(node)[0])
        case "MultiGeometry":
            parts = [part for child in node if (part := read_geometry(child)) is not None]
            kind = {"Polygon": shapely.MultiPolygon, "LineString": shapely.MultiLineString}
            return kind.get(parts[0].geom_type, shapely.MultiPoint)(parts) if parts else None
        case _:
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kml:
    """The format."""

    spec: FormatSpec

    def write(self, dataset: Dataset, folder: Path, options: WriteOptions) -> Written:
        """Write the one file; see `Format.write`."""
        counts: dict[int, int] = {}
        with (folder / "labels.kml").open("w", encoding="utf-8", newline="\n") as file:
            cut = _write(file, dataset, decimals_for(dataset, options.decimals), counts)
        message = f"{cut} × objects that run over the antimeridian are cut there into parts"
        losses = (Loss(what="antimeridian", count=cut, message=message),) if cut else ()
        return Written(files=("labels.kml",), records=counts, losses=losses)

    def read(self, path: Path, taxonomy: Taxonomy | None = None) -> Dataset:
        """Open a file or the folder it lies in; see `Format.read`."""
        file = path / "labels.kml" if path.is_dir() else path
        types = {f"{n}": t for n, t in BASE_COLUMNS}
        pairs: dict[tuple[int | None, str], None] = {}
        kinds: dict[str, AttributeType] = {}
        try:
            for row, fields in _placemarks(file):
                number = row.get("class_id")
                pairs[(int(number) if number else None, row["class"])] = None
                kinds |= {n.removeprefix(ATTRIBUTE_PREFIX): t for n, t in fields.items() if n not in types}
        except ET.ParseError as error:
            raise InputError(f"{file.name!r} is no KML: {error}") from error
        found = taxonomy or taxonomy_of_names(list(pairs), "kml")
        kinds = dict(sorted(kinds.items()))
        return plain_dataset(WGS84, found, kinds, lambda: _batches(file, found, kinds), "kml")


def _write(file: TextIO, dataset: Dataset, decimals: int, counts: dict[int, int]) -> int:
    file.write('<?xml version="1.0" encoding="UTF-8"?>\n<kml xmlns="http://www.opengis.net/kml/2.2"><Document>\n')
    file.write(f"<name>{escape(dataset.name)}</name>\n")
    for c in dataset.taxonomy.classes:
        red, green, blue = c.colour[1:3], c.colour[3:5], c.colour[5:7]
        line, fill = f"ff{blue}{green}{red}", f"66{blue}{green}{red}"
        file.write(
            f'<Style id="class{c.id}"><LineStyle><color>{line}</color><width>2</width></LineStyle>'
            f"<PolyStyle><color>{fill}</color></PolyStyle></Style>\n"
        )
    fields = schema(dataset, geometry=False)
    simple = "".join(
        f'<SimpleField type="{_KML_TYPES.get(f.type, "string")}" name={quoteattr(f.name)}/>' for f in fields
    )
    file.write(f'<Schema name="labels" id="labels">{simple}</Schema>\n')
    cut = 0
    for batch, lonlat in table_batches(dataset, None, WGS84):
        count_classes(counts, batch.class_id)
        geometry, number = to_rfc7946(lonlat, decimals)
        cut += number
        file.writelines(_texts(batch, geometry, dataset))
    file.write("</Document></kml>\n")
    return cut


def _texts(batch: Batch, geometry: Geometries, dataset: Dataset) -> Iterator[str]:
    rows = {name: array.to_pylist() for name, array in columns(batch, dataset).items()}
    for shape, row in zip(geometry, zip(*rows.values(), strict=True), strict=True):
        data = "".join(
            f"<SimpleData name={quoteattr(name)}>{escape(_text(value))}</SimpleData>"
            for name, value in zip(rows, row, strict=True)
            if value is not None
        )
        yield (
            f"<Placemark><name>{escape(str(row[1]))}</name><styleUrl>#class{row[2]}</styleUrl>"
            f'<ExtendedData><SchemaData schemaUrl="#labels">{data}</SchemaData></ExtendedData>'
            f"{geometry_text(shape)}</Placemark>\n"
        )


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _placemarks(file: Path) -> Iterator[tuple[dict[str, Any], dict[str, AttributeType]]]:
    fields: dict[str, AttributeType] = {}
    names: dict[str, AttributeType] = {"int": "int", "double": "real", "bool": "bool"}
    for _, node in ET.iterparse(file):
        if node.tag == f"{_NS}SimpleField":
            fields[str(node.get("name"))] = names.get(str(node.get("type")), "text")
        if node.tag != f"{_NS}Placemark":
            continue
        row: dict[str, Any] = {str(d.get("name")): d.text or "" for d in node.iter(f"{_NS}SimpleData")}
        row.setdefault("class", node.findtext(f"{_NS}name") or "")
        row[""] = next((g for child in node if (g := read_geometry(child)) is not None), None)
        yield row, fields
        node.clear()


def _batches(file: Path, taxonomy: Taxonomy, kinds: dict[str, AttributeType]) -> Iterator[Batch]:
    held: list[dict[str, Any]] = []
    for row, _ in _placemarks(file):
        if row[""] is not None:
            held.append(row)
        if len(held) == _BATCH:
            yield _batch(held, taxonomy, kinds)
            held = []
    if held:
        yield _batch(held, taxonomy, kinds)


def _batch(rows: list[dict[str, Any]], taxonomy: Taxonomy, kinds: dict[str, AttributeType]) -> Batch:
    casts: dict[str, Any] = {"int": int, "real": float, "bool": lambda v: v == "true", "text": str, "json": str}
    arrow: dict[Any, Any] = {pa.int64(): int, pa.float64(): float, pa.bool_(): lambda v: v == "true"}
    table: dict[str, list[Any]] = {}
    for name, kind in BASE_COLUMNS:
        if any(name in row for row in rows):
            cast = arrow.get(kind, str)
            table[name] = [cast(row[name]) if row.get(name) not in (None, "") else None for row in rows]
    for name, attribute in kinds.items():
        key = ATTRIBUTE_PREFIX + name
        table[key] = [casts[attribute](row[key]) if key in row else None for row in rows]
    geometry = np.empty(len(rows), dtype=object)
    geometry[:] = [row[""] for row in rows]
    return batch_of_table(pa.table(table), geometry, taxonomy)


FORMAT = Kml(
    spec=FormatSpec(
        name="kml", title="KML 2.2", stream="objects", suffix=".kml", keeps=MAP_KEEPS, crs="wgs84",
        note="longitude and latitude; colours of the classes as styles",
    )
)  # fmt: skip
