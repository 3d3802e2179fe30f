"""What a rule is: a code, a sentence, and a pure function over a layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from geolabel.core.dataset import Ints
from geolabel.core.issues import Severity

if TYPE_CHECKING:
    from geolabel.validate.layer import Layer

Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSpec:
    """A rule.

    Attributes:
        code: Stable, "GEO010"; codes of third parties begin with their own letters.
        name: For policies, "self-intersection".
        title: What is wrong, for tables.
        severity: Of its findings.
        message: Sentence with {value} and {limit}, naming the value and what would be right.
        scope: "record": findings name records. "frame": they name frames, and all records of such a frame are wrong.
            "place": they name frames, no record in particular is wrong.
        fix: Name in `fixes.FIXES`, or "".
        on: Whether it runs unless policy says otherwise.
    """

    code: str
    name: str
    title: str
    severity: Severity
    message: str
    scope: Literal["record", "frame", "place"] = "record"
    fix: str = ""
    on: bool = True


def _no_others() -> Ints:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Findings:
    """What a rule found, by the column.

    Attributes:
        rows: (n,) int64. Records (scope "record") or frames.
        value: (n,) float64. The number behind the message; NaN for none.
        other: (n,) int64. Record that it concerns as well, or -1; empty when none does.
        xy: (n, 2) float64, where in the frame, or None to take the middle of the record.
    """

    rows: Ints
    value: Floats
    other: Ints = field(default_factory=_no_others)
    xy: Floats | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def of(cls, rows: Ints, value: Floats | float = np.nan, other: Ints | None = None) -> Findings:
        """Build from rows; a single value is repeated."""
        rows = np.asarray(rows, dtype=np.int64)
        values = np.broadcast_to(np.asarray(value, dtype=np.float64), rows.shape).copy()
        return cls(rows=rows, value=values, other=_no_others() if other is None else np.asarray(other, dtype=np.int64))

    @classmethod
    def none(cls) -> Findings:
        """Return no findings."""
        return cls.of(np.empty(0, dtype=np.int64))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule with its check; parts of the entry point group `geolabel.validators` are objects like this.

    Attributes:
        spec: What it is.
        check: Returns findings; must not change the layer, nor depend on anything else. Rows that are not
            `layer.sound` (empty, or with coordinates that are no numbers) are told by GEO001 and GEO002 only.
        limit: Option that holds its limit, told in messages; "" when it has none.
    """

    spec: RuleSpec
    check: Callable[[Layer], Findings]
    limit: str = ""
