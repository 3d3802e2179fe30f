"""What may be wrong with a raster, found from its header and a small sample, before any work starts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj

from geolabel.core.georef import Georeference
from geolabel.core.issues import Fix, Severity, ValidationIssue
from geolabel.errors import GeoreferenceError
from geolabel.raster.crslog import accuracy_lost

_LARGE_PX = 4096
_SQUARE = 1.02
_ACCURACY_M = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What is known of a raster without reading pixels.

    Attributes:
        path: As messages name it.
        crs: Text of the CRS, or None.
        transform: Six numbers, or None when the raster has none.
        width, height: px.
        dtype: numpy name, or "complex…".
        nodata: Declared, or None.
        gcps, rpcs: Ground control points; whether there are rational polynomial coefficients.
        colours: Colour interpretation by band index.
        mask: "none", "nodata", "alpha" or "mask".
        overviews: Of the first band.
        tiled: Whether blocks are smaller than whole rows.
        scaled: Whether any band has scale or offset.
        palette: Whether it has a colour table.
    """

    path: str
    crs: str | None
    transform: tuple[float, ...] | None
    width: int
    height: int
    dtype: str
    nodata: float | None = None
    gcps: int = 0
    rpcs: bool = False
    colours: Mapping[int, str] = field(default_factory=dict)
    mask: str = "none"
    overviews: tuple[int, ...] = ()
    tiled: bool = True
    scaled: bool = False
    palette: bool = False


def issue(code: str, severity: Severity, message: str, fix: Fix | None = None, **facts: Any) -> ValidationIssue:
    """Make an issue of a raster."""
    return ValidationIssue(code=code, severity=severity, message=message, fix=fix, facts=facts)


def errors_of(issues: list[ValidationIssue]) -> list[ValidationIssue]:
    """Return the issues that stop the work."""
    return [i for i in issues if i.severity is Severity.ERROR]


def check_place(header: Header) -> Iterator[ValidationIssue]:
    """Check CRS and transform; errors mean that the raster can't be placed on the Earth as it is."""
    placed = header.transform is not None
    if not placed and header.gcps:
        yield issue(
            "RAS006", Severity.ERROR,
            f"{header.path} has {header.gcps} ground control points and no transform; it must be warped first",
            Fix(name="warp", arguments={"by": "gcps"}, summary="--warp places it virtually by its control points"),
            gcps=header.gcps,
        )  # fmt: skip
        return
    if not placed and header.rpcs:
        yield issue(
            "RAS007", Severity.ERROR,
            f"{header.path} has rational polynomial coefficients and no transform; it must be warped first",
            Fix(name="warp", arguments={"by": "rpcs"}, summary="--warp places it virtually at its mean height"),
        )  # fmt: skip
        return
    if header.crs is None:
        yield issue(
            "RAS002", Severity.ERROR,
            f"{header.path} has no CRS, so its place on the Earth is unknown",
            Fix(name="assign_crs", summary="--assign-crs EPSG:… if you know which CRS its coordinates are in"),
        )  # fmt: skip
    if not placed:
        yield issue(
            "RAS003", Severity.ERROR,
            f"{header.path} has no geotransform (its pixels have no place); it needs one, or control points",
            Fix(name="add_transform", summary="write one with gdal_edit.py -a_ullr, or give a world file"),
        )  # fmt: skip
    if header.crs is not None:
        yield from check_crs(header.crs, header.path)


def check_crs(text: str, path: str) -> Iterator[ValidationIssue]:
    """Check that a CRS lies on the Earth and reaches WGS 84."""
    crs = pyproj.CRS.from_user_input(text)
    if crs.is_engineering:
        yield issue(
            "RAS004", Severity.ERROR,
            f"{path} has the engineering (local) CRS {crs.name!r}, which has no place on the Earth",
            Fix(name="assign_crs", summary="--assign-crs with the CRS that the survey is tied to"), crs=text,
        )  # fmt: skip
        return
    body = _celestial_body(crs)
    if body not in ("", "Earth"):
        yield issue(
            "RAS005", Severity.ERROR,
            f"{path} lies on {body} (CRS {crs.name!r}); GeoLabel places labels on the Earth in WGS 84",
            crs=text, body=body,
        )  # fmt: skip
        return
    if crs.is_compound or len(crs.axis_info) == 3:
        yield issue("RAS026", Severity.INFO, f"{path} has the compound CRS {crs.name!r}; its horizontal part is used")
    axes = [axis.direction.lower() for axis in crs.axis_info[:2]]
    if axes and axes[0] in ("north", "south") and crs.is_projected:
        yield issue(
            "RAS010", Severity.INFO,
            f"the authority lists the axes of {crs.name!r} as northing before easting; "
            "pixels are placed as x (east) before y (north)",
            axes=axes,
        )  # fmt: skip


