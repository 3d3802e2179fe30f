"""Fit a project's confidences to what its reviewers kept and threw away."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely

from geolabel.core.labels import Region
from geolabel.core.shapes import to_shapely
from geolabel.labelstudio.codec import decode_result
from geolabel.labelstudio.config import LabelConfig
from geolabel.pipeline.answers import read_all_records
from geolabel.pipeline.labels import ANNOTATED, AnnotatedChip, annotated_chip, project_config, project_key
from geolabel.predict.calibrate import (
    Calibration,
    ReliabilityBin,
    Reviewed,
    calibration_error,
    fit_calibration,
    reliability,
    threshold_for_precision,
)
from geolabel.services import Services

#: Overlap from which a corrected region still counts as the one that was predicted.
SAME_IOU = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassReport:
    """How well the scores of one predictor and class fit, before and after.

    Attributes:
        predictor: Step of the chain.
        label: Class name.
        count: Reviewed regions.
        kept: Of them kept by reviewers.
        method: Of the fitted curve; "none" means that the scores stay raw.
        error_before: Expected calibration error of the raw scores.
        error_after: Of the fitted ones, cross-validated; None without a curve.
        before: Reliability curve of the raw scores.
        after: Of the fitted ones, cross-validated.
        threshold: Calibrated score that meets the wished precision; None when none does.
    """

    predictor: str
    label: str
    count: int
    kept: int
    method: str
    error_before: float
    error_after: float | None
    before: tuple[ReliabilityBin, ...]
    after: tuple[ReliabilityBin, ...]
    threshold: float | None

    def to_json(self) -> dict[str, Any]:
        """Return JSON types."""
        bins = {
            name: [{key: getattr(item, key) for key in ReliabilityBin.__slots__} for item in getattr(self, name)]
            for name in ("before", "after")
        }
        return {name: getattr(self, name) for name in self.__slots__} | bins


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationReport:
    """All classes of a project."""

    project_id: str
    precision: float
    reviewed: int
    classes: tuple[ClassReport, ...]

    def to_json(self) -> dict[str, Any]:
        """Return JSON types."""
        return {
            "project_id": self.project_id,
            "precision": self.precision,
            "reviewed": self.reviewed,
            "classes": [item.to_json() for item in self.classes],
        }


def calibrate_project(
    services: Services, project_id: str, *, precision: float = 0.9, save: bool = True
) -> CalibrationReport:
    """Compare predictions with the annotations of their tasks, fit one curve per predictor and class, and keep them.

    Args:
        services: Label Studio and the store.
        project_id: Of Label Studio.
        precision: Share of shown regions that should be kept; the report names the score that meets it.
        save: Use the curves from now on.
    """
    reviewed = collect_reviewed(services, project_id)
    by_source: dict[str, list[Reviewed]] = defaultdict(list)
    for item in reviewed:
        by_source[item.source].append(item)
    calibrations = {source: fit_calibration(items) for source, items in by_source.items()}
    classes = [
        _report(source, label, [item for item in items if item.label == label], calibrations[source], precision)
        for source, items in sorted(by_source.items())
        for label in sorted({item.label for item in items})
    ]
    if save and calibrations:
        value = {"predictors": {source: item.to_json() for source, item in calibrations.items()}}
        services.store.put_json(project_key(project_id, "calibration.json"), value)
    return CalibrationReport(project_id=project_id, precision=precision, reviewed=len(reviewed), classes=tuple(classes))


def collect_reviewed(services: Services, project_id: str) -> list[Reviewed]:
    """Return every predicted region whose task someone has annotated since: its raw score and whether it was kept."""
    config = project_config(services, project_id)
    records = read_all_records(services, project_id)
    out: list[Reviewed] = []
    for task in services.labelstudio.tasks(int(project_id), query=ANNOTATED):
        annotated = annotated_chip(task, config.taxonomy())
        if annotated is None:
            continue
        for prediction in task.get("predictions") or []:
            record = records.get((str(prediction.get("model_version")), str(task.get("id"))))
            if record is not None:
                out += review(prediction, annotated, config, record)
                break
    return out


def review(
    prediction: Mapping[str, Any], annotated: AnnotatedChip, config: LabelConfig, record: Mapping[str, Any]
) -> list[Reviewed]:
    """Return what the annotation says of each predicted region: kept when one of its class overlaps by half."""
    result = [dict(item) for item in prediction.get("result") or [] if isinstance(item, Mapping)]
    georef = annotated.chip.georef
    decoded = decode_result(result, width_px=georef.width, height_px=georef.height, taxonomy=config.taxonomy())
    raw = record.get("raw_scores") or {}
    kept = matches(decoded.regions, annotated.regions)
    return [
        Reviewed(
            label=region.label,
            score=float(raw.get(region.id, region.score or 0.0)),
            kept=region.id in kept,
            source=str(record.get("step") or ""),
        )
        for region in decoded.regions
    ]


def matches(predicted: Sequence[Region], drawn: Sequence[Region]) -> set[str]:
    """Return the ids of predicted regions that have a drawn one of their class with IoU ≥ 0.5, each used once."""
    shapes = [shapely.make_valid(to_shapely(region.shape)) for region in drawn]
    pairs = []
    for i, region in enumerate(predicted):
        outline = shapely.make_valid(to_shapely(region.shape))
        for j, other in enumerate(shapes):
            if drawn[j].label != region.label or not outline.intersects(other):
                continue
            union = outline.union(other).area
            iou = outline.intersection(other).area / union if union > 0 else float(outline.equals(other))
            if iou >= SAME_IOU:
                pairs.append((iou, i, j))
    used_i: set[int] = set()
    used_j: set[int] = set()
    for _, i, j in sorted(pairs, reverse=True):
        if i not in used_i and j not in used_j:
            used_i.add(i)
            used_j.add(j)
    return {predicted[i].id for i in used_i}


def _report(
    source: str, label: str, items: Sequence[Reviewed], calibration: Calibration, precision: float
) -> ClassReport:
    scores = np.array([item.score for item in items], dtype=np.float64)
    kept = np.array([item.kept for item in items], dtype=np.float64)
    curve = calibration.curves[label]
    before = reliability(scores, kept)
    honest = _cross_validated(items, label) if curve.method != "none" else None
    after = reliability(honest, kept) if honest is not None else []
    shown = np.clip(curve.apply(scores), 0.0, 1.0)
    return ClassReport(
        predictor=source,
        label=label,
        count=len(items),
        kept=int(kept.sum()),
        method=curve.method,
        error_before=calibration_error(before),
        error_after=calibration_error(after) if honest is not None else None,
        before=tuple(before),
        after=tuple(after),
        threshold=threshold_for_precision(shown, kept, precision),
    )


def _cross_validated(items: Sequence[Reviewed], label: str, folds: int = 5) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return calibrated scores, each from a curve that has not seen the region it scores."""
    scores = np.array([item.score for item in items], dtype=np.float64)
    out = scores.copy()
    fold = np.random.default_rng(0).permutation(len(items)) % folds
    for k in range(folds):
        train = [item for item, f in zip(items, fold, strict=True) if f != k]
        curve = fit_calibration(train).curves.get(label)
        if curve is not None:
            out[fold == k] = np.clip(curve.apply(scores[fold == k]), 0.0, 1.0)
    return out
