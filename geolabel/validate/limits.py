"""Rules about size, place and class: metres, the image's border, nodata, the scene's grid, the taxonomy."""

from __future__ import annotations

import numpy as np
import shapely

from geolabel.core.issues import Severity
from geolabel.core.shapes import SHAPE_KINDS
from geolabel.validate.layer import Layer
from geolabel.validate.rule import Findings, Floats, Rule, RuleSpec


def _below(layer: Layer, measure: Floats, option: str) -> Findings:
    classes = () if layer.taxonomy is None else layer.taxonomy.classes
    own = layer.class_table({c.id: float(getattr(c, option)) for c in classes})
    limit = np.fmax(own, layer.option(option))
    rows = np.flatnonzero(measure < limit)  # NaN is never below
    return Findings.of(rows, measure[rows])


def _above(layer: Layer, measure: Floats, option: str) -> Findings:
    limit = layer.option(option)
    rows = np.flatnonzero(measure > limit) if limit > 0 else np.empty(0, dtype=np.int64)
    return Findings.of(rows, measure[rows])


def _areas(layer: Layer) -> Floats:
    return np.where(layer.areal & (layer.area > 0), layer.area_m2, np.nan)


def _small(layer: Layer) -> Findings:
    return _below(layer, _areas(layer), "min_area_m2")


def _large(layer: Layer) -> Findings:
    return _above(layer, _areas(layer), "max_area_m2")


def _short(layer: Layer) -> Findings:
    return _below(layer, layer.length_m, "min_length_m")


def _long(layer: Layer) -> Findings:
    return _above(layer, layer.length_m, "max_length_m")


def _outside(layer: Layer) -> Findings:
    size = layer.size[layer.frame]
    bounds = layer.bounds
    beyond = np.maximum(np.maximum(-bounds[:, 0], -bounds[:, 1]), np.maximum(bounds[:, 2:] - size, -np.inf).max(axis=1))
    beyond = beyond / layer.pixel[layer.frame]
    rows = np.flatnonzero(layer.sound & (beyond > layer.option("outside_px")))
    return Findings.of(rows, beyond[rows])


def _nodata(layer: Layer) -> Findings:
    if layer.valid is None:
        return Findings.none()
    has = np.array([v is not None for v in layer.valid], dtype=bool)
    rows = np.flatnonzero(layer.areal & layer.is_valid & (layer.area > 0) & has[layer.frame])
    if not len(rows):
        return Findings.none()
    seen = shapely.area(shapely.intersection(layer.geometry[rows], layer.valid[layer.frame[rows]]))
    share = 1.0 - seen / layer.area[rows]
    bad = share > layer.option("nodata_share")
    return Findings.of(rows[bad], share[bad])


def _off_grid(layer: Layer) -> Findings:
    rows = np.flatnonzero(layer.offset_px > layer.option("grid_px"))
    return Findings.of(rows, layer.offset_px[rows])


def _unknown_class(layer: Layer) -> Findings:
    if layer.taxonomy is None:
        return Findings.none()
    known = np.array([c.id for c in layer.taxonomy.classes], dtype=np.int64)
    rows = np.flatnonzero(~np.isin(layer.class_id, known))
    return Findings.of(rows, layer.class_id[rows].astype(np.float64))


def _wrong_kind(layer: Layer) -> Findings:
    if layer.taxonomy is None:
        return Findings.none()
    wrong = np.zeros(len(layer), dtype=bool)
    for c in layer.taxonomy.classes:
        allowed = {SHAPE_KINDS.index(kind) for kind in c.shapes}
        # A polygon in several parts, or one read from a mask, is still of the kind that was meant.
        if "polygon" in c.shapes:
            allowed.add(SHAPE_KINDS.index("multipolygon"))
        wrong |= (layer.class_id == c.id) & ~np.isin(layer.kind, list(allowed))
    return Findings.of(np.flatnonzero(wrong))


def _limit(code: str, name: str, title: str, message: str) -> RuleSpec:
    return RuleSpec(code=code, name=name, title=title, severity=Severity.WARNING, message=message)


SMALL = Rule(
    spec=_limit("GEO030", "small", "smaller than its class may be",
                "its area is {value:.3g} m², less than its class may have"),
    check=_small, limit="min_area_m2",
)  # fmt: skip
LARGE = Rule(
    spec=_limit("GEO031", "large", "larger than allowed",
                "its area is {value:.6g} m²; at most {limit:g} m² is allowed"),
    check=_large, limit="max_area_m2",
)  # fmt: skip
SHORT = Rule(
    spec=_limit("GEO032", "short", "a line shorter than its class may be",
                "its length is {value:.3g} m, less than its class may have"),
    check=_short, limit="min_length_m",
)  # fmt: skip
LONG = Rule(
    spec=_limit("GEO033", "long", "a line longer than allowed",
                "its length is {value:.6g} m; at most {limit:g} m is allowed"),
    check=_long, limit="max_length_m",
)  # fmt: skip
OUTSIDE = Rule(
    spec=RuleSpec(
        code="GEO040", name="outside", title="outside the image", severity=Severity.ERROR,
        message="it reaches {value:.2f} px past the image's border; {limit:g} px are allowed", fix="clip_to_image",
    ),
    check=_outside, limit="outside_px",
)  # fmt: skip
NODATA = Rule(
    spec=_limit("GEO041", "nodata", "on pixels without data",
                "{value:.0%} of it lies on nodata; {limit:.0%} is allowed"),
    check=_nodata, limit="nodata_share",
)  # fmt: skip
UNKNOWN_CLASS = Rule(
    spec=RuleSpec(
        code="GEO050", name="class", title="a class that the taxonomy lacks", severity=Severity.ERROR,
        message="class id {value:.0f} is not in the taxonomy",
    ),
    check=_unknown_class,
)  # fmt: skip
WRONG_KIND = Rule(
    spec=_limit("GEO051", "shape-kind", "a kind of shape that its class may not have",
                "its class may not have this kind of shape"),
    check=_wrong_kind,
)  # fmt: skip
OFF_GRID = Rule(
    spec=RuleSpec(
        code="GEO053", name="grid", title="the task's CRS or transform is unlike the scene's", severity=Severity.ERROR,
        message="the image lies {value:.3g} px off its window in the scene (inf: another CRS); {limit:g} px is allowed",
        scope="frame",
    ),
    check=_off_grid, limit="grid_px",
)  # fmt: skip
