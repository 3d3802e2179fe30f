"""Signed addresses: right ones pass, everything else is refused."""

from __future__ import annotations

import pytest

from geolabel.core.signing import sign, verify
from geolabel.errors import AuthError


def test_a_signature_holds_for_its_path_and_query_only() -> None:
    """Changing path, a value, a name or the key breaks it; order does not matter."""
    query = {"s": "scene", "w": "0,0,512,512"}
    good = sign("key", "/chips/a.jpg", query)
    verify("key", "/chips/a.jpg", dict(reversed(query.items())), good, now_s=0)
    for secret, path, changed in (
        ("other", "/chips/a.jpg", query),
        ("key", "/chips/b.jpg", query),
        ("key", "/chips/a.jpg", {**query, "w": "0,0,4096,4096"}),
        ("key", "/chips/a.jpg", {**query, "x": "1"}),
    ):
        with pytest.raises(AuthError, match="wrong"):
            verify(secret, path, changed, good, now_s=0)
    with pytest.raises(AuthError, match="no signature"):
        verify("key", "/chips/a.jpg", query, "", now_s=0)
    with pytest.raises(AuthError, match="wrong"):
        verify("key", "/chips/a.jpg", query, "ü", now_s=0)


def test_expiry() -> None:
    """It is good until its moment, and what is signed can't be prolonged."""
    query = {"s": "scene", "e": "1000"}
    good = sign("key", "/p", query)
    verify("key", "/p", query, good, now_s=1000)
    with pytest.raises(AuthError, match="expired"):
        verify("key", "/p", query, good, now_s=1001)
    with pytest.raises(AuthError, match="wrong"):
        verify("key", "/p", {**query, "e": "9999"}, good, now_s=1001)
