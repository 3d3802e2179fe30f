"""Who may ask: Label Studio and operators by Basic login, webhooks by a secret header."""

from __future__ import annotations

import base64
import binascii
import hmac

from fastapi import Request

from geolabel.errors import AuthError
from geolabel.pipeline.connect import SECRET_HEADER
from geolabel.services import Services


def _services(request: Request) -> Services:
    services = request.app.state.services
    if not isinstance(services, Services):
        raise TypeError("app.state.services must be Services")
    return services


def require_login(request: Request) -> None:
    """Refuse a request without the Basic login of the settings; with none set, all may ask.

    Raises:
        AuthError: the login is missing or wrong.
    """
    group = _services(request).settings.server
    if not group.basic_auth_user:
        return
    expected = f"{group.basic_auth_user}:{group.basic_auth_pass.get_secret_value()}".encode()
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    try:
        given = base64.b64decode(text, validate=True) if scheme.lower() == "basic" else b""
    except (binascii.Error, ValueError):
        given = b""
    if not hmac.compare_digest(given, expected):
        raise AuthError(
            "this address needs the Basic login of the backend (BASIC_AUTH_USER, BASIC_AUTH_PASS); "
            "set it in Label Studio under Settings → Model"
        )


def require_login_or_token(request: Request) -> None:
    """Let a program with the API token of the settings in; everyone else needs the Basic login.

    Raises:
        AuthError: neither is right.
    """
    expected = _services(request).settings.server.api_token.get_secret_value()
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        if expected and hmac.compare_digest(given.strip().encode(), expected.encode()):
            return
        raise AuthError("the API token is wrong; it must be that of GEOLABEL_SERVER__API_TOKEN")
    require_login(request)


def require_secret(request: Request) -> None:
    """Refuse a webhook without the secret header; with no secret set, all are refused but from this machine.

    Raises:
        AuthError: the header is missing or wrong.
    """
    secret = _services(request).settings.server.webhook_secret.get_secret_value()
    given = request.headers.get(SECRET_HEADER, "")
    if not secret:
        host = request.client.host if request.client else ""
        if host in ("127.0.0.1", "::1", "testclient"):
            return
        raise AuthError(
            "webhooks are refused because no secret is set; set GEOLABEL_SERVER__WEBHOOK_SECRET, "
            "then run `geolabel setup`"
        )
    if not hmac.compare_digest(given.encode(), secret.encode()):
        raise AuthError(
            f"the webhook's header {SECRET_HEADER} is missing or wrong; `geolabel setup` writes the right one "
            "into Label Studio"
        )
