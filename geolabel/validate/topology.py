"""Rules about several geometries of a frame: duplicates, overlaps, gaps."""

from __future__ import annotations

import numpy as np
import shapely

from geolabel.core.dataset import Ints
from geolabel.core.issues import Severity
from geolabel.validate.layer import Layer
from geolabel.validate.rule import Findings, Floats, Rule, RuleSpec


def _iou(layer: Layer) -> Floats:
    pairs = layer.pairs
    return np.asarray(pairs.common / (layer.area[pairs.one] + layer.area[pairs.other] - pairs.common))


def _same_class(layer: Layer) -> np.ndarray:  # type: ignore[type-arg]
    return np.asarray(layer.class_id[layer.pairs.one] == layer.class_id[layer.pairs.other])


def _once(one: Ints, other: Ints, value: Floats) -> Findings:
    """Name each later record once, with the partner of the largest value."""
    order = np.argsort(-value, kind="stable")
    rows, first = np.unique(other[order], return_index=True)
    return Findings.of(rows, value[order][first], one[order][first])


def _duplicates(layer: Layer) -> Findings:
    iou = _iou(layer)
    found = (iou >= layer.option("duplicate_iou")) & _same_class(layer)
    areas = _once(layer.pairs.one[found], layer.pairs.other[found], iou[found])
    rest = np.flatnonzero(layer.sound & ~(layer.areal & layer.is_valid & (layer.area > 0)))
    if len(rest) < 2:
        return areas
    # What has no area, or no sound one, is the same when it is drawn point by point the same.
    texts = shapely.to_wkb(shapely.normalize(layer.geometry[rest]))
    keys: dict[tuple[int, int, bytes], int] = {}
    one, other = [], []
    for row, frame, class_id, text in zip(
        rest.tolist(), layer.frame[rest].tolist(), layer.class_id[rest].tolist(), texts.tolist(), strict=True
    ):
        first = keys.setdefault((frame, class_id, text), row)
        if first != row:
            one.append(first)
            other.append(row)
    return Findings.of(
        np.concatenate([areas.rows, np.array(other, dtype=np.int64)]),
        np.concatenate([areas.value, np.ones(len(other))]),
        np.concatenate([areas.other, np.array(one, dtype=np.int64)]),
    )


def _near_duplicates(layer: Layer) -> Findings:
    iou = _iou(layer)
    found = (iou >= layer.option("near_iou")) & (iou < layer.option("duplicate_iou")) & _same_class(layer)
    return _once(layer.pairs.one[found], layer.pairs.other[found], iou[found])


def _two_classes(layer: Layer) -> Findings:
    iou = _iou(layer)
    found = (iou >= layer.option("near_iou")) & ~_same_class(layer)
    return _once(layer.pairs.one[found], layer.pairs.other[found], iou[found])


def _overlaps(layer: Layer) -> Findings:
    strict = layer.classes_with("no_overlap")
    if not len(strict):
        return Findings.none()
    pairs = layer.pairs
    smaller = np.minimum(layer.area[pairs.one], layer.area[pairs.other])
    pixel = layer.pixel[layer.frame[pairs.one]] ** 2
    found = (
        (np.isin(layer.class_id[pairs.one], strict) | np.isin(layer.class_id[pairs.other], strict))
        & (pairs.common >= layer.option("overlap_share") * smaller)
        & (pairs.common >= layer.option("overlap_px") * pixel)
        & (_iou(layer) < layer.option("near_iou"))
    )
    value = pairs.common[found] / pixel[found]
    return _once(pairs.one[found], pairs.other[found], value)


