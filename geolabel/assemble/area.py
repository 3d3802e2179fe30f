"""Areas of interest in degrees: which tasks and parts lie within."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from geolabel.core.dataset import Batch, ImageRef
from geolabel.core.georef import WGS84
from geolabel.core.placing import place
from geolabel.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """An area of interest; one that crosses the antimeridian holds longitudes of both signs as separate parts."""

    shape: shapely.Geometry

    @classmethod
    def of(cls, value: Any) -> Area:
        """Build from [west, south, east, north] (east < west crosses the antimeridian) or a GeoJSON polygon.

        Raises:
            InputError: it is neither.
        """
        if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 4:
            try:
                west, south, east, north = (float(v) for v in value)
            except (TypeError, ValueError) as error:
                raise InputError(f"area {value!r} must be four numbers: west, south, east, north") from error
            if not (-90 <= south < north <= 90 and -180 <= west <= 180 and -180 <= east <= 180 and west != east):
                raise InputError(f"area {value!r} must be west, south, east, north in degrees, south < north")
            if west < east:
                return cls(shape=shapely.box(west, south, east, north))
            halves = [shapely.box(west, south, 180, north), shapely.box(-180, south, east, north)]
            return cls(shape=shapely.MultiPolygon(halves))
        if isinstance(value, Mapping):
            geometry = value.get("geometry", value)
            if value.get("type") == "FeatureCollection":
                shapes = [Area.of(f).shape for f in value.get("features", ())]
                return cls(shape=shapely.union_all(shapes))
            try:
                shape = shapely.geometry.shape(geometry)
            except (AttributeError, KeyError, TypeError, ValueError, shapely.errors.ShapelyError) as error:
                raise InputError(f"area is no GeoJSON geometry: {error}") from error
            if shape.is_empty or shape.area == 0 or not shape.is_valid:
                raise InputError(f"area must be a valid polygon; got {shape.geom_type} of area {shape.area}")
            return cls(shape=shape)
        raise InputError(f"area must be [west, south, east, north] or a GeoJSON polygon; got {str(value)[:80]!r}")


def bounds_meet(task: Mapping[str, Any], area: Area) -> bool:
    """Tell whether the chip of a task may meet an area; a task without a place never does."""
    data = task.get("data")
    geo = data.get("geo") if isinstance(data, Mapping) else None
    bounds = geo.get("bounds_lonlat") if isinstance(geo, Mapping) else None
    if not isinstance(bounds, list | tuple) or len(bounds) != 4:
        return isinstance(geo, Mapping)
    west, south, east, north = (float(v) for v in bounds)
    return any(shapely.box(west + t, south, east + t, north).intersects(area.shape) for t in (-360.0, 0.0, 360.0))


def within_area(batch: Batch, images: Sequence[ImageRef], aoi: Any) -> npt.NDArray[np.bool_]:
    """Tell for each part whether it meets an area of interest; parts without a place do not.

    Args:
        batch: Parts; frames index `images`.
        images: Images.
        aoi: As `Area.of` takes it.
    """
    area = Area.of(aoi)
    georefs = [image.georef for image in images]
    has = np.array([g is not None for g in georefs], dtype=bool)[batch.frame]
    out = np.zeros(len(batch), dtype=bool)
    if has.any():
        lonlat = place(batch.take(has), georefs, WGS84)
        shapely.prepare(area.shape)
        out[has] = shapely.intersects(area.shape, lonlat)
    return out
