"""Findings → issues that people and machines read; made only for what is told."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely

from geolabel.core.dataset import Batch, ImageRef, Ints
from geolabel.core.georef import WGS84, transform_xy, wrap_longitude
from geolabel.core.issues import Fix, ValidationIssue
from geolabel.errors import GeoreferenceError
from geolabel.validate.layer import Layer
from geolabel.validate.rule import Findings, Floats, Rule


def message(rule: Rule, value: float, layer: Layer) -> str:
    """Return the sentence of a finding."""
    limit = layer.option(rule.limit) if rule.limit else float("nan")
    return rule.spec.message.format(value=value, limit=limit)


def issues_of(
    batch: Batch,
    layer: Layer,
    frames: Ints,
    images: Sequence[ImageRef],
    found: Sequence[tuple[Rule, Findings]],
    action: str,
    most: int | None = None,
) -> list[ValidationIssue]:
    """Return issues with chip, region and place; at most `most` of each rule."""
    out: list[ValidationIssue] = []
    for rule, findings in found:
        rows = findings.rows[:most]
        records = rule.spec.scope == "record"
        frame = layer.frame[rows] if records else rows
        where = _lonlat(frames[frame], images, _places(layer, findings, rows, records=records))
        fix = Fix(name=rule.spec.fix) if rule.spec.fix else None
        for number, row in enumerate(rows.tolist()):
            image = images[int(frames[frame[number]])]
            value = float(findings.value[number])
            facts: dict[str, object] = {"action": action, "rule": rule.spec.name, "task": image.task_id}
            if np.isfinite(value):
                facts["value"] = round(value, 6)
            if records:
                facts["annotation"] = int(batch.annotation_id[row])
            if len(findings.other) and findings.other[number] >= 0:
                facts["other"] = str(batch.id[findings.other[number]])
            place = where[number]
            out.append(
                ValidationIssue(
                    code=rule.spec.code,
                    severity=rule.spec.severity,
                    message=message(rule, value, layer),
                    chip_id=image.id,
                    region_id=str(batch.id[row]) if records else None,
                    where=(round(float(place[0]), 7), round(float(place[1]), 7)) if np.isfinite(place).all() else None,
                    facts=facts,
                    fix=fix,
                )
            )
    return out


def _places(layer: Layer, findings: Findings, rows: Ints, *, records: bool) -> Floats:
    if findings.xy is not None:
        return findings.xy[: len(rows)]
    if records:
        bounds = layer.bounds[rows]
        return np.asarray((bounds[:, :2] + bounds[:, 2:]) / 2)
    return np.asarray(layer.size[rows] / 2)


def _lonlat(image: Ints, images: Sequence[ImageRef], xy: Floats) -> Floats:
    """Return (n, 2) degrees, NaN where the image has no place; one transformation a CRS."""
    out = np.full((len(xy), 2), np.nan)
    by_crs: dict[str, list[int]] = {}
    world = np.full((len(xy), 2), np.nan)
    for row, number in enumerate(image.tolist()):
        georef = images[number].georef
        if georef is not None and np.isfinite(xy[row]).all():
            a, b, c, d, e, f = georef.transform
            x, y = xy[row]
            world[row] = (a * x + b * y + c, d * x + e * y + f)
            by_crs.setdefault(georef.crs, []).append(row)
    for crs, rows in by_crs.items():
        try:
            out[rows] = transform_xy(world[rows], crs, WGS84)
        except GeoreferenceError:
            continue  # no place on the Earth to tell; the issue itself is told all the same
    out[:, 0] = wrap_longitude(out[:, 0])
    return out


def bounds_of(shapes: Sequence[shapely.Geometry]) -> Floats:
    """Return (n, 4) bounds."""
    return np.asarray(shapely.bounds(np.asarray(shapes, dtype=object)))
