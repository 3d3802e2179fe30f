"""Ask a Label Studio how it is, past our own client, so that a wrong answer can be told apart from no answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import httpx

TIMEOUT_S = 30.0
LEGACY = re.compile(r"[0-9a-fA-F]{40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginProblem:
    """Why a login fails, and what mends it."""

    found: str
    mend: str


class LabelStudioProbe:
    """A plain HTTP client with either kind of token.

    Args:
        url: Address of Label Studio.
        token: Personal access token or legacy token; it may be wrong or empty.
    """

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.token = token
        self.email = ""
        self._http = httpx.Client(base_url=url, timeout=TIMEOUT_S, trust_env=False)

    def __enter__(self) -> LabelStudioProbe:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def version(self) -> str | None:
        """Return its version, or None when it does not answer."""
        try:
            answer = self._http.get("/api/version", timeout=10.0)
            return str(answer.json().get("release") or "unknown")
        except (httpx.HTTPError, ValueError):
            return None

    def login(self) -> LoginProblem | None:
        """Log in; return what is wrong, or None."""
        page = f"{self.url}/user/account"
        if not self.token:
            return LoginProblem(
                found="LABEL_STUDIO_API_KEY is not set", mend=f"Copy a personal access token from {page} into it."
            )
        legacy = LEGACY.fullmatch(self.token) is not None
        if legacy:
            self._http.headers["Authorization"] = f"Token {self.token}"
        else:
            answer = self._http.post("/api/token/refresh/", json={"refresh": self.token})
            if answer.is_error:
                return LoginProblem(
                    found=f"the personal access token is refused ({answer.status_code})",
                    mend=f"Make a new one on {page} and put it into LABEL_STUDIO_API_KEY.",
                )
            self._http.headers["Authorization"] = f"Bearer {answer.json()['access']}"
        answer = self._http.get("/api/current-user/whoami")
        if answer.status_code == httpx.codes.UNAUTHORIZED and legacy:
            return LoginProblem(
                found=f"the legacy token is refused: {answer.json().get('detail', '')}",
                mend=(
                    "If legacy tokens are switched off, switch them on in the organisation's settings, or put a "
                    f"personal access token from {page} into LABEL_STUDIO_API_KEY."
                ),
            )
        if answer.is_error:
            return LoginProblem(found=f"the token is refused ({answer.status_code})", mend=f"Make a new one on {page}.")
        self.email = str(answer.json().get("email", ""))
        return None

    def list(self, path: str) -> list[dict[str, Any]]:
        """Return the rows of a listing, whether it is paged or not; none when it is refused."""
        answer = self._http.get(path)
        if answer.is_error:
            return []
        found: Any = answer.json()
        rows = found.get("results", []) if isinstance(found, dict) else found
        return [dict(row) for row in rows]
