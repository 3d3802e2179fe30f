"""The sample scene: a made orthomosaic with its ground truth, from a seed, so that nothing has to be fetched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from affine import Affine

from geolabel.errors import StoreError
from geolabel.local.synthetic_layout import GSD_M, plan_layout
from geolabel.local.synthetic_paint import paint

CRS = "EPSG:32633"
ORIGIN_XY = (501_200.0, 5_322_400.0)
SIZE_PX = 2560
SEED = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticScene:
    """Files of a made scene: a cloud-optimised GeoTIFF and its truth as a GeoPackage in the same CRS."""

    image: Path
    truth: Path


def make_scene(folder: Path, *, seed: int = SEED, size_px: int = SIZE_PX) -> SyntheticScene:
    """Write the scene, unless it is there already.

    Args:
        folder: Where to write.
        seed: Seed of the plan and of the paint.
        size_px: Edge of the square scene, px; one pixel measures 0.3 m.

    Raises:
        StoreError: the files can't be written, for example because the disk is full.
    """
    scene = SyntheticScene(
        image=folder / f"sample-town-{seed}-{size_px}.tif", truth=folder / f"sample-town-{seed}-{size_px}-truth.gpkg"
    )
    if scene.image.is_file() and scene.truth.is_file():
        return scene
    layout = plan_layout(seed, size_px)
    pixels = paint(layout, seed)
    transform = Affine(GSD_M, 0.0, ORIGIN_XY[0], 0.0, -GSD_M, ORIGIN_XY[1])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_truth(scene.truth, list(layout.truth()), transform)
        _write_image(scene.image, pixels, transform)
    except OSError as error:
        raise StoreError(f"The sample scene can't be written to {folder}: {error.strerror or error}.") from error
    return scene


def _write_image(path: Path, pixels: npt.NDArray[np.uint8], transform: Affine) -> None:
    import rasterio
    from rasterio.enums import ColorInterp
    from rasterio.errors import RasterioError

    height, width, bands = pixels.shape
    partial = path.with_suffix(".partial.tif")
    profile = {"driver": "COG", "dtype": "uint8", "count": bands, "width": width, "height": height, "crs": CRS}
    options = {"compress": "DEFLATE", "predictor": "YES", "blocksize": 512, "overviews": "AUTO"}
    try:
        with rasterio.open(partial, "w", transform=transform, **profile, **options) as target:
            target.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
            target.write(np.moveaxis(pixels, -1, 0))
    except RasterioError as error:
        partial.unlink(missing_ok=True)
        raise OSError(0, str(error)) from error
    partial.replace(path)


def _write_truth(path: Path, truth: list[tuple[str, object]], transform: Affine) -> None:
    import geopandas
    from shapely import affinity

    matrix = [transform.a, transform.b, transform.d, transform.e, transform.c, transform.f]
    placed = [affinity.affine_transform(polygon, matrix) for _, polygon in truth]
    frame = geopandas.GeoDataFrame({"label": [name for name, _ in truth]}, geometry=placed, crs=CRS)
    partial = path.with_suffix(".partial.gpkg")
    partial.unlink(missing_ok=True)
    frame.to_file(partial, driver="GPKG", layer="truth", dataset_options={"VERSION": "1.2"}, engine="pyogrio")
    partial.replace(path)
