"""Virtual rasters: warped, stacked and mosaicked without copying a pixel, as XML that GDAL opens."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from geolabel.core.georef import Georeference, crs_text
from geolabel.errors import InputError, RasterReadError
from geolabel.raster.location import reading
from geolabel.raster.pool import first_line, quiet, short

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

    from geolabel.raster.scene import OpenOptions

_GDAL_TYPES = {
    "uint8": "Byte", "int8": "Int8", "uint16": "UInt16", "int16": "Int16", "uint32": "UInt32", "int32": "Int32",
    "float32": "Float32", "float64": "Float64", "complex64": "CFloat32", "complex128": "CFloat64",
    "complex_int16": "CInt16", "uint64": "UInt64", "int64": "Int64",
}  # fmt: skip


@contextmanager
def opened(path: str, *, remote: bool = False) -> Iterator[DatasetReader]:
    """Open a path or XML with rasterio, errors as ours."""
    import rasterio
    from rasterio.errors import RasterioError

    try:
        with quiet(), reading(remote), rasterio.open(path) as dataset:
            yield dataset
    except RasterioError as error:
        raise RasterReadError(f"{short(path)} can't be read: {first_line(error)}") from error


def vrt_xml(dataset: Any) -> str:
    """Return the XML of an open virtual raster (also of a WarpedVRT)."""
    import rasterio
    import rasterio.shutil

    name = f"/vsimem/{uuid.uuid4().hex}.vrt"
    rasterio.shutil.copy(dataset, name, driver="VRT")
    try:
        with quiet(), rasterio.open(name) as copy:
            return str(copy.tags(ns="xml:VRT")["xml:VRT"])
    finally:
        rasterio.shutil.delete(name)


def warped_xml(source: str, asked: OpenOptions, *, remote: bool = False) -> tuple[str, str]:
    """Return the XML of a virtually warped raster, and the text of the CRS that it came from.

    Args:
        source: Path or XML that GDAL opens.
        asked: `target_crs`, `resolution`, `align_to`, `assign_crs`, `warp`.
        remote: Whether reading goes over the network.

    Raises:
        InputError: the source has no CRS, or the target is not one.
    """
    from rasterio.enums import Resampling
    from rasterio.vrt import WarpedVRT

    with opened(source, remote=remote) as dataset:
        gcps, gcp_crs = dataset.gcps
        placed = tuple(dataset.transform)[:6] != (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
        crs = asked.assign_crs or dataset.crs or gcp_crs or ("EPSG:4326" if dataset.rpcs else None)
        if not crs:
            raise InputError(f"{short(source)} has no CRS to warp from; give --assign-crs")
        palette = dataset.count == 1 and dataset.colorinterp[0].name == "palette"
        options: dict[str, Any] = {
            "src_crs": crs,
            # Class codes must not be averaged; pictures and measurements are interpolated.
            "resampling": Resampling.nearest if palette else Resampling.bilinear,
            "add_alpha": dataset.nodata is None and not _masked(dataset) and dataset.count in (1, 3)
            and dataset.dtypes[0] == "uint8" and not palette,
        }  # fmt: skip
        if not placed and dataset.rpcs and not gcps:
            options |= {"RPC_HEIGHT": "0"}
        options |= _target(dataset, asked, crs, placed)
        with WarpedVRT(dataset, **options) as warped:
            return vrt_xml(warped), crs_text(crs.to_wkt() if hasattr(crs, "to_wkt") else crs)


def _masked(dataset: DatasetReader) -> bool:
    from geolabel.raster.header import mask_kind

    return mask_kind(dataset) in ("alpha", "mask")


def _target(dataset: DatasetReader, asked: OpenOptions, crs: Any, placed: bool) -> dict[str, Any]:
    from rasterio.crs import CRS
    from rasterio.transform import Affine
    from rasterio.warp import calculate_default_transform

    if asked.align_to:
        grid = Georeference.from_json(asked.align_to)
        return {"crs": CRS.from_user_input(grid.crs), "transform": Affine(*grid.transform),
                "width": grid.width, "height": grid.height}  # fmt: skip
    target = CRS.from_user_input(crs_text(asked.target_crs)) if asked.target_crs else CRS.from_user_input(crs)
    if asked.resolution is None:
        return {"crs": target}
    how: dict[str, Any] = {}
    if not placed:
        how = {"gcps": dataset.gcps[0]} if dataset.gcps[0] else {"rpcs": dataset.rpcs}
    else:
        how = dict(zip(("left", "bottom", "right", "top"), dataset.bounds, strict=True))
    transform, width, height = calculate_default_transform(
        crs, target, dataset.width, dataset.height, resolution=asked.resolution, **how
    )
    return {"crs": target, "transform": transform, "width": width, "height": height}


def stack_xml(paths: Sequence[str], *, names: Sequence[str] = (), remote: bool = False) -> str:
    """Return the XML of one raster whose bands are the first bands of several rasters on one grid.

    Rasters of another resolution on the same ground are resampled to the first's grid.
    """
    bands = []
    with opened(paths[0], remote=remote) as first:
        head = _head(first)
        width, height, dtype, nodata = first.width, first.height, first.dtypes[0], first.nodata
    for place, path in enumerate(paths):
        with opened(path, remote=remote) as part:
            name = names[place] if place < len(names) else path.rpartition(":")[2].strip('"')
            source = _source(path, 1, (0, 0, part.width, part.height), (0, 0, width, height), part.nodata)
            scale = _scaling(part)
        bands.append(_band(place + 1, dtype, nodata, source, f"<Description>{escape(name)}</Description>{scale}"))
    return f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}">{head}{"".join(bands)}</VRTDataset>'


def plain_xml(dataset: DatasetReader, transform: Sequence[float]) -> str:
    """Return the XML of a raster as it is, on another transform (six numbers)."""
    a, b, c, d, e, f = transform
    srs = f"<SRS>{escape(dataset.crs.to_wkt())}</SRS>" if dataset.crs else ""
    head = f"{srs}<GeoTransform>{c!r},{a!r},{b!r},{f!r},{d!r},{e!r}</GeoTransform>"
    box = (0, 0, dataset.width, dataset.height)
    bands = [
        _band(i, dataset.dtypes[i - 1], dataset.nodata, _source(dataset.name, i, box, box, dataset.nodata))
        for i in range(1, dataset.count + 1)
    ]
    return (
        f'<VRTDataset rasterXSize="{dataset.width}" rasterYSize="{dataset.height}">{head}{"".join(bands)}</VRTDataset>'
    )


def _scaling(dataset: DatasetReader) -> str:
    scale, offset = dataset.scales[0], dataset.offsets[0]
    if scale == 1.0 and offset == 0.0:
        return ""
    return f"<Offset>{offset!r}</Offset><Scale>{scale!r}</Scale>"


def mosaic_xml(paths: Sequence[str], *, target_crs: str = "", remote: bool = False) -> str:
    """Return the XML of one raster over many files, later ones on top.

    Args:
        paths: Files or XML; all in one CRS unless `target_crs` is given, to which the others are warped virtually.
        target_crs: Common CRS, or "".
        remote: Whether reading goes over the network.

    Raises:
        InputError: they differ in CRS (without `target_crs`), bands or sample type, or one is rotated.
    """
    members = [_Member.of(path, target_crs, remote) for path in paths]
    first = members[0]
    for member in members[1:]:
        if member.crs != first.crs:
            raise InputError(
                f"the files of the mosaic have several CRSs ({first.name}: {first.crs_name}, {member.name}: "
                f"{member.crs_name}); give --target-crs to bring them together virtually"
            )
        if (member.count, member.dtype) != (first.count, first.dtype):
            raise InputError(
                f"{member.name} has {member.count} bands of {member.dtype}, {first.name} {first.count} of "
                f"{first.dtype}; a mosaic needs the same bands everywhere"
            )
    resolution = min(m.resolution for m in members)
    left, top = min(m.left for m in members), max(m.top for m in members)
    right, bottom = max(m.right for m in members), min(m.bottom for m in members)
    width, height = round((right - left) / resolution[0]), round((top - bottom) / resolution[1])
    head = (
        f"<SRS>{escape(first.crs)}</SRS><GeoTransform>{left!r},{resolution[0]!r},0,{top!r},0,{-resolution[1]!r}"
        "</GeoTransform>"
    )
    bands = []
    # Gaps between files hold nothing: a mosaic without nodata gets an alpha band that says where files lie.
    for index in range(1, first.count + 1):
        sources = "".join(_placed(m, index, (left, top), resolution) for m in members)
        bands.append(_band(index, first.dtype, first.nodata, sources, first.colour(index)))
    if first.nodata is None and not first.alpha:
        cover = "".join(_cover(m, (left, top), resolution) for m in members)
        bands.append(_band(first.count + 1, "uint8", None, cover, "<ColorInterp>Alpha</ColorInterp>"))
    return f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}">{head}{"".join(bands)}</VRTDataset>'


class _Member:
    """One file of a mosaic: place, grid and bands."""

    def __init__(self, path: str, dataset: DatasetReader) -> None:
        self.path, self.name = path, short(path)
        transform = dataset.transform
        if transform.b or transform.d or transform.e > 0:
            raise InputError(
                f"{self.name} is rotated or south-up; give --target-crs to bring the files together virtually"
            )
        if dataset.crs is None:
            raise InputError(f"{self.name} has no CRS; a mosaic needs one of every file")
        self.crs, self.crs_name = dataset.crs.to_wkt(), dataset.crs.to_string()[:60]
        self.width, self.height, self.count = dataset.width, dataset.height, dataset.count
        self.dtype, self.nodata = dataset.dtypes[0], dataset.nodata
        self.resolution = (transform.a, -transform.e)
        self.left, self.bottom, self.right, self.top = dataset.bounds
        self.colours = [c.name for c in dataset.colorinterp]
        self.alpha = "alpha" in self.colours

    @classmethod
    def of(cls, path: str, target_crs: str, remote: bool) -> _Member:
        from geolabel.raster.scene import OpenOptions

        with opened(path, remote=remote) as dataset:
            north_up = not dataset.transform.b and not dataset.transform.d and dataset.transform.e < 0
            same = dataset.crs is not None and target_crs and crs_text(dataset.crs.to_wkt()) == crs_text(target_crs)
            if not target_crs or (same and north_up):
                return cls(path, dataset)
        xml, _ = warped_xml(path, OpenOptions(target_crs=target_crs), remote=remote)
        with opened(xml, remote=remote) as dataset:
            return cls(xml, dataset)

    def colour(self, index: int) -> str:
        """Return the colour interpretation of a band as XML."""
        name = self.colours[index - 1]
        return (
            f"<ColorInterp>{name.capitalize()}</ColorInterp>"
            if name in ("red", "green", "blue", "gray", "alpha")
            else ""
        )

    def target(self, origin: tuple[float, float], resolution: tuple[float, float]) -> tuple[float, float, float, float]:
        """Return where it lies in the mosaic: column, row, width, height, px."""
        return (
            (self.left - origin[0]) / resolution[0], (origin[1] - self.top) / resolution[1],
            (self.right - self.left) / resolution[0], (self.top - self.bottom) / resolution[1],
        )  # fmt: skip


def _placed(member: _Member, index: int, origin: tuple[float, float], resolution: tuple[float, float]) -> str:
    box = (0, 0, member.width, member.height)
    return _source(member.path, index, box, member.target(origin, resolution), member.nodata, masked=member.alpha)


def _cover(member: _Member, origin: tuple[float, float], resolution: tuple[float, float]) -> str:
    box = (0, 0, member.width, member.height)
    rectangles = _rectangles(box, member.target(origin, resolution))
    return f"<ComplexSource>{_file(member.path)}<SourceBand>mask,1</SourceBand>{rectangles}</ComplexSource>"


def _source(
    path: str, band: int, box: Sequence[float], target: Sequence[float], nodata: float | None, *, masked: bool = False
) -> str:
    kind = "ComplexSource" if nodata is not None or masked else "SimpleSource"
    extra = f"<NODATA>{nodata!r}</NODATA>" if nodata is not None else ""
    extra += "<UseMaskBand>true</UseMaskBand>" if masked else ""
    return f"<{kind}>{_file(path)}<SourceBand>{band}</SourceBand>{_rectangles(box, target)}{extra}</{kind}>"


def _file(path: str) -> str:
    return f'<SourceFilename relativeToVRT="0">{escape(path)}</SourceFilename>'


def _rectangles(box: Sequence[float], target: Sequence[float]) -> str:
    names = ("xOff", "yOff", "xSize", "ySize")
    source = " ".join(f'{n}="{float(v)!r}"' for n, v in zip(names, box, strict=True))
    onto = " ".join(f'{n}="{float(v)!r}"' for n, v in zip(names, target, strict=True))
    return f"<SrcRect {source}/><DstRect {onto}/>"


def _band(index: int, dtype: str, nodata: float | None, sources: str, extra: str = "") -> str:
    value = "" if nodata is None else f"<NoDataValue>{nodata!r}</NoDataValue>"
    return (
        f'<VRTRasterBand dataType="{_GDAL_TYPES.get(dtype, "Float32")}" band="{index}">{value}{extra}{sources}'
        "</VRTRasterBand>"
    )


def _head(dataset: DatasetReader) -> str:
    a, b, c, d, e, f = tuple(dataset.transform)[:6]
    srs = f"<SRS>{escape(dataset.crs.to_wkt())}</SRS>" if dataset.crs else ""
    return f"{srs}<GeoTransform>{c!r},{a!r},{b!r},{f!r},{d!r},{e!r}</GeoTransform>"