def _celestial_body(crs: pyproj.CRS) -> str:
    ellipsoid = crs.ellipsoid
    if ellipsoid is None:
        return ""
    # Bodies smaller or larger than the Earth by more than 1 %: the authorities carry no name for un-coded ones.
    radius = float(ellipsoid.semi_major_metre)
    if abs(radius / 6378137.0 - 1.0) < 0.01:
        return "Earth"
    datum = crs.datum
    return str(datum.name if datum is not None else crs.name)


def check_grid(georef: Georeference, path: str) -> Iterator[ValidationIssue]:
    """Check rotation, pixel shape, orientation and extent of a placed raster."""
    a, b, _, d, e, _ = georef.transform
    if b or d:
        angle = math.degrees(math.atan2(d, a))
        yield issue(
            "RAS008", Severity.INFO,
            f"{path} is rotated by {angle:.2f}°; chips follow its own grid, and labels are placed exactly",
            Fix(name="normalise", summary="--target-crs makes it north-up, resampled virtually"), angle_deg=angle,
        )  # fmt: skip
    elif e > 0:
        yield issue("RAS027", Severity.INFO, f"{path} is stored south-up; chips follow its own grid")
    yield from _check_extent(georef, path)
    try:
        across, down = georef.gsd_m()
    except GeoreferenceError as error:
        yield issue("RAS011", Severity.ERROR, f"the centre of {path} lies nowhere on the Earth: {error.message}")
        return
    if max(across, down) > _SQUARE * min(across, down) > 0:
        yield issue(
            "RAS009", Severity.INFO,
            f"pixels of {path} are {across:.4g} m wide and {down:.4g} m high; shapes look stretched",
            Fix(name="normalise", summary="--target-crs with --resolution makes them square"),
            gsd_m=[across, down],
        )  # fmt: skip


def _check_extent(georef: Georeference, path: str) -> Iterator[ValidationIssue]:
    crs = pyproj.CRS.from_user_input(georef.crs)
    left, bottom, right, top = georef.bounds()
    if crs.is_geographic:
        degrees = 90.0 / (crs.axis_info[0].unit_conversion_factor * 180.0 / math.pi) if crs.axis_info else 90.0
        slack = 1.01 * degrees
        if bottom < -slack or top > slack:
            swapped = -slack <= left and right <= slack
            yield issue(
                "RAS011" if not swapped else "RAS010", Severity.ERROR,
                f"{path} reaches from latitude {bottom:.4f} to {top:.4f}, past the poles"
                + ("; its axes seem to be swapped" if swapped else "")
                + "; check its transform or CRS",
                Fix(name="assign_crs", summary="--assign-crs with the CRS that its coordinates are in"),
                bounds=[left, bottom, right, top],
            )  # fmt: skip
        elif right - left > 4.04 * degrees:
            yield issue(
                "RAS011", Severity.ERROR,
                f"{path} is {right - left:.1f}° wide, more than once around the Earth; check its transform or CRS",
                bounds=[left, bottom, right, top],
            )  # fmt: skip
        return
    area = crs.area_of_use
    centre = georef.to_world(np.array([[georef.width / 2, georef.height / 2]]))[0]
    if max(abs(v) for v in (left, bottom, right, top)) > 1e8:
        yield issue(
            "RAS011", Severity.ERROR,
            f"{path} reaches to ({right:.3g}, {top:.3g}), 100 000 km from the origin of its CRS; "
            "check its transform or CRS", bounds=[left, bottom, right, top],
        )  # fmt: skip
    elif area is not None:
        yield from _check_area(georef, path, area, centre)


def _check_area(
    georef: Georeference, path: str, area: Any, centre: npt.NDArray[np.float64]
) -> Iterator[ValidationIssue]:
    try:
        lon, lat = georef.to_lonlat(np.array([[georef.width / 2, georef.height / 2]]))[0]
    except GeoreferenceError:
        return  # reported by check_grid
    inside = area.south - 2 <= lat <= area.north + 2
    across = (lon - area.west) % 360.0 <= (area.east - area.west) % 360.0 or area.east - area.west >= 360.0
    near = min(abs((lon - area.west + 180) % 360 - 180), abs((lon - area.east + 180) % 360 - 180)) < 5.0
    if not (inside and (across or near)):
        yield issue(
            "RAS011", Severity.WARNING,
            f"the centre of {path} ({lon:.3f}, {lat:.3f}) lies far outside the area where its CRS is meant to be used "
            f"({area.name}: {area.west}, {area.south} to {area.east}, {area.north}); check the CRS",
            centre=[float(lon), float(lat)], centre_crs=[float(v) for v in centre],
        )  # fmt: skip


