"""Regions in chip pixels → Label Studio results, as the project's label config can carry them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import shapely

from geolabel.core.issues import Severity, ValidationIssue
from geolabel.core.labels import Region
from geolabel.core.shapes import (
    Box,
    Ellipse,
    Line,
    Mask,
    MultiPolygon,
    Point,
    Polygon,
    Ring,
    RotatedBox,
    Shape,
    ShapeKind,
    from_shapely,
    to_shapely,
)
from geolabel.errors import ShapeError
from geolabel.labelstudio.brush import encode_png, encode_rle
from geolabel.labelstudio.config import CARRIES, Control, LabelConfig
from geolabel.labelstudio.decode import META_KEY

#: Where a shape goes when the config has no control for its own kind, best first.
_FALLBACKS: dict[ShapeKind, tuple[ShapeKind, ...]] = {
    "box": ("rotated_box", "polygon", "mask"),
    "rotated_box": ("polygon", "mask", "box"),
    "ellipse": ("polygon", "mask", "box"),
    "polygon": ("mask", "box"),
    "multipolygon": ("polygon", "mask", "box"),
    "mask": ("polygon", "box"),
    "line": (),
    "point": (),
}
_POINT_WIDTH_PERCENT = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """Label Studio results, and what could not be carried."""

    result: list[dict[str, Any]]
    losses: tuple[ValidationIssue, ...] = ()


def encode_regions(regions: Sequence[Region], config: LabelConfig, *, width_px: int, height_px: int) -> Encoded:
    """Encode regions for a label config.

    A shape kind that the config does not offer for the class becomes the nearest that it does (a polygon becomes a
    brush mask, an ellipse a polygon …); that, and regions which cannot be carried at all, are losses.

    Args:
        regions: In chip px.
        config: Of the project.
        width_px: Columns of the chip.
        height_px: Rows of the chip.
    """
    result: list[dict[str, Any]] = []
    losses: list[ValidationIssue] = []
    for region in regions:
        found = _target(region, config)
        if found is None:
            offered = ", ".join(config.kinds_for(region.label)) or "nothing"
            losses.append(
                _loss(
                    "LSC020",
                    f"a {region.shape.kind} of class {region.label!r} can't be shown: the label config offers "
                    f"{offered} "
                    f"for it; its classes are {', '.join(config.labels())}",
                    region,
                )
            )
            continue
        kind, control = found
        try:
            shape = _convert(region.shape, kind, width_px, height_px)
            items = list(_items(region, shape, control, config, (width_px, height_px)))
        except ShapeError as error:
            losses.append(
                _loss("LSC021", f"a {region.shape.kind} of {region.label!r} can't be carried: {error}", region)
            )
            continue
        if shape.kind != region.shape.kind and not _same_family(region.shape.kind, kind):
            losses.append(_loss("LSC022", f"a {region.shape.kind} of {region.label!r} is shown as {kind}", region))
        result.extend(items)
    return Encoded(result=result, losses=tuple(losses))


def _loss(code: str, message: str, region: Region) -> ValidationIssue:
    return ValidationIssue(code=code, severity=Severity.WARNING, message=message, region_id=region.id)


def _same_family(source: ShapeKind, target: ShapeKind) -> bool:
    return {source, target} <= {"polygon", "multipolygon"} or {source, target} <= {"box", "rotated_box"}


def _target(region: Region, config: LabelConfig) -> tuple[ShapeKind, Control] | None:
    for kind in (region.shape.kind, *_FALLBACKS[region.shape.kind]):
        control = config.control_for(kind, region.label)
        if control is not None:
            return kind, control
        plain = config.plain_control(kind)
        if plain is not None and config.labels_control(region.label) is not None:
            return kind, plain
    return None


def _convert(shape: Shape, kind: ShapeKind, width_px: int, height_px: int) -> Shape:
    if shape.kind == kind or _same_family(shape.kind, kind):
        return shape
    if kind == "mask":
        return rasterise(shape, width_px, height_px)
    geometry = to_shapely(shape)
    if kind == "box":
        xmin, ymin, xmax, ymax = geometry.bounds
        return Box(xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax)
    return from_shapely(geometry)


def rasterise(shape: Shape, width_px: int, height_px: int) -> Mask:
    """Burn a shape into a mask: pixels whose centre lies inside.

    Raises:
        ShapeError: no pixel centre lies inside.
    """
    if isinstance(shape, Mask):
        return shape
    geometry = to_shapely(shape)
    xmin, ymin, xmax, ymax = geometry.bounds
    left, top = max(0, math.floor(xmin)), max(0, math.floor(ymin))
    right, bottom = min(width_px, math.ceil(xmax)), min(height_px, math.ceil(ymax))
    mask = np.zeros((height_px, width_px), dtype=np.uint8)
    if right > left and bottom > top:
        cols, rows = np.meshgrid(np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5)
        shapely.prepare(geometry)
        mask[top:bottom, left:right] = shapely.contains_xy(geometry, cols, rows)
    if not mask.any():
        raise ShapeError(f"no pixel centre of the {width_px} × {height_px} px chip lies inside the {shape.kind}")
    return Mask.from_array(mask)


def _items(
    region: Region, shape: Shape, control: Control, config: LabelConfig, size_px: tuple[int, int]
) -> Iterator[dict[str, Any]]:
    for suffix, piece, role, parent in _pieces(shape):
        value = _value(piece, control.type, size_px)
        region_id = region.id + suffix
        item: dict[str, Any] = {
            "id": region_id,
            "from_name": control.name,
            "to_name": config.image,
            "type": control.type,
            "original_width": size_px[0],
            "original_height": size_px[1],
            "image_rotation": 0,
            "origin": region.origin.value,
            "value": value,
        }
        if region.score is not None:
            item["score"] = round(float(region.score), 4)
        if region.item_index is not None:
            item["item_index"] = region.item_index
        meta = _meta(region, role, region.id + parent)
        if meta:
            item["meta"] = {META_KEY: meta}
        if control.type in CARRIES:
            value[control.type] = [region.label]
            yield item
        else:
            yield item
            labels = config.labels_control(region.label)
            if labels is not None:
                yield {**item, "from_name": labels.name, "type": "labels", "value": {**value, "labels": [region.label]}}


def _meta(region: Region, role: str, parent_id: str) -> dict[str, Any]:
    meta: dict[str, Any] = {f"{role}_of": parent_id} if role else {}
    if region.attributes and not role:
        meta["attributes"] = dict(region.attributes)
    return meta


def _pieces(shape: Shape) -> Iterator[tuple[str, Shape, str, str]]:
    """Yield (id suffix, shape without holes, role, parent's suffix): Label Studio's polygons have no holes or parts."""
    parts = shape.parts if isinstance(shape, MultiPolygon) else (shape,)
    for number, part in enumerate(parts):
        suffix = f"-part{number}" if number else ""
        if not isinstance(part, Polygon):
            yield suffix, part, "", ""
            continue
        yield suffix, Polygon(exterior=part.exterior), "part" if number else "", ""
        for index, hole in enumerate(part.holes, start=1):
            yield f"{suffix}-hole{index}", Polygon(exterior=hole), "hole", suffix


def _percent(points: Ring, size_px: tuple[int, int]) -> list[list[float]]:
    width, height = size_px
    return [[x * 100.0 / width, y * 100.0 / height] for x, y in points]


def _value(shape: Shape, control_type: str, size_px: tuple[int, int]) -> dict[str, Any]:
    width, height = size_px
    fx, fy = 100.0 / width, 100.0 / height
    kind = control_type if control_type in CARRIES else f"{control_type}labels"
    match shape:
        case Polygon():
            if len(shape.exterior) < 3:
                raise ShapeError(f"a polygon needs at least 3 points; this one has {len(shape.exterior)}")
            return {"points": _percent(shape.exterior, size_px), "closed": True}
        case Box():
            return {
                "x": shape.xmin * fx, "y": shape.ymin * fy, "width": (shape.xmax - shape.xmin) * fx,
                "height": (shape.ymax - shape.ymin) * fy, "rotation": 0,
            }  # fmt: skip
        case RotatedBox():
            x, y = shape.corners()[0]
            return {
                "x": x * fx, "y": y * fy, "width": shape.width * fx, "height": shape.height * fy,
                "rotation": shape.angle_deg % 360.0,
            }  # fmt: skip
        case Ellipse():
            return {
                "x": shape.cx * fx, "y": shape.cy * fy, "radiusX": shape.rx * fx, "radiusY": shape.ry * fy,
                "rotation": shape.angle_deg % 360.0,
            }  # fmt: skip
        case Point():
            return {"x": shape.x * fx, "y": shape.y * fy, "width": _POINT_WIDTH_PERCENT}
        case Line():
            return _vertices(shape, size_px)
        case Mask():
            array = shape.to_array()
            if array.shape != (height, width):
                array = cv2.resize(array, size_px, interpolation=cv2.INTER_NEAREST)
            if kind == "bitmasklabels":
                return {"imageDataURL": encode_png(array)}
            return {"format": "rle", "rle": encode_rle(array)}
        case _:
            raise ShapeError(f"{shape.kind} has no form in a {control_type} control")


def _vertices(shape: Line, size_px: tuple[int, int]) -> dict[str, Any]:
    vertices: list[Mapping[str, Any]] = []
    for number, (x, y) in enumerate(_percent(shape.points, size_px), start=1):
        previous = f"v{number - 1}" if number > 1 else None
        vertices.append({"id": f"v{number}", "x": x, "y": y, "prevPointId": previous, "isBezier": False})
    return {"vertices": vertices, "closed": False}
