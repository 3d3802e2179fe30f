"""GeoJSON after RFC 7946: WGS 84, right-hand rule, cut at the antimeridian, bbox, no `crs` member."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson
import shapely

from geolabel.core.dataset import Batch, Dataset, Geometries
from geolabel.core.georef import WGS84
from geolabel.core.taxonomy import Taxonomy
from geolabel.formats.contract import FormatSpec, Loss, WriteOptions, Written, count_classes
from geolabel.formats.features import columns, table_batches
from geolabel.formats.gpkg import MAP_KEEPS
from geolabel.formats.layers import read_layers

MIN_DECIMALS = 7
_METRES_PER_DEGREE = 111_320.0
_TOLERANCE_PX = 0.005


def decimals_for(dataset: Dataset, asked: int | None) -> int:
    """Return the decimals of a degree: as asked, else at least 7 and so many that rounding stays below 0.005 px."""
    if asked is not None:
        return asked
    finest = min((min(scene.georef.gsd_m()) for scene in dataset.scenes), default=1.0)
    needed = math.ceil(-math.log10(2 * _TOLERANCE_PX * finest / _METRES_PER_DEGREE))
    return min(12, max(MIN_DECIMALS, needed))


def to_rfc7946(geometry: Geometries, decimals: int) -> tuple[Geometries, int]:
    """Return longitude-latitude geometries as RFC 7946 wants them, and how many were cut at the antimeridian.

    Rings that run over ±180° (neighbouring vertices more than half a turn apart) are unwrapped and cut there;
    exteriors run counter-clockwise; coordinates are rounded, kept valid where rounding broke a polygon.
    """
    bounds = shapely.bounds(geometry)
    wide = np.flatnonzero((bounds[:, 2] - bounds[:, 0] > 180.0) | (bounds[:, 0] < -180.0) | (bounds[:, 2] > 180.0))
    out = geometry.copy()
    for i in wide.tolist():
        out[i] = cut_at_antimeridian(geometry[i])
    xy = shapely.get_coordinates(out)
    rounded = shapely.set_coordinates(out, np.round(xy, decimals) + 0.0)
    return shapely.orient_polygons(rounded, exterior_cw=False), len(wide)


def cut_at_antimeridian(geometry: shapely.Geometry) -> shapely.Geometry:
    """Return a longitude-latitude geometry that runs over ±180°, in parts that do not."""

    def unwrap(xy: Any) -> Any:
        lon = np.unwrap(xy[:, 0], period=360.0)
        return np.column_stack([lon - 360.0 * math.floor((lon.mean() + 180.0) / 360.0), xy[:, 1]])

    def whole(part: shapely.Geometry) -> shapely.Geometry:
        if part.geom_type == "Polygon":
            shell = unwrap(shapely.get_coordinates(part.exterior))
            holes = []
            for ring in part.interiors:
                hole = unwrap(shapely.get_coordinates(ring))
                hole[:, 0] += 360.0 * np.round((shell[:, 0].mean() - hole[:, 0].mean()) / 360.0)
                holes.append(hole)
            return shapely.Polygon(shell, holes)
        return shapely.transform(part, unwrap)

    pieces = []
    for part in shapely.get_parts(geometry):
        straight = whole(part)
        for turn in (-360.0, 0.0, 360.0):
            world = shapely.box(-180.0 + turn, -90.0, 180.0 + turn, 90.0)
            piece = shapely.intersection(straight, world)
            if not piece.is_empty and shapely.get_dimensions(piece) == shapely.get_dimensions(straight):
                pieces += list(shapely.get_parts(shapely.transform(piece, lambda xy, t=turn: xy - [t, 0.0])))
    if len(pieces) == 1:
        return pieces[0]
    kind = {"Polygon": shapely.MultiPolygon, "LineString": shapely.MultiLineString, "Point": shapely.MultiPoint}
    same = [piece for piece in pieces if piece.geom_type == pieces[0].geom_type]
    return kind[pieces[0].geom_type](same)


def feature_texts(batch: Batch, geometry: Geometries, dataset: Dataset) -> Iterator[bytes]:
    """Yield each object as the bytes of a GeoJSON Feature."""
    values = columns(batch, dataset)
    rows: dict[str, list[Any]] = {name: array.to_pylist() for name, array in values.items()}
    names = list(rows)
    boxes = shapely.bounds(geometry).tolist()
    for text, box, row in zip(shapely.to_geojson(geometry), boxes, zip(*rows.values(), strict=True), strict=True):
        feature = {
            "type": "Feature",
            "id": row[0],
            "bbox": box,
            "properties": dict(zip(names, row, strict=True)),
            "geometry": orjson.Fragment(text),
        }
        yield orjson.dumps(feature)


@dataclass(frozen=True, slots=True, kw_only=True)
class GeoJson:
    """GeoJSON as one collection, or one feature a line."""

    spec: FormatSpec
    lines: bool = False

    def write(self, dataset: Dataset, folder: Path, options: WriteOptions) -> Written:
        """Write the one file; see `Format.write`."""
        name = f"labels{self.spec.suffix}"
        counts: dict[int, int] = {}
        with (folder / name).open("wb") as file:
            cut = self._write(file, dataset, decimals_for(dataset, options.decimals), counts)
        losses: tuple[Loss, ...] = ()
        if cut:
            message = f"{cut} × objects that run over the antimeridian are cut there into parts, as RFC 7946 wants"
            losses = (Loss(what="antimeridian", count=cut, message=message),)
        return Written(files=(name,), records=counts, losses=losses)

    def _write(self, file: BinaryIO, dataset: Dataset, decimals: int, counts: dict[int, int]) -> int:
        cut, first = 0, True
        low, high = np.full(2, np.inf), np.full(2, -np.inf)
        if not self.lines:
            file.write(b'{"type":"FeatureCollection","features":[\n')
        for batch, lonlat in table_batches(dataset, None, WGS84):
            count_classes(counts, batch.class_id)
            geometry, number = to_rfc7946(lonlat, decimals)
            cut += number
            bounds = shapely.bounds(geometry)
            low, high = np.minimum(low, bounds[:, :2].min(axis=0)), np.maximum(high, bounds[:, 2:].max(axis=0))
            texts = feature_texts(batch, geometry, dataset)
            if self.lines:
                file.writelines(text + b"\n" for text in texts)
            else:
                file.write(b"" if first else b",\n")
                file.write(b",\n".join(texts))
            first = False
        if not self.lines:
            bbox = b"" if first else b',"bbox":' + orjson.dumps([*low.tolist(), *high.tolist()])
            file.write(b"\n]" + bbox + b"}\n")
        return cut

    def read(self, path: Path, taxonomy: Taxonomy | None = None) -> Dataset:
        """Open a file or the folder it lies in; see `Format.read`."""
        files = sorted(path.glob(f"*{self.spec.suffix}")) if path.is_dir() else [path]
        return read_layers(files, taxonomy, self.spec.name)


FORMAT = GeoJson(
    spec=FormatSpec(
        name="geojson", title="GeoJSON (RFC 7946)", stream="objects", suffix=".geojson", keeps=MAP_KEEPS, crs="wgs84",
        note="longitude and latitude on WGS 84; objects over the antimeridian are cut",
    )
)  # fmt: skip
