"""Files that hold several rasters (netCDF, HDF, Zarr): one scene where they share a grid, else the choice is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geolabel.core.issues import Fix, Severity, ValidationIssue
from geolabel.raster.checks import issue

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

_MOST = 64


def expand_subdatasets(dataset: DatasetReader, uri: str) -> str | ValidationIssue:
    """Return the XML of one virtual raster over the subdatasets, "" when the file is a raster itself, or an issue.

    A file whose own bands can be read is taken as it is. Otherwise its variables become bands of one scene when they
    share size and transform; if not, an issue lists them.
    """
    if dataset.count > 0:
        return _placed_netcdf(dataset, uri)
    if not dataset.subdatasets:
        return issue("RAS021", Severity.ERROR, f"{uri} holds no raster band")
    import rasterio
    from rasterio.errors import RasterioError

    from geolabel.raster.pool import quiet
    from geolabel.raster.virtual import stack_xml

    members: list[tuple[str, Any]] = []
    with quiet():
        for name in dataset.subdatasets[:_MOST]:
            try:
                with rasterio.open(name) as part:
                    grid = tuple(float(f"{v:.10g}") for v in part.transform)  # drivers round differently
                    members.append((name, (part.width, part.height, grid, part.count)))
            except RasterioError:
                continue
    members = [m for m in members if m[1][0] > 1 and m[1][1] > 1]
    grids = {m[1] for m in members}
    if len(grids) == 1 and len(members) <= _MOST:
        return stack_xml([name for name, _ in members])
    names = ", ".join(name.rpartition(":")[2] for name, _ in members) or "none that is two-dimensional"
    fix = Fix(
        name="choose", summary=f"name one: {uri.split(':', maxsplit=1)[0] if ':' in uri else 'netcdf'}:FILE:VARIABLE"
    )
    return issue("RAS021", Severity.ERROR, f"{uri} holds several rasters on different grids: {names}", fix)


def _placed_netcdf(dataset: DatasetReader, uri: str) -> str:
    """Return XML with the transform of a netCDF variable whose even coordinates GDAL doesn't accept, or "".

    GDAL turns rows so that the northernmost comes first, whatever their order in the file.
    """
    if dataset.driver != "netCDF" or not dataset.transform.is_identity or dataset.gcps[0] or dataset.count > _MOST:
        return ""
    import xarray

    from geolabel.raster.location import file_of
    from geolabel.raster.virtual import plain_xml
    from geolabel.raster.zarrs import grid_of

    try:
        with xarray.open_dataset(file_of(uri), decode_times=False) as data:
            six = grid_of(data)
    except (OSError, ValueError, KeyError):
        return ""
    if six is None:
        return ""
    a, b, c, d, e, f = six
    if e > 0:
        f, e = f + e * dataset.height, -e
    return plain_xml(dataset, (a, b, c, d, e, f))
