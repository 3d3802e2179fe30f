"""Register a raster: read its header and a small sample, check it, decide how it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from geolabel.core.georef import Georeference, crs_text
from geolabel.core.ids import digest
from geolabel.core.issues import Fix, Severity, ValidationIssue
from geolabel.core.scene import Scene
from geolabel.errors import GeoLabelError, GeoreferenceError, InputError, RasterReadError
from geolabel.raster import checks
from geolabel.raster.crslog import crs_log
from geolabel.raster.identity import identity_of
from geolabel.raster.location import check_roots, file_of, gdal_path, is_remote, normalise_uri
from geolabel.raster.pool import GdalRaster, Raster, open_raster, short
from geolabel.raster.stretch import default_render, sample

_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
#: Nominal wavelengths (nm) of band names that sensors and catalogues agree on.
WAVELENGTHS = {
    "coastal": 443.0, "blue": 490.0, "green": 560.0, "yellow": 600.0, "red": 665.0, "rededge": 705.0, "nir": 842.0,
    "nir08": 865.0, "swir16": 1610.0, "swir22": 2200.0,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenOptions:
    """What a person asks for beyond the raster as it is.

    Attributes:
        assign_crs: CRS of a raster that states none, or a wrong one.
        ignore_nodata: Take every pixel as data although the file declares nodata.
        warp: Place a raster that has only control points or rational polynomials by warping it virtually.
        target_crs: Reproject virtually to this CRS.
        resolution: Pixel size in units of `target_crs`; kept from the source when None.
        align_to: Georeference (JSON) of another scene, whose grid is taken over exactly.
        requester_pays: Pay for reading from the bucket.
        band_names: Names of the bands in file order.
        acquired: ISO 8601 UTC, instead of what the file says.
        sensor, region: Of the scene.
    """

    assign_crs: str = ""
    ignore_nodata: bool = False
    warp: bool = False
    target_crs: str = ""
    resolution: float | None = None
    align_to: Mapping[str, Any] | None = None
    requester_pays: bool = False
    band_names: tuple[str, ...] = ()
    acquired: str | None = None
    sensor: str = ""
    region: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What `open_scene` found: the scene unless an issue is an error, and all issues."""

    scene: Scene | None
    issues: tuple[ValidationIssue, ...]
    header: Mapping[str, Any] = field(default_factory=dict)

    @property
    def errors(self) -> tuple[ValidationIssue, ...]:
        """The issues that stop the work."""
        return tuple(checks.errors_of(list(self.issues)))

    def require(self) -> Scene:
        """Return the scene.

        Raises:
            InputError: there is none; the sentence names the first error and its fix.
        """
        if self.scene is not None and not self.errors:
            return self.scene
        first = self.errors[0]
        fix = f" ({first.fix.summary})" if first.fix is not None and first.fix.summary else ""
        kind = GeoreferenceError if first.code in ("RAS002", "RAS003", "RAS004", "RAS005") else InputError
        raise kind(f"{first.message}{fix} [{first.code}]")


def open_scene(uri: str, options: OpenOptions | None = None, *, roots: tuple[str, ...] = ()) -> Opened:
    """Register one raster.

    Args:
        uri: Path, https://, s3://, gs:// or az:// address; `netcdf:file:variable` and the like name subdatasets.
        options: What is asked for beyond the raster as it is.
        roots: Folders and prefixes that may be opened; empty: any.

    Returns:
        Scene and issues; unreadable and unplaced rasters give issues, not exceptions.

    Raises:
        InputError: the address itself is wrong or outside the roots.
    """
    kept = normalise_uri(uri)
    check_roots(kept, roots)
    asked = options or OpenOptions()
    try:
        return _open(kept, asked)
    except RasterReadError as error:
        return Opened(scene=None, issues=(_unreadable(kept, error),))


def _unreadable(uri: str, error: GeoLabelError) -> ValidationIssue:
    suffix = PurePosixPath(urlsplit(uri).path).suffix.lower()
    if suffix in (".geojson", ".gpkg", ".shp", ".json", ".csv", ".xml", ".txt", ".npy") and "recogni" in error.message:
        return checks.issue("RAS022", Severity.ERROR, f"{uri} is no raster that can be read ({suffix} file)")
    fix = Fix(name="check_file", summary="check the address, its permissions, and that the file is whole")
    return checks.issue("RAS001", Severity.ERROR, error.message, fix)


