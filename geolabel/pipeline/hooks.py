"""What follows an export: a signed webhook, a copy to a bucket, the start of a training command.

Hooks are described by the operator in the store under `hooks.json` and named by whoever starts an export: a job's
payload can choose among them and never bring a command or an address of its own.
"""

from __future__ import annotations

import hashlib
import hmac
import shlex
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import httpx

from geolabel.core.ids import canonical_json, digest
from geolabel.core.manifest import Manifest
from geolabel.errors import AdapterError, InputError, NotFoundError
from geolabel.pipeline import versions
from geolabel.services import Services

HOOKS_KEY = "hooks.json"
SIGNATURE = "X-GeoLabel-Signature"
IDEMPOTENCY = "Idempotency-Key"
_TRIES = 5
_TIMEOUT_S = 10.0
_COMMAND_S = 3600.0


def read_hooks(services: Services) -> dict[str, dict[str, Any]]:
    """Return the hooks that the operator described, by name."""
    try:
        value = services.store.get_json(HOOKS_KEY)
    except NotFoundError:
        return {}
    if not isinstance(value, dict) or not all(isinstance(v, dict) for v in value.values()):
        raise InputError(f"{HOOKS_KEY} in the store must map names to objects with kind webhook, copy or command")
    return value


def run_hooks(
    services: Services, manifest: Manifest, names: Sequence[str], *, pause_s: float = 1.0
) -> list[dict[str, Any]]:
    """Run hooks by name after an export; one that fails does not keep the others from running.

    Returns:
        One object a hook: name, done, detail.

    Raises:
        NotFoundError: a hook is not described.
    """
    known = read_hooks(services)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise NotFoundError(f"there are no hooks {unknown}; {HOOKS_KEY} describes {sorted(known) or 'none'}")
    kinds = {"webhook": _webhook, "copy": _copy, "command": _command}
    out = []
    for name in names:
        kind = str(known[name].get("kind"))
        if kind not in kinds:
            raise InputError(f"hook {name!r} is of kind {kind!r}; known are {', '.join(kinds)}")
        try:
            detail = kinds[kind](services, manifest, name, known[name], pause_s)
            out.append({"name": name, "done": True, "detail": detail})
        except (AdapterError, InputError) as error:
            out.append({"name": name, "done": False, "detail": error.message})
    return out


def sign(secret: str, timestamp: int, body: bytes) -> str:
    """Return the signature header: t=seconds,v1=HMAC-SHA256 of "seconds.body"."""
    mac = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={mac}"


def _webhook(services: Services, manifest: Manifest, name: str, hook: Mapping[str, Any], pause_s: float) -> str:
    del services
    body = canonical_json(
        {"event": "dataset.version", "project": manifest.project, "version": manifest.version,
         "number": manifest.number, "counts": dict(manifest.counts), "parents": list(manifest.parents)}
    ).encode()  # fmt: skip
    key = digest("hook", name, manifest.project, manifest.version)
    last = "no answer"
    for attempt in range(int(hook.get("tries", _TRIES))):
        if attempt:
            time.sleep(min(60.0, pause_s * 2 ** (attempt - 1)))
        headers = {"Content-Type": "application/json", IDEMPOTENCY: key}
        if hook.get("secret"):
            headers[SIGNATURE] = sign(str(hook["secret"]), int(time.time()), body)
        try:
            answer = httpx.post(str(hook["url"]), content=body, headers=headers, timeout=_TIMEOUT_S)
        except httpx.HTTPError as error:
            last = str(error) or type(error).__name__
            continue
        if answer.is_success:
            return f"answered {answer.status_code} at try {attempt + 1}"
        last = f"answered {answer.status_code}"
        if answer.status_code < 500 and answer.status_code not in (408, 429):
            break
    raise AdapterError(f"hook {name!r}: {hook.get('url')} did not take the message: {last}")


def _copy(services: Services, manifest: Manifest, name: str, hook: Mapping[str, Any], pause_s: float) -> str:
    from geolabel.adapters.store import Store

    del name, pause_s
    target = Store(str(hook["to"]))
    key = versions.prefix(manifest.project, manifest.version)
    for path in [
        *(entry.path for entry in manifest.files),
        "manifest.json",
    ]:  # the manifest last: complete or not there
        with services.store.local_path(f"{key}/{path}") as file:
            target.put_file(f"{key}/{path}", file)
    return f"{len(manifest.files) + 1} files at {hook['to']}"


def _command(services: Services, manifest: Manifest, name: str, hook: Mapping[str, Any], pause_s: float) -> str:
    del pause_s
    key = versions.prefix(manifest.project, manifest.version)
    local = services.store.folder(key)
    values = {
        "project": manifest.project, "version": manifest.version, "number": str(manifest.number),
        "uri": f"{services.store.uri.rstrip('/')}/{key}", "path": str(local or ""),
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="geolabel-hook-") as folder:
        if hook.get("spec"):
            spec = Path(folder) / "spec"
            spec.write_text(Template(str(hook["spec"])).safe_substitute(values), encoding="utf-8")
            values["spec"] = str(spec)
        given = hook["command"]
        words = shlex.split(given) if isinstance(given, str) else [str(word) for word in given]
        words = [Template(word).safe_substitute(values) for word in words]
        try:
            ran = subprocess.run(
                words, capture_output=True, text=True, timeout=float(hook.get("timeout_s", _COMMAND_S)), check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise AdapterError(f"hook {name!r}: {words[0]} could not run: {error}") from error
    if ran.returncode:
        raise AdapterError(f"hook {name!r}: {words[0]} ended with {ran.returncode}: {ran.stderr.strip()[-300:]}")
    return ran.stdout.strip()[-300:] or f"{words[0]} ended with 0"
