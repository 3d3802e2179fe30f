"""Zarr 3 through zarr-python and xarray's conventions: GDAL 3.10 opens its metadata but can't decode its codecs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geolabel.core.georef import Window, crs_text
from geolabel.core.scene import Band
from geolabel.errors import GeoreferenceError, InputError, RasterReadError
from geolabel.raster.checks import Header
from geolabel.raster.location import is_remote

_X_NAMES = ("x", "lon", "longitude", "easting")
_Y_NAMES = ("y", "lat", "latitude", "northing")


def is_zarr3(uri: str) -> bool:
    """Tell whether an address is a Zarr 3 group or array (a local folder with zarr.json, or a remote one)."""
    if is_remote(uri):
        return uri.rstrip("/").endswith(".zarr") and _remote_has(uri, "zarr.json")
    return (Path(uri) / "zarr.json").is_file()


def _remote_has(uri: str, name: str) -> bool:
    import zarr

    try:
        zarr.open(_zarr_store(uri), mode="r", zarr_format=3)
    except (FileNotFoundError, ValueError, KeyError, OSError):
        return False
    return bool(name)


def _zarr_store(uri: str) -> Any:
    if not is_remote(uri):
        return uri
    from urllib.parse import urlsplit

    from obstore.store import from_url
    from zarr.storage import ObjectStore

    from geolabel.settings import process_environment

    endpoint = process_environment().get("AWS_ENDPOINT_URL_S3") or process_environment().get("AWS_ENDPOINT_URL")
    options: dict[str, Any] = {}
    if urlsplit(uri).scheme == "s3" and endpoint and endpoint.startswith("http://"):
        options = {"endpoint": endpoint, "client_options": {"allow_http": True}}
    return ObjectStore(from_url(uri, **options), read_only=True)


def describe_zarr(uri: str) -> dict[str, Any]:
    """Find the rasters of a Zarr group and their place on the Earth, by xarray's and GeoZarr's conventions.

    Returns:
        JSON: {"planes": [{"variable", "index", "name"}], "transform", "crs", "size", "dtype", "nodata"}; one plane per
        band: a variable, or one step of its leading dimension.

    Raises:
        RasterReadError: it can't be opened.
        InputError: it holds no two-dimensional variable on a regular grid.
    """
    import xarray

    try:
        with xarray.open_zarr(_zarr_store(uri), consolidated=False, mask_and_scale=False, decode_coords="all") as data:
            return _describe(data, uri)
    except (FileNotFoundError, KeyError, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise RasterReadError(f"{uri} can't be read as Zarr: {str(error).splitlines()[0][:200]}") from error


def _describe(data: Any, uri: str) -> dict[str, Any]:
    planes: list[dict[str, Any]] = []
    grid: tuple[Any, ...] | None = None
    for name, variable in data.data_vars.items():
        dims = variable.dims
        if variable.ndim not in (2, 3) or str(dims[-1]).lower() not in _X_NAMES:
            continue
        here = (variable.sizes[dims[-1]], variable.sizes[dims[-2]], str(dims[-1]), str(dims[-2]))
        if grid is not None and here != grid:
            continue
        grid = here
        steps = variable.sizes[dims[0]] if variable.ndim == 3 else 1
        for step in range(steps):
            label = str(name) if variable.ndim == 2 else f"{name}:{_label(data, str(dims[0]), step)}"
            planes.append({"variable": str(name), "index": step if variable.ndim == 3 else None, "name": label})
    if grid is None:
        raise InputError(
            f"{uri} holds no variable with dimensions (y, x); it has {', '.join(map(str, data.data_vars))}"
        )
    first = data[planes[0]["variable"]]
    fill = first.attrs.get("_FillValue", first.encoding.get("_FillValue"))
    nodata = None if fill is None or (isinstance(fill, float) and fill != fill) else float(fill)
    return {
        "planes": planes, "size": [int(grid[0]), int(grid[1])], "dtype": str(first.dtype), "nodata": nodata,
        "transform": _transform(data, grid[2], grid[3], uri), "crs": _crs(data, first),
    }  # fmt: skip


def grid_of(data: Any) -> list[float] | None:
    """Return the transform that a data set's coordinates say, or None when they say none."""
    dims = {str(d).lower(): str(d) for d in data.dims}
    x, y = (next((dims[n] for n in names if n in dims), "") for names in (_X_NAMES, _Y_NAMES))
    return _transform(data, x, y, "the file") if x and y else None


def _label(data: Any, dimension: str, step: int) -> str:
    if dimension not in data.coords:
        return str(step + 1)
    return str(data.coords[dimension].values[step])[:19]


