"""RFC 7946 taken at its word: what a GeoJSON text has wrong, with the path of each fault."""

from __future__ import annotations

import json
import math
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NoReturn

from geolabel.core.issues import Severity, ValidationIssue

_DEPTH = {"Point": 0, "MultiPoint": 1, "LineString": 1, "MultiLineString": 2, "Polygon": 2, "MultiPolygon": 3}
_FOREIGN = {
    "geometry": ("geometry", "properties", "features"),
    "Feature": ("coordinates", "geometries", "features"),
    "FeatureCollection": ("coordinates", "geometries", "geometry", "properties"),
}
_MOST_DECIMALS = 9
TITLES: Mapping[str, str] = {
    "GJS001": "no JSON, or a number that JSON does not have",
    "GJS002": "a member named twice",
    "GJS003": "no object, or no known type",
    "GJS004": "a member missing or of the wrong type",
    "GJS005": "a member that this type must not have",
    "GJS006": "a position that is none",
    "GJS007": "a line or ring with too few positions, or a ring not closed",
    "GJS008": "a ring against the right-hand rule",
    "GJS009": "longitude or latitude out of range",
    "GJS010": "crosses the antimeridian without being cut",
    "GJS011": "a crs member",
    "GJS012": "a bbox that is none, or does not hold its content",
    "GJS013": "collections within collections, or of one geometry",
    "GJS014": "more decimals than any position has",
}


class _Decimal(float):
    """A number that remembers how many decimals its text had."""

    __slots__ = ("decimals",)
    decimals: int


def _number(text: str) -> float:
    value = _Decimal(text)
    mantissa = text.lower().split("e")[0]
    value.decimals = len(mantissa.partition(".")[2])
    return value


class _Refused(ValueError):
    pass


def _constant(text: str) -> NoReturn:
    raise _Refused(f"{text} is no number of JSON")


@dataclass(frozen=True, slots=True)
class _Twice:
    """Stands for an object that names a member twice; its members, the last of each name, are kept."""

    members: Mapping[str, Any]
    names: tuple[str, ...]


def _object(pairs: list[tuple[str, Any]]) -> Any:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    names = [name for name, _ in pairs]
    return _Twice(members, tuple(sorted({n for n in names if names.count(n) > 1})))


def check_geojson(text: str) -> list[ValidationIssue]:
    """Return what a GeoJSON text has wrong; empty when nothing is.

    Args:
        text: One GeoJSON document, or one line of a sequence.
    """
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_float=_number, parse_constant=_constant)
    except (_Refused, ValueError, RecursionError) as error:
        return [_issue("GJS001", "", f"the text is no JSON: {error}")]
    return list(_Checker().root(value))


def _issue(code: str, path: str, message: str) -> ValidationIssue:
    severity = Severity.WARNING if code in ("GJS013", "GJS014") else Severity.ERROR
    return ValidationIssue(code=code, severity=severity, message=f"{path}: {message}" if path else message,
                           facts={"path": path})  # fmt: skip


