"""Regions, and the predictions and annotations that hold them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from geolabel.core.shapes import Shape


class Origin(StrEnum):
    """Where a region came from."""

    MANUAL = "manual"
    PREDICTION = "prediction"
    PREDICTION_CHANGED = "prediction-changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """One labelled shape on one chip.

    Attributes:
        id: At least 10 random or computed characters, unique within its task.
        shape: In chip px.
        label: Class name of the taxonomy; "" when the region has none.
        score: Calibrated probability that a reviewer keeps it, 0 to 1, or None.
        attributes: Further values (JSON types): choices, numbers, texts given per region.
        origin: Manual, prediction, or a prediction that a person changed.
        item_index: Image of a multi-image task (several dates), or None.
    """

    id: str
    shape: Shape
    label: str
    score: float | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    origin: Origin = Origin.MANUAL
    item_index: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef:
    """A model: name, version as shown in Label Studio, sha256 of its weights or None."""

    name: str
    version: str
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a model proposes for one chip.

    Attributes:
        chip_id: Chip predicted.
        regions: In chip px.
        model: Who predicted.
        score: 0 to 1; low is labelled next, high says that the chip needs no one.
        created: UTC.
        reason: Why these regions and this route, for people.
        route: "accept", "review", "manual" or the name of the step that answered.
        cluster: Diversity cell, or None.
    """

    chip_id: str
    regions: tuple[Region, ...]
    model: ModelRef
    score: float
    created: datetime
    reason: str = ""
    route: str = ""
    cluster: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """What a person says of one chip; times are UTC, lead time in seconds."""

    chip_id: str
    regions: tuple[Region, ...]
    task_id: int
    annotation_id: int
    annotator: str = ""
    lead_time_s: float | None = None
    created: datetime | None = None
    updated: datetime | None = None
    parent_prediction: int | None = None
    skipped: bool = False
    ground_truth: bool = False