def _transform(data: Any, x_name: str, y_name: str, uri: str) -> list[float] | None:
    for name in data.coords:
        text = data.coords[name].attrs.get("GeoTransform")
        if text:
            c, a, b, f, d, e = (float(v) for v in str(text).split())
            return [a, b, c, d, e, f]
    if x_name not in data.coords or y_name not in data.coords:
        return None
    x, y = (np.asarray(data.coords[n].values, dtype=np.float64) for n in (x_name, y_name))
    if len(x) < 2 or len(y) < 2:
        return None
    dx, dy = (x[-1] - x[0]) / (len(x) - 1), (y[-1] - y[0]) / (len(y) - 1)
    if np.abs(np.diff(x) - dx).max() > abs(dx) * 0.01 or np.abs(np.diff(y) - dy).max() > abs(dy) * 0.01:
        raise InputError(f"the coordinates of {uri} are not evenly spaced; GeoLabel needs a regular grid")
    return [float(dx), 0.0, float(x[0] - dx / 2), 0.0, float(dy), float(y[0] - dy / 2)]


def _crs(data: Any, variable: Any) -> str | None:
    holders = [data.coords[n].attrs for n in data.coords] + [variable.attrs, data.attrs]
    for attributes in holders:
        for key in ("crs_wkt", "spatial_ref", "proj:wkt2", "proj:code", "crs"):
            if isinstance(attributes.get(key), str) and attributes[key]:
                try:
                    return crs_text(attributes[key])
                except GeoreferenceError:
                    continue
        if isinstance(attributes.get("proj:epsg"), int):
            return crs_text(f"EPSG:{attributes['proj:epsg']}")
    return None


class ZarrRaster:
    """Planes of a Zarr 3 group as bands.

    Args:
        uri: Of the group.
        how: What `describe_zarr` found.
    """

    def __init__(self, uri: str, how: Mapping[str, Any]) -> None:
        import zarr

        self._how, self._uri = how, uri
        self.width, self.height = int(how["size"][0]), int(how["size"][1])
        try:
            group: Any = zarr.open_group(_zarr_store(uri), mode="r")
            self._arrays = {p["variable"]: group[p["variable"]] for p in how["planes"]}
        except (FileNotFoundError, KeyError, OSError, ValueError) as error:
            raise RasterReadError(f"{uri} can't be opened as Zarr: {str(error).splitlines()[0][:200]}") from error

    def read(
        self, bands: Sequence[int], window: Window, size_px: tuple[int, int], *, nearest: bool
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
        """Read bands of a window; other sizes are made by taking the nearest pixels, block means are not offered."""
        from geolabel.raster.pool import valid_by_value

        rows, cols = self._steps(window, size_px)
        planes = []
        try:
            for index in bands:
                plane = self._how["planes"][index - 1]
                array = self._arrays[plane["variable"]]
                place = (rows, cols) if plane["index"] is None else (plane["index"], rows, cols)
                planes.append(_fit(np.asarray(array[place]), size_px))
        except (KeyError, IndexError, OSError, ValueError, RuntimeError) as error:
            raise RasterReadError(
                f"the window at column {window.col}, row {window.row} of {self._uri} can't be read: {error}"
            ) from error
        data = np.stack(planes)
        ignore = bool(self._how.get("ignore_nodata"))
        return data, valid_by_value(data, None if ignore else self._how["nodata"], data.dtype.kind in "fc")

    def _steps(self, window: Window, size_px: tuple[int, int]) -> tuple[slice, slice]:
        step_x, step_y = max(1, window.width // size_px[0]), max(1, window.height // size_px[1])
        return (
            slice(window.row, window.row + window.height, step_y),
            slice(window.col, window.col + window.width, step_x),
        )

    def header(self, path: str) -> Header:
        """Return its header."""
        transform = self._how["transform"]
        return Header(
            path=path, crs=self._how["crs"], transform=tuple(transform) if transform else None, width=self.width,
            height=self.height, dtype=self._how["dtype"], nodata=self._how["nodata"],
            mask="nodata" if self._how["nodata"] is not None else "none",
        )  # fmt: skip

    def bands(self, names: Sequence[str]) -> tuple[Band, ...]:
        """Return its bands."""
        planes = self._how["planes"]
        return tuple(
            Band(index=i + 1, name=names[i] if i < len(names) else planes[i]["name"]) for i in range(len(planes))
        )

    def close(self) -> None:
        """Nothing stays open between reads."""


def _fit(plane: npt.NDArray[Any], size_px: tuple[int, int]) -> npt.NDArray[Any]:
    width, height = size_px
    if plane.shape == (height, width):
        return plane
    rows = np.minimum((np.arange(height) + 0.5) * plane.shape[0] / height, plane.shape[0] - 1).astype(np.intp)
    cols = np.minimum((np.arange(width) + 0.5) * plane.shape[1] / width, plane.shape[1] - 1).astype(np.intp)
    return plane[np.ix_(rows, cols)]
