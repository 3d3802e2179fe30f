"""Connect the ML backend to a Label Studio project: address, login, and a webhook that carries our secret."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from geolabel.errors import LabelStudioError
from geolabel.services import Services

TITLE = "GeoLabel"
SECRET_HEADER = "X-GeoLabel-Secret"


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """The backend and the webhook of a project, as Label Studio numbers them."""

    backend_id: int
    webhook_id: int


def connect(services: Services, project_id: int, backend_url: str | None = None) -> Connected:
    """Connect the backend, or put an existing connection right; doing it again changes nothing.

    Args:
        services: For Label Studio and the secrets.
        project_id: Project.
        backend_url: Address of the backend as Label Studio reaches it, if that differs from the browsers' one.

    Raises:
        LabelStudioError: Label Studio refuses the address, or does not reach it; the sentence says what to change.
    """
    url = (backend_url or services.settings.backend_url).rstrip("/")
    return Connected(
        backend_id=_connect_backend(services, project_id, url), webhook_id=_connect_webhook(services, project_id, url)
    )


def _connect_backend(services: Services, project_id: int, url: str) -> int:
    labelstudio, server = services.labelstudio, services.settings.server
    fields: dict[str, Any] = {"title": TITLE, "is_interactive": True}
    if server.basic_auth_user:
        fields |= {
            "auth_method": "BASIC_AUTH",
            "basic_auth_user": server.basic_auth_user,
            "basic_auth_pass": server.basic_auth_pass.get_secret_value(),
        }
    known = [backend for backend in labelstudio.backends(project_id) if str(backend["url"]).rstrip("/") == url]
    try:
        if known:
            # The title stays as it is: changing it changes the project's model version as well.
            del fields["title"]
            return int(labelstudio.update_backend(known[0]["id"], url=url, project=project_id, **fields)["id"])
        return int(labelstudio.connect_backend(project_id, url, **fields)["id"])
    except LabelStudioError as error:
        if "reserved network" in error.message or "403" in error.message:
            raise LabelStudioError(
                f"Label Studio refuses {url} since it is a private address. Start it with "
                "LABEL_STUDIO_USE_DEFAULT_BANNED_SUBNETS=false and LABEL_STUDIO_USER_ADDITIONAL_BANNED_SUBNETS set to "
                "the networks that stay refused (docs/architecture.md)."
            ) from error
        raise


def _connect_webhook(services: Services, project_id: int, url: str) -> int:
    labelstudio = services.labelstudio
    secret = services.settings.server.webhook_secret.get_secret_value()
    fields: dict[str, Any] = {
        "headers": {SECRET_HEADER: secret} if secret else {},
        "send_payload": True,
        "send_for_all_actions": True,
        "is_active": True,
    }
    target = f"{url}/webhook"
    ours = [hook for hook in labelstudio.webhooks(project_id) if str(hook["url"]).rstrip("/") == target]
    if ours:
        return int(labelstudio.update_webhook(ours[0]["id"], url=target, **fields)["id"])
    return int(labelstudio.create_webhook(project_id, target, **fields)["id"])