class _Checker:
    """Walks a document; decimals are told once."""

    def __init__(self) -> None:
        self._told_decimals = False

    def root(self, value: Any) -> Iterator[ValidationIssue]:
        value = yield from self._members(value, "")
        if value is None:
            return
        kind = value.get("type")
        if kind == "FeatureCollection":
            yield from self._collection(value)
        elif kind == "Feature":
            yield from self._feature(value, "")
        else:
            yield from self._geometry(value, "", nested=False)

    def _members(self, value: Any, path: str) -> Generator[ValidationIssue, None, Mapping[str, Any] | None]:
        """Check that a value is an object; the generator returns its members, or None."""
        if isinstance(value, _Twice):
            yield _issue("GJS002", path, f"{', '.join(value.names)} is named twice; readers differ in which they take")
            value = value.members
        if not isinstance(value, Mapping):
            yield _issue("GJS003", path, f"it is {_said(value)}; an object with a type is right")
            return None
        if "crs" in value:
            yield _issue("GJS011", path, "it has a crs member; RFC 7946 has only WGS 84 longitude and latitude")
        if "bbox" in value:
            yield from self._bbox(value["bbox"], path)
        return value

    def _foreign(self, value: Mapping[str, Any], kind: str, path: str) -> Iterator[ValidationIssue]:
        for name in _FOREIGN[kind]:
            if name in value:
                yield _issue("GJS005", path, f"a {kind} must not have the member {name!r}")

    def _collection(self, value: Mapping[str, Any]) -> Iterator[ValidationIssue]:
        yield from self._foreign(value, "FeatureCollection", "")
        features = value.get("features")
        if not isinstance(features, list):
            yield _issue("GJS004", "features", f"it is {_said(features)}; an array is right")
            return
        for number, feature in enumerate(features):
            path = f"features[{number}]"
            members = yield from self._members(feature, path)
            if members is None:
                continue
            if members.get("type") != "Feature":
                yield _issue("GJS003", path, f"its type is {_said(members.get('type'))}; 'Feature' is right")
            yield from self._feature(members, path)

    def _feature(self, value: Mapping[str, Any], path: str) -> Iterator[ValidationIssue]:
        yield from self._foreign(value, "Feature", path)
        if "id" in value and (not isinstance(value["id"], str | int | float) or isinstance(value["id"], bool)):
            yield _issue("GJS004", _join(path, "id"), f"it is {_said(value['id'])}; a string or number is right")
        properties = value.get("properties", _MISSING)
        if isinstance(properties, _Twice):
            yield _issue("GJS002", _join(path, "properties"), f"{', '.join(properties.names)} is named twice")
        elif properties is not None and not isinstance(properties, Mapping):
            yield _issue("GJS004", _join(path, "properties"), f"it is {_said(properties)}; an object or null is right")
        geometry = value.get("geometry", _MISSING)
        if geometry is None:
            return
        if geometry is _MISSING:
            yield _issue("GJS004", path, "it has no geometry; a geometry or null is right")
            return
        inner = yield from self._members(geometry, _join(path, "geometry"))
        if inner is not None:
            yield from self._geometry(inner, _join(path, "geometry"), nested=False)

    def _geometry(self, value: Mapping[str, Any], path: str, *, nested: bool) -> Iterator[ValidationIssue]:
        kind = value.get("type", _MISSING)
        if kind == "GeometryCollection":
            yield from self._geometries(value, path, nested=nested)
            return
        if not isinstance(kind, str) or kind not in _DEPTH:
            yield _issue("GJS003", _join(path, "type"), f"it is {_said(kind)}; one of {', '.join(_DEPTH)} is right")
            return
        yield from self._foreign(value, "geometry", path)
        at = _join(path, "coordinates")
        coordinates = value.get("coordinates", _MISSING)
        before = 0
        for issue in self._nested(coordinates, _DEPTH[kind], kind, at):
            before += 1
            yield issue
        if not before and isinstance(coordinates, list):
            yield from self._sound(coordinates, kind, at)

    def _geometries(self, value: Mapping[str, Any], path: str, *, nested: bool) -> Iterator[ValidationIssue]:
        yield from self._foreign(value, "geometry", path)
        if nested:
            yield _issue("GJS013", path, "a collection within a collection; RFC 7946 advises against it")
        geometries = value.get("geometries", _MISSING)
        if not isinstance(geometries, list):
            yield _issue("GJS004", _join(path, "geometries"), f"it is {_said(geometries)}; an array is right")
            return
        if len(geometries) == 1:
            yield _issue("GJS013", path, "a collection of one geometry; write that geometry alone")
        for number, geometry in enumerate(geometries):
            at = _join(path, f"geometries[{number}]")
            inner = yield from self._members(geometry, at)
            if inner is not None:
                yield from self._geometry(inner, at, nested=True)

    def _nested(self, value: Any, depth: int, kind: str, path: str) -> Iterator[ValidationIssue]:
        if not isinstance(value, list):
            yield _issue("GJS006", path, f"it is {_said(value)}; an array {depth + 1} deep is right for {kind}")
            return
        if depth == 0:
            yield from self._position(value, path)
            return
        for number, item in enumerate(value):
            yield from self._nested(item, depth - 1, kind, f"{path}[{number}]")

    def _position(self, value: list[Any], path: str) -> Iterator[ValidationIssue]:
        if not 2 <= len(value) <= 3:
            yield _issue("GJS006", path, f"it has {len(value)} numbers; longitude, latitude and maybe height are right")
            return
        if any(not _is_number(v) for v in value):
            yield _issue("GJS006", path, f"it is {str(value)[:60]}; all must be finite numbers")
            return
        if abs(value[0]) > 180 or abs(value[1]) > 90:
            yield _issue("GJS009", path, f"({value[0]:g}, {value[1]:g}) is no longitude and latitude in degrees")
        if not self._told_decimals and max(getattr(v, "decimals", 0) for v in value) > _MOST_DECIMALS:
            self._told_decimals = True
            yield _issue("GJS014", path, f"more than {_MOST_DECIMALS} decimals (0.1 mm); 7 are enough")

    def _sound(self, coordinates: list[Any], kind: str, path: str) -> Iterator[ValidationIssue]:
        lines = {"LineString": [coordinates], "MultiLineString": coordinates}.get(kind, ())
        for number, line in enumerate(lines):
            at = path if kind == "LineString" else f"{path}[{number}]"
            if len(line) < 2:
                yield _issue("GJS007", at, f"a line has {len(line)} positions; 2 or more are right")
            yield from _jump(line, at)
        polygons = {"Polygon": [coordinates], "MultiPolygon": coordinates}.get(kind, ())
        for number, polygon in enumerate(polygons):
            for index, ring in enumerate(polygon):
                at = f"{path}[{index}]" if kind == "Polygon" else f"{path}[{number}][{index}]"
                yield from _ring(ring, at, outer=index == 0)
        if kind in ("Polygon", "MultiPolygon") and (not coordinates or any(not p for p in polygons)):
            yield _issue("GJS007", path, "a polygon has no rings; leave the geometry null where there is none")

    def _bbox(self, value: Any, path: str) -> Iterator[ValidationIssue]:
        at = _join(path, "bbox")
        if not isinstance(value, list):
            yield _issue("GJS012", at, f"it is {_said(value)}; an array of 4 or 6 numbers is right")
        elif len(value) not in (4, 6) or any(not _is_number(v) for v in value):
            yield _issue("GJS012", at, f"it is {str(value)[:60]}; an array of 4 or 6 numbers is right")
        else:
            half = len(value) // 2
            if value[1] > value[half + 1] or abs(value[0]) > 180 or abs(value[half]) > 180:
                yield _issue("GJS012", at, f"it is {str(value)[:60]}; west, south, east, north in degrees is right")


_MISSING = object()


def _said(value: Any) -> str:
    return "missing" if value is _MISSING or value is None else repr(value)[:40]


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _jump(line: list[Any], path: str) -> Iterator[ValidationIssue]:
    if any(abs(p[0] - q[0]) > 180 for p, q in pairwise(line)):
        yield _issue("GJS010", path, "a step of more than 180° of longitude; cut the geometry at the antimeridian")


def _ring(ring: list[Any], path: str, *, outer: bool) -> Iterator[ValidationIssue]:
    closed = len(ring) > 0 and ring[0] == ring[-1]
    if len(ring) < 4 or not closed:
        yield _issue("GJS007", path, f"a ring of {len(ring)} positions, {'' if closed else 'not '}closed; "
                     "4 or more with the first repeated as the last are right")  # fmt: skip
        return
    jumps = list(_jump(ring, path))
    yield from jumps
    if jumps:
        return
    area = sum(p[0] * q[1] - q[0] * p[1] for p, q in pairwise(ring))
    if area and (area > 0) != outer:
        yield _issue("GJS008", path, "outer rings run counter-clockwise, holes clockwise; this one does not")