def check_accuracy(log: Mapping[str, Any], path: str) -> Iterator[ValidationIssue]:
    """Check how exactly the CRS leads to WGS 84."""
    lost = accuracy_lost(dict(log))
    if lost is not None:
        now = "unknown" if lost["now_m"] is None else f"{lost['now_m']:g} m"
        yield issue(
            "RAS023", Severity.WARNING,
            f"the grid {lost['grid']} is not installed: positions of {path} in WGS 84 are exact to {now} "
            f"instead of {lost['accuracy_m']:g} m",
            Fix(name="install_grid", arguments={"grid": lost["grid"]}, summary="projsync --file " + str(lost["grid"])),
            **lost,
        )  # fmt: skip
    elif log.get("accuracy_m") is None and "allpark" in str(log.get("operation", "")):
        yield issue(
            "RAS023", Severity.WARNING,
            f"the datum of {path} is not known to PROJ; its relation to WGS 84 is a ballpark (errors of up to some "
            "hundred metres)",
            Fix(name="assign_crs", summary="--assign-crs with the exact CRS"),
        )  # fmt: skip


def check_pixels(
    header: Header, array: npt.NDArray[Any], mask: npt.NDArray[np.bool_] | None
) -> Iterator[ValidationIssue]:
    """Check a sample (band, row, col) of all bands with its mask of valid pixels."""
    share = 1.0 if mask is None else float(mask.mean())
    if share == 0.0:
        yield issue("RAS016", Severity.WARNING, f"{header.path} holds nothing but nodata; no chip will be made of it")
    if header.nodata is not None and header.mask == "nodata" and not math.isnan(header.nodata):
        yield from _check_nodata(header, array, mask)
    if array.dtype.kind == "f" and header.nodata is None and bool(np.isnan(array).any()):
        yield issue("RAS024", Severity.INFO, f"{header.path} holds NaN and declares no nodata; NaN is taken as no data")
    if array.dtype.kind == "c":
        yield issue("RAS017", Severity.INFO, f"{header.path} is complex; its amplitude is shown in decibels")
    if header.mask == "alpha":
        yield issue("RAS013", Severity.INFO, f"{header.path} has an alpha band; it says where there is data")
    elif header.mask == "mask":
        yield issue("RAS014", Severity.INFO, f"{header.path} has a mask; it says where there is data")
    if header.palette:
        yield issue("RAS018", Severity.INFO, f"{header.path} has a colour table; its codes are never averaged")
    if header.scaled:
        yield issue("RAS019", Severity.INFO, f"{header.path} has scale and offset; models read raw values")
    if max(header.width, header.height) > _LARGE_PX and not header.overviews:
        yield issue(
            "RAS015", Severity.WARNING,
            f"{header.path} is {header.width} × {header.height} px without overviews; maps and checks of it are slow",
            Fix(name="cog", summary="--cog converts it to a cloud-optimised GeoTIFF in the store"),
        )  # fmt: skip
    if max(header.width, header.height) > _LARGE_PX and not header.tiled:
        yield issue(
            "RAS025", Severity.WARNING,
            f"{header.path} is stored in whole rows; a chip of it reads far more than it shows",
            Fix(name="cog", summary="--cog converts it to a cloud-optimised GeoTIFF in the store"),
        )  # fmt: skip


def _check_nodata(
    header: Header, array: npt.NDArray[Any], mask: npt.NDArray[np.bool_] | None
) -> Iterator[ValidationIssue]:
    """A nodata value inside the range of an 8-bit picture, in single bands or scattered, is data as well."""
    if array.dtype != np.uint8:
        return
    equal = array == np.uint8(header.nodata or 0)
    partly = equal.any(axis=0) & ~equal.all(axis=0)
    holes = np.zeros(array.shape[1:], dtype=bool) if mask is None else ~mask
    scattered = float((holes & ~_touches_edge(holes)).mean())
    bright = header.nodata == 255
    if (bright and (partly.any() or scattered > 0)) or scattered > 0.001:
        yield issue(
            "RAS012", Severity.WARNING,
            f"{header.path} declares nodata={header.nodata:g}, which also occurs as data: {float(partly.mean()):.2%} "
            f"of pixels have it in some bands only, {scattered:.2%} are holes inside the picture",
            Fix(name="ignore_nodata", summary="--ignore-nodata takes every pixel as data"),
            partly=float(partly.mean()), holes=scattered,
        )  # fmt: skip


def _touches_edge(holes: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return the parts of a mask that are connected with its border: collars, not holes."""
    import cv2

    if not holes.any():
        return holes
    _, labels = cv2.connectedComponents(holes.astype(np.uint8), connectivity=8)
    edge = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    return np.isin(labels, edge[edge > 0]) & holes
