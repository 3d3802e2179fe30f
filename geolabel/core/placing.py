"""Move whole columns of geometries between image px, scene px and a CRS, vectorised over records and vertices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import shapely

from geolabel.core.dataset import Batch, BatchStream, Geometries, ImageRef, Ints, SceneRef
from geolabel.core.georef import XY, Georeference, transform_xy
from geolabel.errors import GeoreferenceError


def map_vertices(geometry: Geometries, change: Callable[[XY, Ints], XY]) -> Geometries:
    """Return copies of geometries whose (n, 2) vertices went through `change(xy, record index of each vertex)`."""
    xy, index = shapely.get_coordinates(geometry, return_index=True)
    out: Geometries = shapely.set_coordinates(geometry.copy(), change(xy, index))
    return out


def reproject(geometry: Geometries, source: str, target: str) -> Geometries:
    """Return geometries of one CRS in another; vertices only, edges stay straight."""
    return map_vertices(geometry, lambda xy, _: transform_xy(xy, source, target))


def _coefficients(georefs: Sequence[Georeference | None]) -> npt.NDArray[np.float64]:
    nowhere = (np.nan,) * 6
    return np.array([nowhere if g is None else g.transform for g in georefs], dtype=np.float64).reshape(-1, 6)


def crs_of(georefs: Sequence[Georeference | None]) -> list[str]:
    """Return the distinct CRSs, in order of appearance."""
    return list(dict.fromkeys(g.crs for g in georefs if g is not None))


def place(batch: Batch, georefs: Sequence[Georeference | None], crs: str = "") -> Geometries:
    """Return the geometries of a batch in CRS coordinates.

    Args:
        batch: Records whose frames index `georefs`.
        georefs: Pixel plane of every frame; None for one without a place.
        crs: Target CRS, or "" to leave each record in the CRS of its frame.

    Raises:
        GeoreferenceError: a frame has no place, or a point has no image in the target CRS.
    """
    lost = [g is None for g in georefs]
    if any(lost) and np.asarray(lost)[batch.frame].any():
        raise GeoreferenceError("a record lies on an image without a place on the Earth; leave it out first")
    table = _coefficients(georefs)
    codes = crs_of(georefs)
    code_of = np.array([-1 if g is None else codes.index(g.crs) for g in georefs], dtype=np.int64)

    def change(xy: XY, index: Ints) -> XY:
        frame = batch.frame[index]
        a, b, c, d, e, f = table[frame].T
        world = np.column_stack([a * xy[:, 0] + b * xy[:, 1] + c, d * xy[:, 0] + e * xy[:, 1] + f])
        if not crs:
            return world
        which = code_of[frame]
        for number, code in enumerate(codes):
            if code != crs and (rows := which == number).any():
                world[rows] = transform_xy(world[rows], code, crs)
        return world

    return map_vertices(batch.geometry, change)


def unplace(geometry: Geometries, frame: Ints, georefs: Sequence[Georeference], crs: str) -> Geometries:
    """Return geometries of CRS coordinates in px of their frames; the inverse of `place`."""
    codes = crs_of(georefs)
    table = _coefficients(georefs)
    code_of = np.array([codes.index(g.crs) for g in georefs], dtype=np.int64)

    def change(xy: XY, index: Ints) -> XY:
        frames = frame[index]
        world = np.array(xy, dtype=np.float64)
        which = code_of[frames]
        for number, code in enumerate(codes):
            if code != crs and (rows := which == number).any():
                world[rows] = transform_xy(world[rows], crs, code)
        a, b, c, d, e, f = table[frames].T
        dx, dy, determinant = world[:, 0] - c, world[:, 1] - f, a * e - b * d
        return np.column_stack([(e * dx - b * dy) / determinant, (a * dy - d * dx) / determinant])

    return map_vertices(geometry, change)


def image_to_scene(batch: Batch, images: Sequence[ImageRef]) -> Batch:
    """Move parts from image px to scene px; frames become scene indexes.

    Every image of the batch must have a scene and a window.
    """
    table = np.array([_window_change(image) for image in images], dtype=np.float64).reshape(-1, 4)
    scene = np.array([image.scene for image in images], dtype=np.int64)

    def change(xy: XY, index: Ints) -> XY:
        sx, sy, col, row = table[batch.frame[index]].T
        return np.column_stack([xy[:, 0] * sx + col, xy[:, 1] * sy + row])

    return batch.with_columns(geometry=map_vertices(batch.geometry, change), frame=scene[batch.frame])


def _window_change(image: ImageRef) -> tuple[float, float, float, float]:
    if image.window is None:
        return (np.nan,) * 4
    window = image.window
    return window.width / image.width, window.height / image.height, float(window.col), float(window.row)


def placed(batch: Batch, images: Sequence[ImageRef]) -> npt.NDArray[np.bool_]:
    """Tell for each part whether its image has a place on the Earth."""
    has = np.array([image.georef is not None and image.scene >= 0 for image in images], dtype=bool)
    out: npt.NDArray[np.bool_] = has[batch.frame]
    return out


def scene_plane(image: Georeference, window: tuple[int, int, int, int]) -> Georeference:
    """Return the pixel plane of the scene that an image with this window was cut from; its size is a lower bound."""
    col, row, width, height = window
    a, b, c, d, e, f = image.transform
    kx, ky = image.width / width, image.height / height
    a, d, b, e = a * kx, d * kx, b * ky, e * ky
    return Georeference(
        crs=image.crs,
        transform=(a, b, c - a * col - b * row, d, e, f - d * col - e * row),
        width=max(1, col + width),
        height=max(1, row + height),
    )


def objects_as_drawn(parts: BatchStream, images: Sequence[ImageRef]) -> BatchStream:
    """Return a stream that takes every placed part as an object of its own (nothing joined)."""

    def start() -> Iterator[Batch]:
        for batch in parts():
            here = batch.take(placed(batch, images))
            if len(here):
                yield as_objects(here, images)

    return start


def as_objects(batch: Batch, images: Sequence[ImageRef]) -> Batch:
    """Return parts as objects, one each: scene px, unique ids, sources."""
    sources = np.array(
        [f"{t}:{a}:{i}" for t, a, i in zip(batch.task_id, batch.annotation_id, batch.id, strict=True)], dtype=object
    )
    moved = image_to_scene(batch, images)
    return moved.with_columns(id=sources if len(sources) else batch.id, sources=sources if len(sources) else batch.id)


def scene_georefs(scenes: Sequence[SceneRef]) -> list[Georeference]:
    """Return the pixel planes of scenes, in order."""
    return [scene.georef for scene in scenes]
