"""Label Studio results → regions in chip pixels. One defective result never costs the others: it becomes a loss."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from geolabel.core.issues import Severity, ValidationIssue
from geolabel.core.labels import Origin, Region
from geolabel.core.shapes import Box, Ellipse, Line, Mask, MultiPolygon, Point, Polygon, RotatedBox, Shape, ring
from geolabel.core.taxonomy import Taxonomy
from geolabel.errors import GeoLabelError, ShapeError
from geolabel.labelstudio.brush import decode_png, decode_rle
from geolabel.labelstudio.config import ATTRIBUTE_TAGS

META_KEY = "geolabel"
_PART_OF = re.compile(r"^(?P<parent>.+)-(?P<role>hole|part)(?P<number>\d+)$")
_GEOMETRY_KEYS = ("points", "vertices", "radiusX", "rle", "imageDataURL", "x")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """What a list of results held.

    Attributes:
        regions: In chip px; holes and parts put together again.
        losses: What could not be read, one issue each.
        image_values: Values given to the image as a whole, by control name.
    """

    regions: tuple[Region, ...]
    losses: tuple[ValidationIssue, ...] = ()
    image_values: Mapping[str, Any] = field(default_factory=dict)


def decode_result(
    result: Sequence[Mapping[str, Any]] | None, *, width_px: int, height_px: int, taxonomy: Taxonomy | None = None
) -> Decoded:
    """Decode the `result` of an annotation or prediction.

    Coordinates of Label Studio are percent of the stored image whatever the view's `image_rotation` is.

    Args:
        result: Label Studio's list; None counts as empty.
        width_px: Columns of the chip. The task's record is right, not `original_width` of the results.
        height_px: Rows of the chip.
        taxonomy: When given, aliases are resolved and labels outside of it are losses.

    Returns:
        Regions, losses and image-wide values. Nothing is dropped without a loss.
    """
    losses: list[ValidationIssue] = []
    if result is None:
        return Decoded(regions=())
    if not isinstance(result, list | tuple):
        return Decoded(regions=(), losses=(_loss("LSC001", f"result is {type(result).__name__}; it must be a list"),))
    groups, image_values = _group(result, losses)
    regions: list[Region] = []
    roles: dict[str, tuple[str, str]] = {}
    for region_id, members in groups.items():
        region = _region(region_id, members, (width_px, height_px), losses)
        if region is None:
            continue
        region = _resolve_label(region, taxonomy, losses)
        if region is None:
            continue
        role = _role(region_id, members)
        if role is not None:
            roles[region.id] = role
        regions.append(region)
    return Decoded(regions=tuple(_assemble(regions, roles, losses)), losses=tuple(losses), image_values=image_values)


def _loss(code: str, message: str, region_id: str | None = None, **facts: Any) -> ValidationIssue:
    return ValidationIssue(code=code, severity=Severity.WARNING, message=message, region_id=region_id, facts=facts)


def _group(
    result: Sequence[Mapping[str, Any]], losses: list[ValidationIssue]
) -> tuple[dict[str, list[Mapping[str, Any]]], dict[str, Any]]:
    groups: dict[str, list[Mapping[str, Any]]] = {}
    image_values: dict[str, Any] = {}
    for number, item in enumerate(result):
        if not isinstance(item, Mapping) or not isinstance(item.get("value", {}), Mapping):
            losses.append(_loss("LSC002", f"result {number} is no object with a value: {str(item)[:80]!r}"))
            continue
        kind = str(item.get("type", "")).lower()
        if kind == "relation":
            losses.append(_loss("LSC010", f"relation {item.get('from_id')} → {item.get('to_id')} is not carried"))
            continue
        region_id = str(item.get("id") or f"unnamed{number}")
        if kind in ATTRIBUTE_TAGS and not _has_geometry(item) and region_id not in groups:
            image_values[str(item.get("from_name", kind))] = _attribute(item)
            continue
        members = groups.setdefault(region_id, [])
        same = [m for m in members if m.get("from_name") == item.get("from_name") and m.get("type") == item.get("type")]
        if same and same[0].get("value") == item.get("value"):
            losses.append(_loss("LSC003", f"region {region_id!r} is there twice, the same; one is kept", region_id))
        elif same and kind not in ATTRIBUTE_TAGS:
            fresh = f"{region_id}-double{number}"
            losses.append(
                _loss("LSC004", f"id {region_id!r} is used by two regions; the second becomes {fresh!r}", region_id)
            )
            groups[fresh] = [item]
        else:
            members.append(item)
    return groups, image_values


def _has_geometry(item: Mapping[str, Any]) -> bool:
    value = item.get("value", {})
    return any(key in value for key in _GEOMETRY_KEYS)


def _attribute(item: Mapping[str, Any]) -> Any:
    value = item.get("value", {})
    for key in (str(item.get("type", "")).lower(), "text", "choices", "number", "rating", "datetime", "taxonomy"):
        if key in value:
            found = value[key]
            return found[0] if isinstance(found, list) and len(found) == 1 else found
    return dict(value)


def _labels(item: Mapping[str, Any]) -> list[str]:
    value = item.get("value", {})
    for key, found in value.items():
        if str(key).lower().endswith("labels") and isinstance(found, list):
            return [str(label) for label in found]
    return []


def _region(
    region_id: str,
    members: list[Mapping[str, Any]],
    size_px: tuple[int, int],
    losses: list[ValidationIssue],
) -> Region | None:
    drawn = next((m for m in members if _has_geometry(m) and _shape_type(m) is not None), None)
    if drawn is None:
        types = ", ".join(str(m.get("type")) for m in members)
        losses.append(_loss("LSC005", f"region {region_id!r} of type {types} has no geometry on an image", region_id))
        return None
    try:
        shape = decode_shape(drawn, *size_px)
    except (GeoLabelError, KeyError, TypeError, ValueError, OverflowError) as error:
        losses.append(_loss("LSC006", f"region {region_id!r} ({drawn.get('type')}) can't be read: {error}", region_id))
        return None
    _check_size(drawn, size_px, region_id, losses)
    labels = list(dict.fromkeys(label for member in members for label in _labels(member)))
    if len(labels) > 1:
        losses.append(
            _loss("LSC007", f"region {region_id!r} has labels {labels}; the first, {labels[0]!r}, is kept", region_id)
        )
    attributes = {
        str(m.get("from_name", m.get("type"))): _attribute(m)
        for m in members
        if str(m.get("type", "")).lower() in ATTRIBUTE_TAGS
    }
    meta = drawn.get("meta")
    if isinstance(meta, Mapping):
        ours = meta.get(META_KEY)
        if isinstance(ours, Mapping) and isinstance(ours.get("attributes"), Mapping):
            attributes = {**ours["attributes"], **attributes}
        if meta.get("text"):
            attributes["note"] = meta["text"] if isinstance(meta["text"], str) else " ".join(map(str, meta["text"]))
    return Region(
        id=region_id,
        shape=shape,
        label=labels[0] if labels else "",
        score=_score(drawn),
        attributes=attributes,
        origin=_origin(drawn),
        item_index=_item_index(drawn),
    )


def _item_index(item: Mapping[str, Any]) -> int | None:
    index = item.get("item_index")
    return index if isinstance(index, int) and not isinstance(index, bool) and index >= 0 else None


def _score(item: Mapping[str, Any]) -> float | None:
    score = item.get("score")
    if isinstance(score, int | float) and not isinstance(score, bool) and math.isfinite(score):
        return float(score)
    return None


def _origin(item: Mapping[str, Any]) -> Origin:
    try:
        return Origin(str(item.get("origin", "manual")))
    except ValueError:
        return Origin.MANUAL


def _check_size(
    item: Mapping[str, Any], size_px: tuple[int, int], region_id: str, losses: list[ValidationIssue]
) -> None:
    found = (item.get("original_width"), item.get("original_height"))
    if None not in found and found != size_px:
        losses.append(
            _loss(
                "LSC008",
                f"region {region_id!r} says the image is {found[0]} × {found[1]} px; "
                f"the task says {size_px[0]} × {size_px[1]} px, which is used",
                region_id,
                found=list(found),
                right=list(size_px),
            )
        )


def _resolve_label(region: Region, taxonomy: Taxonomy | None, losses: list[ValidationIssue]) -> Region | None:
    if taxonomy is None:
        return region
    if region.label in taxonomy:
        return replace(region, label=taxonomy.by_name(region.label).name)
    what = f"label {region.label!r}" if region.label else "no label"
    losses.append(
        _loss(
            "LSC009",
            f"region {region.id!r} has {what}; the taxonomy has {', '.join(taxonomy.names())}",
            region.id,
            label=region.label,
        )
    )
    return None


def _shape_type(item: Mapping[str, Any]) -> str | None:
    kind = str(item.get("type", "")).lower().removesuffix("labels")
    if kind in ("polygon", "rectangle", "ellipse", "keypoint", "brush", "bitmask", "vector", "magicwand"):
        return kind
    value = item.get("value", {})
    # A <Labels> or per-region tag carries the geometry of its region as well.
    guesses = {
        "points": "polygon",
        "vertices": "vector",
        "radiusX": "ellipse",
        "rle": "brush",
        "imageDataURL": "bitmask",
    }
    for key, guess in guesses.items():
        if key in value:
            return guess
    if "x" in value and "height" in value:
        return "rectangle"
    return "keypoint" if "x" in value and "y" in value else None


def decode_shape(item: Mapping[str, Any], width_px: int, height_px: int) -> Shape:
    """Decode the geometry of one result.

    Raises:
        ShapeError: the geometry is degenerate or damaged; KeyError, TypeError, ValueError: a field is missing or no
            number.
    """
    value = item["value"]
    sx, sy = width_px / 100.0, height_px / 100.0
    match _shape_type(item):
        case "polygon":
            points = ring([(x * sx, y * sy) for x, y in _finite_pairs(value["points"])])
            if len(set(points)) < 3:
                raise ShapeError(f"a polygon needs 3 different points; this one has {len(set(points))}")
            return Polygon(exterior=points)
        case "rectangle":
            return _rectangle(value, sx, sy)
        case "ellipse":
            rx, ry = _number(value["radiusX"]) * sx, _number(value["radiusY"]) * sy
            if rx <= 0 or ry <= 0:
                raise ShapeError(f"an ellipse needs radii above 0; these are {rx:g} and {ry:g} px")
            return Ellipse(
                cx=_number(value["x"]) * sx, cy=_number(value["y"]) * sy, rx=rx, ry=ry,
                angle_deg=_number(value.get("rotation", 0) or 0),
            )  # fmt: skip
        case "keypoint":
            return Point(x=_number(value["x"]) * sx, y=_number(value["y"]) * sy)
        case "vector":
            return _vector(value, sx, sy)
        case "brush" | "magicwand":
            return _not_empty(Mask.from_array(decode_rle(value["rle"], width_px, height_px)))
        case "bitmask":
            mask = decode_png(value["imageDataURL"])
            if mask.shape != (height_px, width_px):
                raise ShapeError(
                    f"the bitmask is {mask.shape[1]} × {mask.shape[0]} px; the image is {width_px} × {height_px} px"
                )
            return _not_empty(Mask.from_array(mask))
        case _:
            raise ShapeError(f"type {item.get('type')!r} holds no geometry on an image")


def _not_empty(mask: Mask) -> Mask:
    if len(mask.counts) < 2:
        raise ShapeError("the mask has no pixel inside")
    return mask


def _number(value: Any) -> float:
    if isinstance(value, bool) or not math.isfinite(float(value)):
        raise ShapeError(f"coordinate {value!r} is no finite number")
    return float(value)


def _finite_pairs(points: Iterable[Any]) -> list[tuple[float, float]]:
    return [(_number(x), _number(y)) for x, y in points]


def _rectangle(value: Mapping[str, Any], sx: float, sy: float) -> Box | RotatedBox:
    x, y = _number(value["x"]) * sx, _number(value["y"]) * sy
    width, height = _number(value["width"]) * sx, _number(value["height"]) * sy
    angle = _number(value.get("rotation", 0) or 0) % 360.0
    if width == 0 or height == 0:
        raise ShapeError(f"a rectangle needs width and height above 0; these are {width:g} and {height:g} px")
    if angle == 0.0:
        return Box(xmin=min(x, x + width), ymin=min(y, y + height), xmax=max(x, x + width), ymax=max(y, y + height))
    # Label Studio turns clockwise about the corner (x, y), in pixels, not in percent.
    sin, cos = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    cx = x + width / 2 * cos - height / 2 * sin
    cy = y + width / 2 * sin + height / 2 * cos
    return RotatedBox(cx=cx, cy=cy, width=abs(width), height=abs(height), angle_deg=angle)


def _vector(value: Mapping[str, Any], sx: float, sy: float) -> Line | Polygon:
    points = [(_number(v["x"]) * sx, _number(v["y"]) * sy) for v in value["vertices"]]
    if value.get("closed") and len(set(points)) >= 3:
        return Polygon(exterior=ring(points))
    if len(points) < 2:
        raise ShapeError(f"a line needs 2 points; this one has {len(points)}")
    return Line(points=tuple(points))


def _role(region_id: str, members: list[Mapping[str, Any]]) -> tuple[str, str] | None:
    for member in members:
        meta = member.get("meta")
        ours = meta.get(META_KEY) if isinstance(meta, Mapping) else None
        if isinstance(ours, Mapping):
            for role in ("hole", "part"):
                if ours.get(f"{role}_of"):
                    return str(ours[f"{role}_of"]), role
    # The editor keeps ids of regions that people change, also where it drops our meta.
    match = _PART_OF.match(region_id)
    return (match["parent"], match["role"]) if match else None


def _assemble(
    regions: list[Region], roles: Mapping[str, tuple[str, str]], losses: list[ValidationIssue]
) -> list[Region]:
    """Give holes and parts back to the polygon they belong to."""
    if not roles:
        return regions
    by_id = {region.id: region for region in regions}
    holes: dict[str, list[Polygon]] = {}
    parts: dict[str, list[str]] = {}
    orphans = []
    for region_id, (parent, role) in roles.items():
        shape = by_id[region_id].shape
        if parent not in by_id or not isinstance(shape, Polygon) or not isinstance(by_id[parent].shape, Polygon):
            orphans.append(region_id)
        elif role == "hole":
            holes.setdefault(parent, []).append(shape)
        else:
            parts.setdefault(parent, []).append(region_id)
    losses.extend(
        _loss("LSC011", f"{region_id!r} is a hole or part of a polygon that is gone; it is left out", region_id)
        for region_id in orphans
    )
    out = []
    for region in regions:
        if region.id in roles:
            continue
        pieces = [_with_holes(by_id[i], holes) for i in (region.id, *parts.get(region.id, []))]
        if isinstance(region.shape, Polygon):
            whole: Shape = pieces[0] if len(pieces) == 1 else MultiPolygon(parts=tuple(pieces))
            region = replace(region, shape=whole)
        out.append(region)
    return out


def _with_holes(region: Region, holes: Mapping[str, list[Polygon]]) -> Polygon:
    shape = region.shape
    if not isinstance(shape, Polygon):
        return Polygon(exterior=())
    return Polygon(exterior=shape.exterior, holes=tuple(hole.exterior for hole in holes.get(region.id, [])))
