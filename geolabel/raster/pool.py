"""Open rasters, kept per thread: GDAL's datasets may not be shared, and opening costs more than reading."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from geolabel.core.georef import Window
from geolabel.core.scene import Scene
from geolabel.errors import RasterReadError
from geolabel.raster.location import gdal_path, is_remote, reading


class Raster(Protocol):
    """What the reader needs of an open raster; coordinates are px of the full grid."""

    width: int
    height: int

    def read(
        self, bands: Sequence[int], window: Window, size_px: tuple[int, int], *, nearest: bool
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
        """Return (band, row, col) and the (row, col) mask of valid pixels (None: all are); size is width, height."""
        ...

    def close(self) -> None:
        """Give its handles back."""
        ...


class GdalRaster:
    """A raster that GDAL reads.

    Args:
        path: Path or XML of a virtual raster.
        remote: Whether reading goes over the network.
        ignore_nodata: Take every pixel as data although the file declares nodata.
        requester_pays: Pay for reading from the bucket.
    """

    def __init__(
        self, path: str, *, remote: bool = False, ignore_nodata: bool = False, requester_pays: bool = False
    ) -> None:
        import rasterio
        from rasterio.enums import MaskFlags
        from rasterio.errors import RasterioError

        self._remote, self._pays = remote, requester_pays
        try:
            with quiet(), reading(remote, requester_pays=requester_pays):
                self.dataset = rasterio.open(path)
        except RasterioError as error:
            raise RasterReadError(f"{short(path)} can't be opened: {first_line(error)}") from error
        self.width, self.height = self.dataset.width, self.dataset.height
        flags = self.dataset.mask_flag_enums[0] if self.dataset.count else []
        self._nodata: float | None = None
        self._masked = MaskFlags.per_dataset in flags
        if MaskFlags.nodata in flags:
            self._nodata = self.dataset.nodata
        if ignore_nodata:
            self._nodata, self._masked = None, self._masked and MaskFlags.alpha in flags
        self._float = self.dataset.count > 0 and self.dataset.dtypes[0].startswith(("float", "complex"))

    def read(
        self, bands: Sequence[int], window: Window, size_px: tuple[int, int], *, nearest: bool
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
        """Read bands of a window inside the raster; see `Raster`."""
        from rasterio.enums import Resampling
        from rasterio.errors import RasterioError
        from rasterio.windows import Window as GdalWindow

        gdal_window = GdalWindow(window.col, window.row, window.width, window.height)
        plain = size_px == (window.width, window.height)
        shape = None if plain else (len(bands), size_px[1], size_px[0])
        how = Resampling.nearest if nearest or plain else Resampling.bilinear
        if not plain and not nearest and window.width > 2 * size_px[0]:
            how = Resampling.average
        try:
            with reading(self._remote, requester_pays=self._pays):
                data = self.dataset.read(list(bands), window=gdal_window, out_shape=shape, resampling=how)
                mask = None
                if self._masked:
                    flat = None if plain else (size_px[1], size_px[0])
                    mask = self.dataset.dataset_mask(window=gdal_window, out_shape=flat) > 0
        except RasterioError as error:
            raise RasterReadError(
                f"the window at column {window.col}, row {window.row} of {short(self.dataset.name)} can't be read: "
                f"{first_line(error)}",
                retryable=self._remote,
            ) from error
        if mask is None:
            mask = valid_by_value(data, self._nodata, self._float)
        return data, mask

    def close(self) -> None:
        """Close the dataset."""
        self.dataset.close()


def valid_by_value(data: npt.NDArray[Any], nodata: float | None, is_float: bool) -> npt.NDArray[np.bool_] | None:
    """Return the (row, col) mask of pixels in which any band holds data, or None when all do.

    Any and not all: a pixel whose red alone happens to be the nodata value is data.
    """
    mask: npt.NDArray[np.bool_] | None = None
    if nodata is not None and not np.isnan(nodata):
        declared = data.dtype.type(nodata) if data.dtype.kind in "iuf" else nodata
        mask = (data != declared).any(axis=0)
    if is_float:
        finite = ~np.isnan(data).all(axis=0)
        mask = finite if mask is None else mask & finite
    if mask is not None and mask.all():
        return None
    return mask


class DatasetPool:
    """Keeps the most recently used rasters of each thread open.

    Args:
        size: Rasters per thread.
    """

    def __init__(self, size: int = 8) -> None:
        self._size = size
        self._local = threading.local()

    @contextmanager
    def raster(self, scene: Scene) -> Iterator[Raster]:
        """Give the open raster of a scene.

        Raises:
            RasterReadError: it can't be opened.
        """
        kept: OrderedDict[str, Raster] = self._local.__dict__.setdefault("kept", OrderedDict())
        key = f"{scene.id}|{scene.uri}"
        raster = kept.pop(key, None)
        if raster is None:
            raster = open_raster(scene)
            while len(kept) >= self._size:
                kept.popitem(last=False)[1].close()
        try:
            yield raster
        except RasterReadError:
            # A source that was replaced, or whose connection broke, is opened anew next time.
            raster.close()
            raise
        kept[key] = raster

    def close(self) -> None:
        """Close the rasters of the calling thread."""
        kept: OrderedDict[str, Raster] = self._local.__dict__.pop("kept", OrderedDict())
        for raster in kept.values():
            raster.close()


@contextmanager
def opened(scene: Scene, pool: DatasetPool | None) -> Iterator[Raster]:
    """Give the raster of a scene from the pool, or open and close it when there is none."""
    if pool is not None:
        with pool.raster(scene) as raster:
            yield raster
        return
    raster = open_raster(scene)
    try:
        yield raster
    finally:
        raster.close()


def open_raster(scene: Scene) -> Raster:
    """Open the pixels of a scene, as its record says (`properties["open"]`), else by its address."""
    how = scene.properties.get("open") or {}
    options = {
        "ignore_nodata": bool(how.get("ignore_nodata")),
        "requester_pays": bool(how.get("requester_pays")),
        "remote": bool(how.get("remote", is_remote(scene.uri))),
    }
    kind = how.get("kind", "gdal")
    openers: dict[str, Callable[[], Raster]] = {
        "gdal": lambda: GdalRaster(gdal_path(scene.uri), **options),
        "vrt": lambda: GdalRaster(str(how["xml"]), **options),
        "zarr": lambda: _zarr(scene, how),
    }
    return openers[kind]()


def _zarr(scene: Scene, how: Any) -> Raster:
    from geolabel.raster.zarrs import ZarrRaster

    return ZarrRaster(scene.uri, how)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence rasterio's warning of missing georeferencing, which `checks` reports as an issue."""
    import warnings

    from rasterio.errors import NotGeoreferencedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def first_line(error: BaseException) -> str:
    """Return the sentence of GDAL's error that says most."""
    cause = error.__cause__ or error
    text = str(cause).strip() or type(error).__name__
    return text.splitlines()[0][:300]


def short(path: str) -> str:
    """Return a name of a raster for messages; virtual ones have XML for a path."""
    return "the virtual raster" if path.lstrip().startswith("<") else path[:200]
