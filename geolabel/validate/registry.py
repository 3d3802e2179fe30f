"""Rules by name: ours, and those of the entry point group `geolabel.validators`."""

from __future__ import annotations

from functools import lru_cache

from geolabel.errors import NotFoundError
from geolabel.plugins import Registry
from geolabel.validate.rule import Rule

BUILTIN_RULES: dict[str, str] = {
    "empty": "geolabel.validate.shapes:EMPTY",
    "not-finite": "geolabel.validate.shapes:NOT_FINITE",
    "self-intersection": "geolabel.validate.shapes:CROSSING",
    "degenerate": "geolabel.validate.shapes:DEGENERATE",
    "repeated-points": "geolabel.validate.shapes:REPEATED",
    "spike": "geolabel.validate.shapes:SPIKES",
    "sliver": "geolabel.validate.shapes:SLIVERS",
    "winding": "geolabel.validate.shapes:WINDING",
    "duplicate": "geolabel.validate.topology:DUPLICATE",
    "near-duplicate": "geolabel.validate.topology:NEAR_DUPLICATE",
    "overlap": "geolabel.validate.topology:OVERLAP",
    "two-classes": "geolabel.validate.topology:TWO_CLASSES",
    "gap": "geolabel.validate.topology:GAP",
    "small": "geolabel.validate.limits:SMALL",
    "large": "geolabel.validate.limits:LARGE",
    "short": "geolabel.validate.limits:SHORT",
    "long": "geolabel.validate.limits:LONG",
    "outside": "geolabel.validate.limits:OUTSIDE",
    "nodata": "geolabel.validate.limits:NODATA",
    "class": "geolabel.validate.limits:UNKNOWN_CLASS",
    "shape-kind": "geolabel.validate.limits:WRONG_KIND",
    "grid": "geolabel.validate.limits:OFF_GRID",
}


@lru_cache(maxsize=1)
def rules() -> Registry[Rule]:
    """Return the registry of rules."""
    return Registry("geolabel.validators", BUILTIN_RULES)


def all_rules() -> list[Rule]:
    """Return every rule, by code."""
    registry = rules()
    return sorted((registry.get(name) for name in registry.names()), key=lambda rule: rule.spec.code)


def rule_named(name: str) -> Rule:
    """Return a rule by name or code.

    Raises:
        NotFoundError: there is none.
    """
    for rule in all_rules():
        if name in (rule.spec.name, rule.spec.code):
            return rule
    listed = ", ".join(f"{rule.spec.code} {rule.spec.name}" for rule in all_rules())
    raise NotFoundError(f"there is no rule {name!r}; there are {listed}")