def _gaps(layer: Layer) -> Findings:
    """Find what areas of classes without gaps leave open between them.

    Enclosed by them: any hole of their union that is small. Open to the border or to unlabelled ground: where it is
    narrower than a few pixels.
    """
    strict = layer.classes_with("no_gap")
    rows = np.flatnonzero(np.isin(layer.class_id, strict) & layer.areal & layer.is_valid & (layer.area > 0))
    if not len(rows):
        return Findings.none()
    frames, values, places = [], [], []
    order = rows[np.argsort(layer.frame[rows], kind="stable")]
    used, starts = np.unique(layer.frame[order], return_index=True)
    for frame, own in zip(used.tolist(), np.split(order, starts[1:]), strict=True):
        for gap in _frame_gaps(layer, layer.geometry[own], float(layer.pixel[frame])):
            frames.append(frame)
            values.append(gap.area / layer.pixel[frame] ** 2)
            place = gap.point_on_surface()
            places.append((place.x, place.y))
    found = Findings.of(np.array(frames, dtype=np.int64), np.array(values, dtype=np.float64))
    return Findings(rows=found.rows, value=found.value, xy=np.array(places, dtype=np.float64).reshape(-1, 2))


def _frame_gaps(layer: Layer, shapes: np.ndarray, pixel: float) -> list[shapely.Geometry]:  # type: ignore[type-arg]
    union = shapely.union_all(shapes)
    least, most = layer.option("gap_px") * pixel**2, layer.option("gap_max_px") * pixel**2
    rings, polygon = shapely.get_rings(shapely.get_parts(union), return_index=True)
    inner = np.zeros(len(rings), dtype=bool)
    inner[1:] = polygon[1:] == polygon[:-1]
    holes = shapely.polygons(rings[inner])
    area = shapely.area(holes)
    # A hole that one polygon was drawn with is meant.
    own, member = shapely.get_rings(shapely.get_parts(shapes), return_index=True)
    drawn = np.zeros(len(own), dtype=bool)
    drawn[1:] = member[1:] == member[:-1]
    meant = shapely.union_all(shapely.polygons(own[drawn])) if drawn.any() else shapely.Polygon()
    found = [h for h in holes[(area >= least) & (area <= most)].tolist() if not meant.covers(h)]
    half = layer.option("gap_width_px") * pixel / 2
    closed = shapely.buffer(shapely.buffer(union, half, join_style="mitre"), -half, join_style="mitre")
    narrow = shapely.get_parts(shapely.difference(closed, union))
    enclosed = shapely.union_all(holes) if len(holes) else shapely.Polygon()
    keep = (shapely.get_dimensions(narrow) == 2) & (shapely.area(narrow) >= least)
    found += [g for g in narrow[keep].tolist() if not enclosed.intersects(g.point_on_surface())]
    return found


def _spec(code: str, name: str, title: str, severity: Severity, message: str) -> RuleSpec:
    return RuleSpec(code=code, name=name, title=title, severity=severity, message=message)


DUPLICATE = Rule(
    spec=_spec("GEO020", "duplicate", "drawn twice", Severity.ERROR,
               "another record of its class has the same outline (IoU {value:.4f}); one of them is too many"),
    check=_duplicates, limit="duplicate_iou",
)  # fmt: skip
NEAR_DUPLICATE = Rule(
    spec=_spec("GEO021", "near-duplicate", "nearly drawn twice", Severity.WARNING,
               "another record of its class has nearly the same outline (IoU {value:.3f}, limit {limit:g})"),
    check=_near_duplicates, limit="near_iou",
)  # fmt: skip
OVERLAP = Rule(
    spec=_spec("GEO022", "overlap", "overlaps although its class must not", Severity.ERROR,
               "it overlaps another record by {value:.1f} px²; the rule no_overlap of its class allows none"),
    check=_overlaps, limit="overlap_share",
)  # fmt: skip
TWO_CLASSES = Rule(
    spec=_spec("GEO023", "two-classes", "one thing with two classes", Severity.WARNING,
               "a record of another class has nearly the same outline (IoU {value:.3f}); a thing has one class"),
    check=_two_classes, limit="near_iou",
)  # fmt: skip
GAP = Rule(
    spec=RuleSpec(
        code="GEO024", name="gap", title="a gap although the class must leave none", severity=Severity.ERROR,
        message="a gap of {value:.1f} px² is left between areas whose rule no_gap allows none", scope="place",
    ),
    check=_gaps, limit="gap_px",
)  # fmt: skip
