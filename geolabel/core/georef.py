"""The only coordinate arithmetic between chip or scene pixels and the Earth.

Frames: *px* is columns then rows, float64, (0, 0) the outer corner of the first pixel (GDAL's convention);
*crs* is x then y in the units of the CRS, always in that order whatever the authority's axis order;
*lonlat* is longitude then latitude in degrees on WGS 84.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import shapely
from affine import Affine
from pyproj.exceptions import CRSError, ProjError

from geolabel.errors import GeoreferenceError

XY = npt.NDArray[np.float64]
WGS84 = "OGC:CRS84"
_FOOTPRINT_POINTS_PER_EDGE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A half-open rectangle in the pixels of a scene: columns, rows, width and height in px."""

    col: int
    row: int
    width: int
    height: int

    def __post_init__(self) -> None:
        if self.width <= 0 or self.height <= 0:
            raise GeoreferenceError(
                f"window of {self.width} × {self.height} px at column {self.col}, row {self.row} is empty; "
                "width and height must be at least 1 px"
            )

    def to_list(self) -> list[int]:
        """Return [column, row, width, height]."""
        return [self.col, self.row, self.width, self.height]

    def intersection(self, other: Window) -> Window | None:
        """Return the common window, or None when they don't overlap."""
        col, row = max(self.col, other.col), max(self.row, other.row)
        right = min(self.col + self.width, other.col + other.width)
        bottom = min(self.row + self.height, other.row + other.height)
        if right <= col or bottom <= row:
            return None
        return Window(col=col, row=row, width=right - col, height=bottom - row)


@lru_cache(maxsize=512)
def parse_crs(text: str) -> pyproj.CRS:
    """Return the CRS of an authority code or WKT.

    Raises:
        GeoreferenceError: the text is no CRS that PROJ knows.
    """
    try:
        return pyproj.CRS.from_user_input(text)
    except CRSError as error:
        raise GeoreferenceError(
            f"{text[:120]!r} is no CRS that PROJ knows ({error}); give an authority code such as EPSG:32636 or WKT2"
        ) from error


def crs_text(crs: Any) -> str:
    """Return the shortest exact text of a CRS: its authority code where one is identical, else WKT2.

    Args:
        crs: Anything pyproj accepts (pyproj or rasterio CRS, EPSG number, code, WKT, PROJ text).

    Raises:
        GeoreferenceError: the input is no CRS.
    """
    try:
        parsed = pyproj.CRS.from_user_input(crs)
    except CRSError as error:
        raise GeoreferenceError(f"{str(crs)[:120]!r} is no CRS that PROJ knows: {error}") from error
    authority = parsed.to_authority(min_confidence=100)
    if authority is not None:
        code = f"{authority[0]}:{authority[1]}"
        if parse_crs(code).equals(parsed, ignore_axis_order=True):
            return code
    return str(parsed.to_wkt("WKT2_2019"))


@lru_cache(maxsize=1024)
def _transformer(source: str, target: str, thread: int) -> pyproj.Transformer:
    # One a thread: PROJ contexts must not be shared between threads.
    del thread
    try:
        return pyproj.Transformer.from_crs(parse_crs(source), parse_crs(target), always_xy=True)
    except ProjError as error:
        raise GeoreferenceError(
            f"there is no way from {source[:80]!r} to {target[:80]!r}: {error}; use a CRS on the same planet"
        ) from error


def transformer(source: str, target: str) -> pyproj.Transformer:
    """Return the cached transformer of the calling thread, x before y on both sides.

    Raises:
        GeoreferenceError: no operation leads from source to target (another planet, an engineering CRS).
    """
    return _transformer(source, target, threading.get_ident())


def transform_xy(xy: XY, source: str, target: str) -> XY:
    """Transform (n, 2) float64 coordinates from one CRS to another.

    Raises:
        GeoreferenceError: there is no operation, or a point has no image in the target CRS.
    """
    points = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
    if source == target or len(points) == 0:
        return points.copy()
    x, y = transformer(source, target).transform(points[:, 0], points[:, 1])
    out = np.column_stack([np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)])
    bad = ~np.isfinite(out).all(axis=1)
    if bad.any():
        first = points[int(np.argmax(bad))]
        raise GeoreferenceError(
            f"{int(bad.sum())} of {len(points)} points have no image in {target[:40]}, the first being "
            f"({first[0]:.6f}, {first[1]:.6f}) of {source[:40]}; they lie outside the area where the CRS is defined"
        )
    return out


