"""Areas and features that plans are confined to, read from any vector file into the scene's CRS."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import shapely

from geolabel.core.georef import WGS84, transformer
from geolabel.core.ids import digest
from geolabel.core.plans import PlanSpec
from geolabel.core.scene import Scene
from geolabel.errors import InputError
from geolabel.pipeline.ingest_report import IngestOptions


def areas_of(
    scene: Scene, asked: IngestOptions
) -> tuple[shapely.Geometry | None, npt.NDArray[np.float64] | None, PlanSpec]:
    """Return the area of interest and the features' centres in the scene's CRS, and the plan with their digests.

    Raises:
        InputError: a file can't be read or holds no geometry.
    """
    aoi: shapely.Geometry | None = None
    around: npt.NDArray[np.float64] | None = None
    spec = asked.plan
    if asked.aoi:
        geometries = read_vectors(asked.aoi, scene.georef.crs)
        aoi = shapely.make_valid(shapely.union_all(geometries))
        spec = replace(spec, aoi=digest(shapely.to_wkt(aoi, rounding_precision=3)))
    if asked.around:
        geometries = read_vectors(asked.around, scene.georef.crs)
        points = shapely.point_on_surface(geometries)
        around = np.column_stack([shapely.get_x(points), shapely.get_y(points)])
        spec = replace(spec, around=digest(np.round(around, 3).tolist()))
    return aoi, around, spec


def read_vectors(uri: str, crs: str) -> list[shapely.Geometry]:
    """Read the geometries of a vector file, transformed to a CRS.

    A file without a CRS is taken as WGS 84, as RFC 7946 says of GeoJSON.

    Raises:
        InputError: it can't be read, holds no geometry, or lies outside the area of the CRS.
    """
    import pyogrio
    from pyogrio.errors import DataLayerError, DataSourceError

    from geolabel.raster.location import gdal_path, normalise_uri

    try:
        meta, _, wkb, _ = pyogrio.raw.read(gdal_path(normalise_uri(uri)), columns=[])
    except (DataSourceError, DataLayerError) as error:
        raise InputError(f"{uri} can't be read as vectors: {str(error).splitlines()[0][:200]}") from error
    geometries = [g for g in shapely.from_wkb(wkb) if g is not None and not g.is_empty]
    if not geometries:
        raise InputError(f"{uri} holds no geometry")
    way = transformer(meta["crs"] or WGS84, crs)

    def move(xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        x, y = way.transform(xy[:, 0], xy[:, 1])
        return np.column_stack([x, y])

    moved = list(shapely.transform([shapely.force_2d(g) for g in geometries], move))
    if not all(np.isfinite(g.bounds).all() for g in moved):
        raise InputError(f"{uri} reaches outside the area where the scene's CRS is defined")
    return moved
