"""Start everything on this machine: Redis, Label Studio, the ML backend and a worker pool."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx

from geolabel.errors import AdapterError
from geolabel.local.installation import Installation, process_values
from geolabel.local.label_studio import LabelStudioServer, healthy
from geolabel.local.ports import require_free
from geolabel.local.processes import Child, child_environment
from geolabel.local.redis_server import answers, redis_child
from geolabel.local.status import STATE_FILE
from geolabel.local.supervisor import Supervisor, refuse_second
from geolabel.settings import PREFIX, Settings, process_environment

QUIET = ("label-studio", "redis")
TEMPLATES = Path(".cache") / "label-studio"


def check_before(installation: Installation) -> None:
    """Refuse what can't work, before anything is started.

    Raises:
        InputError: another GeoLabel runs in this folder, or a port is taken.
        AdapterError: a server that was named by its address does not answer.
    """
    settings = installation.settings
    refuse_second(settings.state_dir / STATE_FILE)
    if installation.own_label_studio:
        require_free(settings.local.label_studio_port, "Label Studio", f"{PREFIX}LOCAL__LABEL_STUDIO_PORT")
    elif not healthy(settings.labelstudio.url):
        raise AdapterError(
            f"Label Studio at {settings.labelstudio.url} (from LABEL_STUDIO_URL) does not answer. Start it, or unset "
            "LABEL_STUDIO_URL to have one started here."
        )
    require_free(settings.server.port, "the ML backend", f"{PREFIX}SERVER__PORT", settings.server.host)
    if not installation.own_redis and not answers(settings.redis.url.get_secret_value()):
        raise AdapterError(
            "The Redis that REDIS_URL names does not answer. Start it, or unset REDIS_URL to have one started here."
        )


def start_all(supervisor: Supervisor, installation: Installation) -> None:
    """Start all servers side by side, Redis first; return when all are ready.

    Raises:
        AdapterError: one of them does not start; the sentence carries the end of its log.
    """
    settings, base = installation.settings, process_environment()
    logs = settings.state_dir.absolute() / "logs"
    if installation.own_redis:
        folder = settings.state_dir.absolute() / "redis"
        supervisor.start([redis_child(folder, settings.local.redis_port, logs / "redis.log", base)], QUIET)
    children = []
    if installation.own_label_studio:
        server = label_studio_server(settings)
        if not (server.data_dir / "label_studio.sqlite3").is_file():
            supervisor.say("", "making Label Studio's database (about a minute, only the first time)")
        server.prepare(base)
        children.append(server.child(logs / "label-studio.log", base))
    children.append(backend_child(settings, logs / "backend.log", base))
    children.append(worker_child(settings, logs / "workers.log", base))
    supervisor.start(children, QUIET)


def label_studio_server(settings: Settings) -> LabelStudioServer:
    """Describe the Label Studio of this installation."""
    return LabelStudioServer(
        python_env=Path(settings.local.label_studio_env),
        data_dir=settings.state_dir.absolute() / "label-studio",
        port=settings.local.label_studio_port,
        email=settings.local.email,
        password=settings.local.password.get_secret_value(),
        token=settings.labelstudio.api_key.get_secret_value(),
        template_dir=TEMPLATES,
        extra_env={},
    )


def backend_child(settings: Settings, log: Path, base: Mapping[str, str]) -> Child:
    """Describe the ML backend's server."""
    url = f"http://{settings.server.host}:{settings.server.port}"
    argv = [sys.executable, "-m", "uvicorn", "ml_backend.app:create_app", "--factory", "--no-access-log"]
    argv += ["--host", settings.server.host, "--port", str(settings.server.port)]
    return _own_child("backend", argv, settings, log, base, lambda: _is_healthy(url))


def worker_child(settings: Settings, log: Path, base: Mapping[str, str]) -> Child:
    """Describe the worker pool, which keeps its own processes running."""
    argv = [sys.executable, "-m", "workers"]
    return _own_child("workers", argv, settings, log, base, lambda: True)


def _own_child(
    name: str, argv: list[str], settings: Settings, log: Path, base: Mapping[str, str], ready: Callable[[], bool]
) -> Child:
    env = child_environment(base, **process_values(settings))
    return Child(name=name, argv=argv, env=env, log=log, ready=ready, stop_s=30.0)


def _is_healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5.0, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
