"""What one installation keeps between runs: ports and secrets that it made for itself, in ``<state>/env``."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geolabel.errors import AdapterError, ConfigError
from geolabel.local.ports import LOOPBACK, free_port, is_free
from geolabel.settings import PREFIX, Settings, load_settings, read_env_file

BACKEND_USER = "label-studio"
NEEDED_BYTES = 500_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """Complete settings, and which servers are ours to start."""

    settings: Settings
    own_redis: bool
    own_label_studio: bool


def prepare(environ: Mapping[str, str] | None = None, **overrides: Any) -> Installation:
    """Fill in every secret and port that this installation has not got yet, and keep them for later runs.

    Args:
        environ: As for :func:`geolabel.settings.load_settings`.
        **overrides: As there.

    Raises:
        ConfigError: Label Studio's address was given without a token.
        AdapterError: the state folder can't be written, or the disk is nearly full.
    """
    person = load_settings(environ, kept=False, **overrides)
    own_redis = "url" not in person.redis.model_fields_set
    own_label_studio = "url" not in person.labelstudio.model_fields_set
    if not own_label_studio and not person.labelstudio.api_key.get_secret_value():
        raise ConfigError(
            f"LABEL_STUDIO_URL is {person.labelstudio.url}, so that Label Studio is used; LABEL_STUDIO_API_KEY is "
            "missing. Copy a token from its Account & Settings page, or unset LABEL_STUDIO_URL to start one here."
        )
    before = load_settings(environ, **overrides)
    values = read_env_file(before.state_dir / "env")
    server = before.server
    values["BASIC_AUTH_USER"] = server.basic_auth_user or BACKEND_USER
    values["BASIC_AUTH_PASS"] = server.basic_auth_pass.get_secret_value() or secrets.token_urlsafe(24)
    for name in ("webhook_secret", "signing_secret"):
        secret = getattr(server, name).get_secret_value() or secrets.token_urlsafe(24)
        values[f"{PREFIX}SERVER__{name}".upper()] = secret
    values[f"{PREFIX}SERVER__PORT"] = str(server.port)
    if own_label_studio:
        port = before.local.label_studio_port
        values[f"{PREFIX}LOCAL__LABEL_STUDIO_PORT"] = str(port)
        values["LABEL_STUDIO_URL"] = f"http://{LOOPBACK}:{port}"
        values["LABEL_STUDIO_API_KEY"] = before.labelstudio.api_key.get_secret_value() or secrets.token_hex(20)
    if own_redis:
        port = before.local.redis_port
        if port == 0 or not is_free(port):
            port = free_port()
        values[f"{PREFIX}LOCAL__REDIS_PORT"] = str(port)
        values["REDIS_URL"] = f"redis://{LOOPBACK}:{port}/5"
    _write(before.state_dir, values)
    settings = load_settings(environ, **overrides)
    return Installation(settings=settings, own_redis=own_redis, own_label_studio=own_label_studio)


def _write(folder: Path, values: dict[str, str]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < NEEDED_BYTES:
            raise AdapterError(
                f"Only {free // 1_000_000} MB are free where {folder.absolute()} lies; GeoLabel needs at least "
                f"{NEEDED_BYTES // 1_000_000} MB. Free some space, or choose another folder by GEOLABEL_STATE_DIR."
            )
        partial = folder / "env.partial"
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as target:
            target.write(
                "# Written by `geolabel up`: what this installation uses. Holds secrets; keep it to yourself.\n"
            )
            target.writelines(f"{name}={value}\n" for name, value in sorted(values.items()))
        partial.replace(folder / "env")
    except OSError as error:
        raise AdapterError(
            f"{folder.absolute()} can't be written: {error.strerror}. Choose another folder by GEOLABEL_STATE_DIR."
        ) from error


def process_values(settings: Settings) -> dict[str, str]:
    """Turn settings into variables for our own processes."""
    values: dict[str, str] = {}
    for name in Settings.model_fields:
        group = getattr(settings, name)
        if not hasattr(group, "model_dump"):
            values[f"{PREFIX}{name}".upper()] = str(group)
            continue
        for inner in type(group).model_fields:
            value = getattr(group, inner)
            if hasattr(value, "get_secret_value"):
                value = value.get_secret_value()
            text = ",".join(value) if isinstance(value, list) else str(value)
            values[f"{PREFIX}{name}__{inner}".upper()] = text
    values[f"{PREFIX}STATE_DIR"] = str(settings.state_dir.absolute())
    return values
