"""Headers of open rasters as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from geolabel.core.georef import crs_text
from geolabel.core.scene import Band
from geolabel.errors import GeoreferenceError
from geolabel.raster.checks import Header
from geolabel.raster.pool import GdalRaster, Raster, short

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def header_of(raster: Raster, path: str) -> Header:
    """Return the header of an open raster."""
    if not isinstance(raster, GdalRaster):
        from geolabel.raster.zarrs import ZarrRaster

        if isinstance(raster, ZarrRaster):
            return raster.header(path)
        raise TypeError(f"no header of {type(raster).__name__}")
    dataset = raster.dataset
    gcps, gcp_crs = dataset.gcps
    transform: tuple[float, ...] | None = tuple(float(v) for v in tuple(dataset.transform)[:6])
    if transform == _IDENTITY:
        transform = None
    crs = dataset.crs if dataset.crs else (gcp_crs if gcps else None)
    return Header(
        path=short(path),
        crs=_crs_text(crs),
        transform=transform,
        width=dataset.width,
        height=dataset.height,
        dtype=str(dataset.dtypes[0]) if dataset.count else "",
        nodata=dataset.nodata,
        gcps=len(gcps),
        rpcs=dataset.rpcs is not None,
        colours={i + 1: colour.name for i, colour in enumerate(dataset.colorinterp)},
        mask=mask_kind(dataset),
        overviews=tuple(dataset.overviews(1)) if dataset.count else (),
        tiled=bool(dataset.count) and (dataset.block_shapes[0][1] < dataset.width or dataset.width <= 512),
        scaled=any(s != 1.0 for s in dataset.scales) or any(o != 0.0 for o in dataset.offsets),
        palette=dataset.count == 1 and dataset.colorinterp[0].name == "palette",
    )


def _crs_text(crs: Any) -> str | None:
    if not crs:
        return None
    try:
        return crs_text(crs.to_wkt())
    except GeoreferenceError:
        return None


def mask_kind(dataset: DatasetReader) -> str:
    """Return how a dataset says where there is data: "none", "nodata", "alpha" or "mask"."""
    from rasterio.enums import MaskFlags

    flags = dataset.mask_flag_enums[0] if dataset.count else []
    if MaskFlags.alpha in flags:
        return "alpha"
    if MaskFlags.per_dataset in flags:
        return "mask"
    if MaskFlags.nodata in flags:
        return "nodata"
    return "none"


def bands_of(raster: Raster, names: Sequence[str], header: Header) -> tuple[tuple[Band, ...], Mapping[int, str]]:
    """Return the data bands (alpha left out) and their colour interpretation."""
    from geolabel.raster.scene import WAVELENGTHS

    if not isinstance(raster, GdalRaster):
        from geolabel.raster.zarrs import ZarrRaster

        return (raster.bands(names) if isinstance(raster, ZarrRaster) else ()), {}
    dataset = raster.dataset
    indexes = [i for i in range(1, dataset.count + 1) if header.colours.get(i) != "alpha"]
    bands = []
    for place, index in enumerate(indexes):
        colour = header.colours.get(index, "")
        name = names[place] if place < len(names) else _band_name(dataset, index, colour)
        imagery = dataset.tags(index, ns="IMAGERY")
        micrometres = imagery.get("CENTRAL_WAVELENGTH_UM")
        wavelength = float(micrometres) * 1000.0 if micrometres else WAVELENGTHS.get(name.lower())
        bands.append(
            Band(
                index=index, name=name, wavelength_nm=wavelength,
                scale=float(dataset.scales[index - 1]), offset=float(dataset.offsets[index - 1]),
            )
        )  # fmt: skip
    return tuple(bands), {i: header.colours[i] for i in indexes}


def _band_name(dataset: DatasetReader, index: int, colour: str) -> str:
    description = dataset.descriptions[index - 1]
    if description:
        return str(description)
    if colour in ("red", "green", "blue"):
        return colour
    variable = dataset.tags(index).get("NETCDF_VARNAME")
    return str(variable) if variable else f"band{index}"