def _open(uri: str, asked: OpenOptions) -> Opened:
    how = way_of_opening(uri, asked)
    if isinstance(how, ValidationIssue):
        return Opened(scene=None, issues=(how,))
    return open_described(uri, asked, how, identity_of(file_of(uri), requester_pays=asked.requester_pays))


def way_of_opening(uri: str, asked: OpenOptions) -> dict[str, Any] | ValidationIssue:
    """Find out how a kept address is opened (JSON for `properties["open"]`), or why it can't be as it is.

    Raises:
        RasterReadError: it can't be read at all.
    """
    from geolabel.raster.subdatasets import expand_subdatasets
    from geolabel.raster.zarrs import describe_zarr, is_zarr3

    if is_zarr3(uri):
        return {"kind": "zarr", **describe_zarr(uri)}
    remote = is_remote(uri)
    how: dict[str, Any] = {"kind": "gdal", "remote": remote}
    if asked.requester_pays:
        how["requester_pays"] = True
    raster = GdalRaster(gdal_path(uri), remote=remote, requester_pays=asked.requester_pays)
    try:
        expanded = expand_subdatasets(raster.dataset, uri)
    finally:
        raster.close()
    if isinstance(expanded, ValidationIssue):
        return expanded
    return {**how, "kind": "vrt", "xml": expanded} if expanded else how


def open_described(
    uri: str, asked: OpenOptions, how: dict[str, Any], etag: str, facts: Mapping[str, Any] | None = None
) -> Opened:
    """Register a raster whose way of opening (`properties["open"]`) is known; see `open_scene`.

    Args:
        uri: Address it is known by.
        asked: What is asked for beyond the raster as it is.
        how: Way of opening, JSON.
        etag: Identity of the bytes behind it.
        facts: Sensor, acquisition, band names, properties that a catalogue knows.
    """
    from geolabel.raster.virtual import warped_xml

    known = dict(facts or {})
    if asked.ignore_nodata:
        how = {**how, "ignore_nodata": True}
    source = "" if how["kind"] == "zarr" else (how["xml"] if how["kind"] == "vrt" else gdal_path(uri))
    source_crs = ""
    if asked.warp or asked.target_crs or asked.align_to:
        if not source:
            raise InputError(f"{uri} is Zarr 3, which can't be warped as it is; convert it first (--cog)")
        xml, source_crs = warped_xml(source, asked, remote=bool(how.get("remote")))
        how = {**how, "kind": "vrt", "xml": xml}
    return _finish(uri, asked, how, etag, {**known, "source_crs": source_crs})


def _finish(uri: str, asked: OpenOptions, how: dict[str, Any], etag: str, known: dict[str, Any]) -> Opened:
    blank = Scene(
        id="", uri=uri, name=scene_name(uri),
        georef=Georeference(crs="EPSG:4326", transform=_IDENTITY, width=1, height=1),
        bands=(), dtype="", properties={"open": how},
    )  # fmt: skip
    raster = open_raster(blank)
    try:
        return _register(blank, raster, asked, etag, known)
    finally:
        raster.close()


def _register(blank: Scene, raster: Raster, asked: OpenOptions, etag: str, known: dict[str, Any]) -> Opened:
    from geolabel.raster.header import bands_of, header_of

    header = header_of(raster, blank.uri)
    hint = str(known.get("crs_hint") or "")
    issues: list[ValidationIssue] = []
    if asked.assign_crs:
        header = replace(header, crs=crs_text(asked.assign_crs))
    elif header.crs is None and hint:
        header = replace(header, crs=crs_text(hint))
        issues.append(checks.issue("RAS031", Severity.INFO, f"{header.path} has no CRS; its catalogue says {hint}"))
    issues += checks.check_place(header)
    facts = header_json(header)
    if checks.errors_of(issues) or header.crs is None or header.transform is None:
        return Opened(scene=None, issues=tuple(issues), header=facts)
    georef = Georeference.from_parts(
        crs=horizontal(header.crs), transform=header.transform, width=header.width, height=header.height
    )
    issues += checks.check_grid(georef, header.path)
    bands, colours = bands_of(raster, asked.band_names or tuple(known.get("band_names") or ()), header)
    properties = {**blank.properties, **dict(known.get("properties") or {}), **_pixel_facts(raster, header, asked)}
    scene = replace(blank, georef=georef, bands=bands, dtype=header.dtype, nodata=header.nodata, etag=etag,
                    properties=properties)  # fmt: skip
    taken = sample(raster, [band.index for band in bands])
    if taken.failed:
        whole = taken.array.shape[1] == 0
        issues.append(
            checks.issue(
                "RAS020", Severity.ERROR if whole else Severity.WARNING,
                f"{taken.error}; the file is damaged or cut short: {taken.failed} of {taken.parts} parts can't be read",
                Fix(name="replace_file", summary="get the file again; unreadable chips are counted and left out"),
                failed=taken.failed, parts=taken.parts,
            )
        )  # fmt: skip
        scene = replace(scene, properties={**properties, "damaged": True})
        if whole:
            return Opened(scene=None, issues=tuple(issues), header=facts)
    issues += checks.check_pixels(header, taken.array, taken.mask)
    render = default_render(scene, taken, colours)
    if checks.errors_of(issues):
        return Opened(scene=None, issues=tuple(issues), header=facts)
    log = crs_log(georef.crs)
    issues += checks.check_accuracy(log, header.path)
    if known.get("source_crs") and known["source_crs"] != georef.crs:
        log = {**log, "normalised": crs_log(str(known["source_crs"]), georef.crs)}
    scene = replace(
        scene,
        id=_scene_id(etag, georef, scene),
        render=render,
        crs_log=log,
        acquired=asked.acquired or known.get("acquired") or _acquired(raster),
        sensor=asked.sensor or str(known.get("sensor") or ""),
        region=asked.region,
    )
    return Opened(scene=scene, issues=tuple(issues), header=facts)