@dataclass(frozen=True, slots=True, kw_only=True)
class Georeference:
    """A pixel plane on the Earth.

    Attributes:
        crs: Authority code ("EPSG:32636") or WKT2.
        transform: (a, b, c, d, e, f) of x = a·col + b·row + c, y = d·col + e·row + f; px corner → CRS units.
        width: Columns, px.
        height: Rows, px.

    Rotated, south-up and geographic transforms are ordinary cases.

    Example:
        >>> g = Georeference(crs="EPSG:32636", transform=(0.5, 0, 300000, 0, -0.5, 50000), width=100, height=80)
        >>> g.to_world(np.array([[0.0, 0.0], [100.0, 80.0]])).tolist()
        [[300000.0, 50000.0], [300050.0, 49960.0]]
    """

    crs: str
    transform: tuple[float, float, float, float, float, float]
    width: int
    height: int

    def __post_init__(self) -> None:
        if not self.crs:
            raise GeoreferenceError("the CRS is missing; give an authority code such as EPSG:32636 or WKT2")
        if self.width <= 0 or self.height <= 0:
            raise GeoreferenceError(f"a raster of {self.width} × {self.height} px is empty; it needs at least 1 × 1 px")
        if len(self.transform) != 6 or not all(math.isfinite(v) for v in self.transform):
            raise GeoreferenceError(f"transform {self.transform} must be six finite numbers (a, b, c, d, e, f)")
        if self.affine.is_degenerate:
            raise GeoreferenceError(f"transform {self.transform} can't be inverted; its pixels have no area")

    @classmethod
    def from_parts(cls, *, crs: Any, transform: Any, width: int, height: int) -> Georeference:
        """Build from any CRS pyproj accepts and an Affine or six numbers.

        Raises:
            GeoreferenceError: there is no CRS, it is not known, or the transform is degenerate.
        """
        if crs is None or crs == "":
            raise GeoreferenceError("the CRS is missing; give an authority code such as EPSG:32636 or WKT2")
        six = tuple(float(v) for v in tuple(transform)[:6])
        if len(six) != 6:
            raise GeoreferenceError(f"transform {transform} must be six finite numbers (a, b, c, d, e, f)")
        return cls(crs=crs_text(crs), transform=six, width=int(width), height=int(height))

    @property
    def affine(self) -> Affine:
        """The transform as an `affine.Affine`, px corner → CRS units."""
        return Affine(*self.transform)

    def to_world(self, xy_px: XY) -> XY:
        """Map pixels to CRS coordinates.

        Args:
            xy_px: (n, 2) float64, columns then rows, px.

        Returns:
            (n, 2) float64, x then y, CRS units.
        """
        a, b, c, d, e, f = self.transform
        points = np.asarray(xy_px, dtype=np.float64).reshape(-1, 2)
        col, row = points[:, 0], points[:, 1]
        return np.column_stack([a * col + b * row + c, d * col + e * row + f])

    def to_pixel(self, xy_crs: XY) -> XY:
        """Map CRS coordinates to pixels; the inverse of `to_world`.

        Differences to the origin are taken first, so that northings of 10⁷ m lose no digits.
        """
        a, b, c, d, e, f = self.transform
        points = np.asarray(xy_crs, dtype=np.float64).reshape(-1, 2)
        dx, dy = points[:, 0] - c, points[:, 1] - f
        determinant = a * e - b * d
        return np.column_stack([(e * dx - b * dy) / determinant, (a * dy - d * dx) / determinant])

    def to_lonlat(self, xy_px: XY) -> XY:
        """Map pixels to (n, 2) longitude and latitude, degrees, WGS 84, longitudes within ±180.

        Raises:
            GeoreferenceError: the CRS can't reach WGS 84, or a point has no image there.
        """
        lonlat = transform_xy(self.to_world(xy_px), self.crs, WGS84)
        lonlat[:, 0] = wrap_longitude(lonlat[:, 0])
        return lonlat

    def from_lonlat(self, lonlat: XY) -> XY:
        """Map (n, 2) longitude and latitude, degrees, WGS 84, to pixels.

        For a geographic CRS whose raster runs past ±180° the longitude is taken in the turn that lies nearest
        to the raster.
        """
        xy = transform_xy(np.asarray(lonlat, dtype=np.float64), WGS84, self.crs)
        if parse_crs(self.crs).is_geographic:
            centre_x = self.to_world(np.array([[self.width / 2, self.height / 2]]))[0, 0]
            xy[:, 0] += 360.0 * np.round((centre_x - xy[:, 0]) / 360.0)
        return self.to_pixel(xy)

    def window(self, window: Window) -> Georeference:
        """Return the georeference of a window; it may reach past the raster's edge (padded chips)."""
        a, b, _, d, e, _ = self.transform
        x, y = self.to_world(np.array([[window.col, window.row]], dtype=np.float64))[0]
        return Georeference(
            crs=self.crs, transform=(a, b, float(x), d, e, float(y)), width=window.width, height=window.height
        )

    def resample(self, width: int, height: int) -> Georeference:
        """Return the same footprint on another number of pixels."""
        a, b, c, d, e, f = self.transform
        sx, sy = self.width / width, self.height / height
        return Georeference(crs=self.crs, transform=(a * sx, b * sy, c, d * sx, e * sy, f), width=width, height=height)

    def corners_px(self) -> XY:
        """Return the (4, 2) corners, clockwise in pixel space from (0, 0)."""
        w, h = float(self.width), float(self.height)
        return np.array([[0.0, 0.0], [w, 0.0], [w, h], [0.0, h]])

    def bounds(self) -> tuple[float, float, float, float]:
        """Return (min x, min y, max x, max y) in CRS units."""
        xy = self.to_world(self.corners_px())
        low, high = xy.min(axis=0), xy.max(axis=0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    def footprint(self) -> shapely.Polygon:
        """Return the outline in CRS coordinates, counter-clockwise."""
        return shapely.geometry.polygon.orient(shapely.Polygon(self.to_world(self.corners_px())))

    def outline_lonlat(self, points_per_edge: int = _FOOTPRINT_POINTS_PER_EDGE) -> XY:
        """Return the densified outline, (4·points_per_edge, 2) degrees, longitudes unwrapped.

        Unwrapped longitudes run on past ±180, so that the ring has no jump; whoever writes GeoJSON cuts it there.
        """
        corners = self.corners_px()
        steps = np.linspace(0.0, 1.0, points_per_edge, endpoint=False)[:, None]
        ring = np.concatenate([p + (q - p) * steps for p, q in zip(corners, np.roll(corners, -1, axis=0), strict=True)])
        lonlat = self.to_lonlat(ring)
        lonlat[:, 0] = np.unwrap(lonlat[:, 0], period=360.0)
        return lonlat

    def gsd_m(self) -> tuple[float, float]:
        """Return the geodesic ground size of the centre pixel: metres a column, metres a row.

        Source: geodesic inverse problem (Karney 2013) on WGS 84 through `pyproj.Geod`.
        """
        col, row = self.width / 2, self.height / 2
        lonlat = self.to_lonlat(np.array([[col, row], [col + 1, row], [col, row + 1]]))
        geod = pyproj.Geod(ellps="WGS84")
        _, _, metres = geod.inv(
            [lonlat[0, 0], lonlat[0, 0]], [lonlat[0, 1], lonlat[0, 1]], lonlat[1:, 0], lonlat[1:, 1]
        )
        return float(metres[0]), float(metres[1])

    def is_north_up(self) -> bool:
        """Tell whether columns run east and rows run south without rotation."""
        a, b, _, d, e, _ = self.transform
        return b == 0.0 and d == 0.0 and a > 0.0 and e < 0.0

    def to_json(self) -> dict[str, Any]:
        """Return JSON types: crs, transform (six numbers), size [width, height]."""
        return {"crs": self.crs, "transform": list(self.transform), "size": [self.width, self.height]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Georeference:
        """Rebuild from `to_json`.

        Raises:
            GeoreferenceError: a field is missing or of the wrong kind.
        """
        try:
            width, height = value["size"]
            six = tuple(float(v) for v in value["transform"])
            crs = value["crs"]
        except (KeyError, TypeError, ValueError) as error:
            raise GeoreferenceError(
                f"georeference needs crs, transform (six numbers) and size [width, height]; got {dict(value)!r:.200}"
            ) from error
        return cls.from_parts(crs=crs, transform=six, width=width, height=height)


def wrap_longitude(longitude_deg: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Bring longitudes into [-180, 180], leaving values already there untouched."""
    outside = (longitude_deg < -180.0) | (longitude_deg > 180.0)
    return np.where(outside, (longitude_deg + 180.0) % 360.0 - 180.0, longitude_deg)
