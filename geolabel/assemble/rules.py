"""Rules as dataclasses, read from the JSON of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from geolabel.errors import InputError

R = TypeVar("R")


def read_rules(kind: type[R], value: Mapping[str, Any], what: str, *, ignore: tuple[str, ...] = ()) -> R:
    """Build a rules dataclass from JSON; lists become tuples, missing fields take their defaults.

    Raises:
        InputError: a field is unknown, or of a kind that the rules refuse.
    """
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(value) - known - set(ignore))
    if unknown:
        raise InputError(f"{what} has no rules {unknown}; it has {', '.join(sorted(known))}")
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items() if k in known}
    try:
        return kind(**given)
    except TypeError as error:
        raise InputError(f"{what} rules are wrong: {error}") from error
