"""Named pure functions that mend findings; applied by policy only."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import shapely

from geolabel.core.dataset import Geometries, Ints
from geolabel.validate.layer import Layer
from geolabel.validate.shapes import spike_vertices

FixFunction = Callable[[Layer, Ints], Geometries]


def make_valid(layer: Layer, rows: Ints) -> Geometries:
    """Split outlines where they cross themselves and keep all areas that arise."""
    made = shapely.make_valid(layer.geometry[rows], method="structure", keep_collapsed=False)
    return _areas(made)


def remove_repeated_points(layer: Layer, rows: Ints) -> Geometries:
    """Keep each of neighbouring equal points once."""
    tolerance = layer.option("repeat_px") * layer.pixel[layer.frame[rows]]
    shapes = layer.geometry[rows]
    try:
        return np.asarray(shapely.remove_repeated_points(shapes, tolerance=tolerance), dtype=object)
    except shapely.errors.GEOSException:
        # A hole whose points all fall together makes the whole column fail: such a hole is dropped with its points.
        valid = _areas(shapely.make_valid(shapes, method="structure", keep_collapsed=False))
        return np.asarray(shapely.remove_repeated_points(valid, tolerance=tolerance), dtype=object)


def remove_spikes(layer: Layer, rows: Ints) -> Geometries:
    """Drop the points where outlines turn back on themselves, until none does."""
    out = layer.geometry[rows].copy()
    for _ in range(8):
        now = Layer.of(out, options=layer.options, pixel=layer.pixel[layer.frame[rows]], frame=np.arange(len(rows)))
        spiky = np.unique(now.rings.record[spike_vertices(now)])
        if not len(spiky):
            break
        for row in spiky.tolist():
            out[row] = _without_spikes(out[row], now, row)
    return out


def _without_spikes(geometry: shapely.Geometry, layer: Layer, row: int) -> shapely.Geometry:
    bad = {tuple(p) for p in layer.rings.xy[spike_vertices(layer) & (layer.rings.record == row)].tolist()}
    polygons = []
    for part in shapely.get_parts(geometry).tolist():
        rings = [[p for p in list(r.coords)[:-1] if tuple(p) not in bad] for r in (part.exterior, *part.interiors)]
        if len(rings[0]) >= 3:
            polygons.append(shapely.Polygon(rings[0], [r for r in rings[1:] if len(r) >= 3]))
    whole = polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)
    return shapely.remove_repeated_points(whole, tolerance=0.0)


def clip_to_image(layer: Layer, rows: Ints) -> Geometries:
    """Cut off what reaches past the image's border."""
    width, height = layer.size[layer.frame[rows]].T
    shapes = layer.geometry[rows]
    shapes = np.where(shapely.is_valid(shapes), shapes, shapely.make_valid(shapes))
    cut = shapely.intersection(shapes, shapely.box(0.0, 0.0, width, height))
    areal = shapely.get_dimensions(layer.geometry[rows]) == 2
    out: Geometries = cut.copy()
    out[areal] = _areas(cut[areal])
    return out


def orient(layer: Layer, rows: Ints) -> Geometries:
    """Wind outer rings counter-clockwise and holes clockwise."""
    return np.asarray(shapely.orient_polygons(layer.geometry[rows]), dtype=object)


def _areas(shapes: Geometries) -> Geometries:
    """Return the polygons of each geometry, lines and points left out; empty where there are none."""
    out = np.array(shapes, dtype=object)
    for row in np.flatnonzero(~np.isin(shapely.get_type_id(out), (3, 6))).tolist():
        parts = shapely.get_parts(shapely.get_parts(out[row]))
        out[row] = shapely.union_all(parts[shapely.get_dimensions(parts) == 2])
    return out


FIXES: Mapping[str, FixFunction] = {
    "make_valid": make_valid,
    "remove_repeated_points": remove_repeated_points,
    "remove_spikes": remove_spikes,
    "clip_to_image": clip_to_image,
    "orient": orient,
}
