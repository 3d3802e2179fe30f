"""What is wrong with a raster, a task or a label: one value type for every check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    """How bad it is: an error stops the step, a warning is shown, an info is noted."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix:
    """A named pure function, with its arguments, that would mend the issue when policy allows."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    summary: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationIssue:
    """One finding.

    Attributes:
        code: Stable, e.g. "GEO010" (labels) or "RAS003" (rasters).
        severity: Error, warning or info.
        message: What was wrong, the value, and what would be right.
        chip_id: Chip concerned, or None.
        region_id: Region concerned, or None.
        where: (longitude, latitude) in degrees, or None.
        facts: Machine-readable values behind the message (JSON types).
        fix: What would mend it, or None.
    """

    code: str
    severity: Severity
    message: str
    chip_id: str | None = None
    region_id: str | None = None
    where: tuple[float, float] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    fix: Fix | None = None

    def to_json(self) -> dict[str, Any]:
        """Return JSON types."""
        return {
            "code": self.code,
            "severity": self.severity.value,
            "message": self.message,
            "chip_id": self.chip_id,
            "region_id": self.region_id,
            "where": list(self.where) if self.where else None,
            "facts": dict(self.facts),
            "fix": None
            if self.fix is None
            else {"name": self.fix.name, "arguments": dict(self.fix.arguments), "summary": self.fix.summary},
        }