def _scene_id(etag: str, georef: Georeference, scene: Scene) -> str:
    how = scene.properties["open"]
    shape = [how["kind"], bool(how.get("ignore_nodata")), scene.dtype, [b.index for b in scene.bands]]
    return digest("scene", etag, georef.to_json(), shape)


def _pixel_facts(raster: Raster, header: checks.Header, asked: OpenOptions) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "mask": "none" if asked.ignore_nodata and header.mask == "nodata" else header.mask,
        "overviews": list(header.overviews),
        "tiled": header.tiled,
    }
    if header.palette and isinstance(raster, GdalRaster):
        try:
            table = raster.dataset.colormap(1)
        except ValueError:  # declared as palette without a table: shown as grey values
            table = {}
        if table:
            facts["palette"] = {str(code): list(colour) for code, colour in table.items()}
    if header.dtype.startswith("float") and header.mask == "none":
        facts["mask"] = "nan"
    return facts


def _acquired(raster: Raster) -> str | None:
    """Read TIFF's DateTime of acquisition where a provider filled it in (ACQUISITIONDATETIME of the IMAGERY domain)."""
    if not isinstance(raster, GdalRaster):
        return None
    value = raster.dataset.tags(ns="IMAGERY").get("ACQUISITIONDATETIME")
    return str(value).replace(" ", "T") + ("" if str(value).endswith("Z") else "Z") if value else None


def header_json(header: checks.Header) -> dict[str, Any]:
    """Return a header as JSON types, for `geolabel inspect`."""
    return {
        "crs": header.crs,
        "transform": list(header.transform) if header.transform else None,
        "size": [header.width, header.height],
        "dtype": header.dtype,
        "nodata": None if header.nodata is None or header.nodata != header.nodata else header.nodata,
        "mask": header.mask,
        "overviews": list(header.overviews),
        "tiled": header.tiled,
        "gcps": header.gcps,
        "rpcs": header.rpcs,
        "palette": header.palette,
        "colours": {str(k): v for k, v in header.colours.items()},
    }


def horizontal(crs: str) -> str:
    """Return the horizontal part of a CRS."""
    import pyproj

    parsed = pyproj.CRS.from_user_input(crs)
    if parsed.is_compound:
        return crs_text(parsed.sub_crs_list[0])
    return crs_text(parsed.to_2d() if len(parsed.axis_info) == 3 else parsed)


def scene_name(uri: str) -> str:
    """Return a short name of an address: its file name without suffix."""
    text = short(uri)
    file = file_of(text)
    part = text[len(file) :].rpartition(":")[2].strip('"') if ":" in text[len(file) :] else ""
    path = urlsplit(file).path if "://" in file else file
    stem = PurePosixPath(path.rstrip("/")).name
    for suffix in (".tif", ".tiff", ".vrt", ".nc", ".zarr", ".jp2", ".json", ".jpg", ".png"):
        if stem.lower().endswith(suffix):
            stem = stem[: -len(suffix)]
            break
    return f"{stem}:{part}" if part and file != text else stem or text
