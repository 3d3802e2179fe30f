"""Signatures in addresses: whoever holds one may see one picture, until it expires."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping

from geolabel.errors import AuthError

_BYTES = 18  # 144 bits


def sign(secret: str, path: str, query: Mapping[str, str]) -> str:
    """Return the signature of a path and its query (order does not matter): 24 characters."""
    text = path + "?" + "&".join(f"{name}={query[name]}" for name in sorted(query))
    mac = hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest()[:_BYTES]
    return base64.urlsafe_b64encode(mac).decode()


def verify(secret: str, path: str, query: Mapping[str, str], signature: str, *, now_s: float) -> None:
    """Check a signature in constant time, then the expiry `e` (Unix seconds; absent or 0: never).

    Raises:
        AuthError: it is missing, wrong or expired.
    """
    if not secret or not signature:
        raise AuthError("this address carries no signature; take it from the task, where it was signed")
    if not hmac.compare_digest(sign(secret, path, query).encode(), signature.encode("utf-8", "replace")):
        raise AuthError("the signature of this address is wrong; take the address from the task as it is")
    expiry = query.get("e", "0")
    if not expiry.isdigit():
        raise AuthError("the expiry of this address is no number")
    if int(expiry) and now_s > int(expiry):
        raise AuthError("this address has expired; run `geolabel ingest` again to sign the project's addresses anew")
