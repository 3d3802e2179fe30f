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
        return ""
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
                    members.append((name, (part.width, part.height, grid, part.crs, part.count)))
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
