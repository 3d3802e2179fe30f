"""Classes, their shapes, prompts and thresholds: one versioned list per project."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from geolabel.core.shapes import SHAPE_KINDS, ShapeKind
from geolabel.errors import TaxonomyError

_COLOUR = re.compile(r"^#[0-9a-fA-F]{6}$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Calibrated scores at or above `accept` are shown, between the two shown for review, below `review` dropped."""

    accept: float = 0.5
    review: float = 0.2

    def __post_init__(self) -> None:
        if not 0.0 <= self.review <= self.accept <= 1.0:
            raise TaxonomyError(
                f"thresholds review={self.review}, accept={self.accept} must satisfy 0 ≤ review ≤ accept ≤ 1"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelClass:
    """One class.

    Attributes:
        id: At least 1, never reused; 0 is background.
        name: As shown in Label Studio; unique.
        colour: "#RRGGBB".
        shapes: Kinds of shape a region of this class may have.
        prompts: Words for text-prompted models; the name when empty.
        thresholds: Routing.
        min_area_m2: Smaller regions are dropped from predictions and reported by the gate.
        min_length_m: The same for lines.
        holes: How holes travel: "pair" (a second polygon marked as hole) or "bitmask".
        rectangular: Outlines are regularised to right angles (buildings).
        aliases: Other names that mean this class in foreign data.
        rules: Topology rules by name, e.g. ("no_overlap",).
    """

    id: int
    name: str
    colour: str = "#808080"
    shapes: tuple[ShapeKind, ...] = ("polygon",)
    prompts: tuple[str, ...] = ()
    thresholds: Thresholds = field(default_factory=Thresholds)
    min_area_m2: float = 0.0
    min_length_m: float = 0.0
    holes: str = "pair"
    rectangular: bool = False
    aliases: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.id < 1:
            raise TaxonomyError(f"class {self.name!r} has id {self.id}; ids start at 1 because 0 is background")
        if not self.name.strip():
            raise TaxonomyError(f"class {self.id} has no name; every class needs one")
        if not _COLOUR.match(self.colour):
            raise TaxonomyError(f"class {self.name!r} has colour {self.colour!r}; write it as #RRGGBB")
        unknown = [kind for kind in self.shapes if kind not in SHAPE_KINDS]
        if unknown:
            raise TaxonomyError(f"class {self.name!r} has shapes {unknown}; known are {', '.join(SHAPE_KINDS)}")
        if self.holes not in ("pair", "bitmask"):
            raise TaxonomyError(f"class {self.name!r} has holes {self.holes!r}; known are 'pair' and 'bitmask'")

    def to_json(self) -> dict[str, Any]:
        """Return JSON types; what `Taxonomy.from_json` reads."""
        return {
            "id": self.id,
            "name": self.name,
            "colour": self.colour,
            "shapes": list(self.shapes),
            "prompts": list(self.prompts),
            "thresholds": {"accept": self.thresholds.accept, "review": self.thresholds.review},
            "min_area_m2": self.min_area_m2,
            "min_length_m": self.min_length_m,
            "holes": self.holes,
            "rectangular": self.rectangular,
            "aliases": list(self.aliases),
            "rules": list(self.rules),
        }


_CLASS_FIELDS = frozenset(LabelClass.__slots__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Taxonomy:
    """A versioned list of classes."""

    name: str
    version: str
    classes: tuple[LabelClass, ...]

    def __post_init__(self) -> None:
        for what, values in (("id", [str(c.id) for c in self.classes]), ("name", [c.name for c in self.classes])):
            doubled = sorted({v for v in values if values.count(v) > 1})
            if doubled:
                raise TaxonomyError(
                    f"taxonomy {self.name!r} uses {what} {', '.join(doubled)} twice; each class needs its own"
                )

    def by_name(self, name: str) -> LabelClass:
        """Return the class of a name or alias.

        Raises:
            TaxonomyError: no class has it; the message lists those that exist.
        """
        for label_class in self.classes:
            if label_class.name == name:
                return label_class
        for label_class in self.classes:
            if name in label_class.aliases:
                return label_class
        raise TaxonomyError(
            f"class {name!r} is not in taxonomy {self.name!r} {self.version}; "
            f"it has {', '.join(c.name for c in self.classes) or 'no classes'}"
        )

    def names(self) -> tuple[str, ...]:
        """Return the class names in order."""
        return tuple(c.name for c in self.classes)

    def __contains__(self, name: object) -> bool:
        """Tell whether a class has this name or alias."""
        return any(name == c.name or name in c.aliases for c in self.classes)

    def to_json(self) -> dict[str, Any]:
        """Return JSON types."""
        return {"name": self.name, "version": self.version, "classes": [c.to_json() for c in self.classes]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Taxonomy:
        """Build from JSON or YAML data.

        Raises:
            TaxonomyError: a field is missing, unknown or wrong.
        """
        try:
            classes = tuple(_class_from_json(item) for item in value["classes"])
            return cls(name=str(value["name"]), version=str(value["version"]), classes=classes)
        except (KeyError, TypeError) as error:
            raise TaxonomyError(f"a taxonomy needs name, version and classes; problem: {error!r}") from error


def _class_from_json(value: Mapping[str, Any]) -> LabelClass:
    if not isinstance(value, Mapping):
        raise TaxonomyError(f"a class is {str(value)[:60]!r}; each must be an object with id and name")
    unknown = set(value) - _CLASS_FIELDS
    if unknown:
        raise TaxonomyError(
            f"class {value.get('name')!r} has unknown fields {sorted(unknown)}; known are {sorted(_CLASS_FIELDS)}"
        )
    fields: dict[str, Any] = dict(value)
    for name in ("shapes", "prompts", "aliases", "rules"):
        if name in fields:
            fields[name] = tuple(fields[name])
    if "thresholds" in fields:
        fields["thresholds"] = Thresholds(**fields["thresholds"])
    return LabelClass(**fields)
