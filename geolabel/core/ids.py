"""Computed identities: the same content always gets the same id, so any step may run twice."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_ID_BYTES = 10
_REGION_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def canonical_json(value: Any) -> str:
    """Serialise a JSON value so that equal values give equal text (sorted keys, no spaces, no NaN).

    Raises:
        ValueError: the value holds NaN or an infinity, which JSON cannot carry.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(*parts: str | int | float | Mapping[str, Any] | Sequence[Any] | None) -> str:
    """Return 20 hex characters (80 bits of BLAKE2b) computed from the parts in order."""
    text = canonical_json(list(parts))
    return hashlib.blake2b(text.encode(), digest_size=_ID_BYTES).hexdigest()


def digest_bytes(chunks: Iterable[bytes]) -> str:
    """Return the sha256 of a byte stream as 64 hex characters."""
    state = hashlib.sha256()
    for chunk in chunks:
        state.update(chunk)
    return state.hexdigest()


def new_region_id() -> str:
    """Return a random region id of 12 letters and digits (71 bits), as Label Studio's own editor uses 10."""
    return "".join(secrets.choice(_REGION_ALPHABET) for _ in range(12))


def region_id(*parts: str | int | float | None) -> str:
    """Return a region id computed from its origin, so that predicting twice gives the same ids."""
    return digest("region", *parts)[:16]
