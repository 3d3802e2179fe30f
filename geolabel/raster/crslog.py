"""Which operation leads from one CRS to another, how exact it is, and what is missing for a better one."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any

import pyproj
from pyproj.transformer import TransformerGroup

from geolabel.core.georef import WGS84, parse_crs


@lru_cache(maxsize=128)
def _facts(source: str, target: str) -> tuple[tuple[str, Any], ...]:
    with warnings.catch_warnings():
        # pyproj warns when a better grid is absent; that is exactly what is reported below.
        warnings.simplefilter("ignore", UserWarning)
        group = TransformerGroup(parse_crs(source), parse_crs(target), always_xy=True)
    best = group.transformers[0] if group.transformers else None
    missing = [
        {"grid": grid.short_name, "accuracy_m": operation.accuracy}
        for operation in group.unavailable_operations
        for grid in operation.grids
        if not grid.available
    ]
    accuracy = None if best is None or best.accuracy is None or best.accuracy < 0 else best.accuracy
    return (
        ("source", source),
        ("target", target),
        ("operation", "" if best is None else best.description),
        ("pipeline", "" if best is None else best.definition),
        ("accuracy_m", accuracy),
        ("missing_grids", missing),
        ("proj", pyproj.proj_version_str),
        ("epsg", _database_version()),
    )


def crs_log(source: str, target: str = WGS84) -> dict[str, Any]:
    """Return the record of the operation from source to target (JSON types).

    Keys: source, target, operation (name), pipeline (PROJ text), accuracy_m (None when PROJ doesn't know it),
    missing_grids ([{"grid", "accuracy_m"}]), proj and epsg (versions).
    """
    return dict(_facts(source, target))


def accuracy_lost(log: dict[str, Any]) -> dict[str, Any] | None:
    """Return the missing grid that would gain most, or None: {"grid", "accuracy_m", "now_m"}."""
    now = log.get("accuracy_m")
    better = [
        entry
        for entry in log.get("missing_grids", [])
        if entry["accuracy_m"] is not None and entry["accuracy_m"] >= 0 and (now is None or entry["accuracy_m"] < now)
    ]
    if not better:
        return None
    best = min(better, key=lambda entry: float(entry["accuracy_m"]))
    return {**best, "now_m": now}


def _database_version() -> str:
    from pyproj.database import get_database_metadata

    return str(get_database_metadata("EPSG.VERSION") or "")
