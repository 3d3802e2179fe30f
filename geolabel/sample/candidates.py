"""What samplers take and give: one row a chip."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from geolabel.errors import InputError

F64: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]

#: Kinds of uncertainty that a chip may carry, each 0 (sure) to 1.
UNCERTAINTIES = ("entropy", "margin", "least_confidence", "committee", "seam")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """All chips of a project, labelled ones among them, one row each.

    Attributes:
        features: (n, d) float64, finite; on comparable scales (see `standardised`).
        xy_m: (n, 2) float64 chip centres, x before y, metres in any plane in which neighbours lie close.
        labelled: (n,) bool, True where people have finished; such rows are never chosen.
        spacing_m: Distance between neighbouring chips, metres.
        class_names: k names; the first may be "" for background.
        shares: (n, k) float64, predicted share of every class, rows summing to 1; None before the first model.
        presence: (n, k) float64 0 to 1, how surely a class occurs somewhere on the chip; None before the first model.
        uncertainty: (n,) float64 0 to 1 per kind of `UNCERTAINTIES`; kinds that are not known are absent.
        label_counts: (k,) float64, labelled chips that show each class; None when nothing is labelled.
    """

    features: F64
    xy_m: F64
    labelled: Bools
    spacing_m: float
    class_names: tuple[str, ...] = ()
    shares: F64 | None = None
    presence: F64 | None = None
    uncertainty: Mapping[str, F64] = field(default_factory=dict)
    label_counts: F64 | None = None

    def __post_init__(self) -> None:
        n = len(self.labelled)
        wanted: dict[str, tuple[Any, tuple[int, ...]]] = {
            "features": (self.features, (n, self.features.shape[-1] if self.features.ndim == 2 else -1)),
            "xy_m": (self.xy_m, (n, 2)),
        }
        k = len(self.class_names)
        for name in ("shares", "presence"):
            if getattr(self, name) is not None:
                wanted[name] = (getattr(self, name), (n, k))
        if self.label_counts is not None:
            wanted["label_counts"] = (self.label_counts, (k,))
        for name, values in self.uncertainty.items():
            if name not in UNCERTAINTIES:
                raise InputError(f"uncertainty {name!r} is unknown; known are {', '.join(UNCERTAINTIES)}")
            wanted[name] = (values, (n,))
        for name, (array, shape) in wanted.items():
            if array.shape != shape:
                raise InputError(f"{name} has shape {array.shape}; {n} chips and {k} classes need {shape}")
            if not np.isfinite(array).all():
                raise InputError(f"{name} holds NaN or infinity; samplers need finite numbers")
        if not self.spacing_m > 0:
            raise InputError(f"spacing_m is {self.spacing_m}; neighbouring chips need a distance above 0 m")

    def __len__(self) -> int:
        return len(self.labelled)

    @property
    def open(self) -> Ints:
        """Return the rows that may be chosen."""
        return np.flatnonzero(~self.labelled)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Chips in the order in which to label them.

    Attributes:
        order: (m,) int64 rows of the candidates, each once, none labelled.
        value: (m,) float64 0 to 1, how useful each is by the sampler's own measure; not necessarily falling.
        reasons: m short texts for people, e.g. "rare class: water".
    """

    order: Ints
    value: F64
    reasons: tuple[str, ...]


#: A sampler: (candidates, how many at most, seed) → selection. The same arguments give the same selection.
Sampler: TypeAlias = Callable[[Candidates, int, int], Selection]


def select(candidates: Candidates, order: Any, value: Any, reasons: str | list[str]) -> Selection:
    """Build a selection; one reason may stand for all."""
    rows = np.asarray(order, dtype=np.int64).reshape(-1)
    values = np.clip(np.nan_to_num(np.asarray(value, dtype=np.float64).reshape(-1)), 0.0, 1.0)
    texts = (reasons,) * len(rows) if isinstance(reasons, str) else tuple(reasons)
    del candidates
    return Selection(order=rows, value=values, reasons=texts)


def standardised(features: npt.NDArray[Any], dimensions: int = 24) -> F64:
    """Return features with mean 0 and variance 1 on their main axes, at most so many: comparable distances.

    Args:
        features: (n, d) numbers; NaN counts as the column's mean.
        dimensions: Axes kept at most (principal components).
    """
    table = np.asarray(features, dtype=np.float64)
    if table.shape[0] == 0:
        return table.reshape(0, min(table.shape[1] if table.ndim == 2 else 1, dimensions))
    good = np.isfinite(table)
    counts = np.maximum(good.sum(axis=0), 1)
    means = np.where(good, table, 0.0).sum(axis=0) / counts
    table = np.where(good, table, means) - means
    spread = table.std(axis=0)
    table = np.clip(table / np.where(spread > 1e-12, spread, 1.0), -6.0, 6.0)
    if min(table.shape) > 1 and table.shape[1] > dimensions:
        _, vectors = np.linalg.eigh(table.T @ table)
        axes = vectors[:, ::-1][:, :dimensions]
        # The sign of an eigenvector is arbitrary; fix it, so that every machine gives the same numbers.
        table = table @ (axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])] + 1e-30))
    return np.asarray(table, dtype=np.float64)
