"""Real servers for tests, started by the same code as `geolabel up`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import httpx
import redis

from geolabel.local.label_studio import LabelStudioServer
from geolabel.local.ports import LOOPBACK, free_port
from geolabel.local.processes import Child, Children, child_environment
from geolabel.local.redis_server import redis_child
from geolabel.services import Services
from geolabel.settings import Settings, load_settings

REDIS_DATABASES = 512
READY_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelStudioAccount:
    """A running Label Studio and who to log in as."""

    url: str
    token: str
    email: str
    password: str

    def client(self) -> httpx.Client:
        """A plain HTTP client, to ask Label Studio past our own adapter."""
        headers = {"Authorization": f"Token {self.token}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=120.0, trust_env=False)


@contextmanager
def own_redis(folder: Path) -> Iterator[str]:
    """Start a Redis with many databases."""
    port = free_port()
    child = redis_child(folder / "data", port, folder / "redis.log", os.environ)
    child.argv = [*child.argv, "--databases", str(REDIS_DATABASES)]
    with Children() as children:
        children.add(child)
        yield f"redis://{LOOPBACK}:{port}"


def redis_databases(server: str) -> Callable[[], str]:
    """Return a function that hands out one emptied database after the other, also between processes."""

    def new() -> str:
        with redis.Redis.from_url(f"{server}/0") as counter:
            count = int(counter.config_get("databases")["databases"])
            number = 1 + int(counter.incr("geolabel-test:databases")) % (count - 1)
        url = f"{server}/{number}"
        with redis.Redis.from_url(url) as client:
            client.flushdb()
        return url

    return new


@contextmanager
def own_label_studio(folder: Path, root: Path) -> Iterator[LabelStudioAccount]:
    """Start a Label Studio with a database of its own."""
    server = LabelStudioServer(
        python_env=root / ".venv-ls",
        data_dir=folder / "data",
        port=free_port(),
        email="admin@geolabel.example",
        password="geolabel-test-password",
        token="7e57" * 10,
        template_dir=root / ".cache" / "label-studio",
        extra_env={},
    )
    server.prepare(os.environ)
    with Children() as children:
        children.add(server.child(folder / "label-studio.log", os.environ))
        yield LabelStudioAccount(url=server.url, token=server.token, email=server.email, password=server.password)


class Stack:
    """A GeoLabel of its own (state folder, store, Redis database, ports) beside a shared Label Studio."""

    def __init__(self, labelstudio: LabelStudioAccount, redis_url: str, state_dir: Path, root: Path) -> None:
        self.labelstudio = labelstudio
        self.redis_url = redis_url
        self.state_dir = state_dir
        self.root = root
        self.port = free_port()
        self.webhook_secret = "test-webhook-secret"
        self.children: list[Child] = []

    @cached_property
    def env(self) -> dict[str, str]:
        """Variables of GeoLabel's own processes."""
        return {
            "GEOLABEL_STATE_DIR": str(self.state_dir),
            "LABEL_STUDIO_URL": self.labelstudio.url,
            "LABEL_STUDIO_API_KEY": self.labelstudio.token,
            "REDIS_URL": self.redis_url,
            "BASIC_AUTH_USER": "label-studio",
            "BASIC_AUTH_PASS": "test-backend-password",
            "GEOLABEL_SERVER__PORT": str(self.port),
            "GEOLABEL_SERVER__WEBHOOK_SECRET": self.webhook_secret,
            "GEOLABEL_SERVER__SIGNING_SECRET": "test-signing-secret",
        }

    @cached_property
    def settings(self) -> Settings:
        """The settings that those processes have."""
        return load_settings(self.env)

    @cached_property
    def services(self) -> Services:
        """Services of the test itself."""
        return Services(self.settings)

    @property
    def auth(self) -> tuple[str, str]:
        """User and password that the backend asks for."""
        return self.env["BASIC_AUTH_USER"], self.env["BASIC_AUTH_PASS"]

    def backend(self, workers: int = 1, *, port: int | None = None, **env: str) -> str:
        """Start a backend and return its address; without ``port`` it is the one of the settings."""
        port = self.port if port is None else port
        url = f"http://{LOOPBACK}:{port}"
        argv = [sys.executable, "-m", "uvicorn", "ml_backend.app:create_app", "--factory", "--host", LOOPBACK]
        argv += ["--port", str(port), "--no-access-log", "--workers", str(workers)]
        self._start("backend", argv, lambda: _answers(f"{url}/health"), env)
        return url

    def worker(self, *arguments: str, **env: str) -> Child:
        """Start a worker process on all queues."""
        argv = [sys.executable, "-m", "workers", *arguments]
        return self._start("worker", argv, lambda: True, env)

    def stop_child(self, child: Child) -> None:
        """Stop one of the processes before the module ends."""
        self.children.remove(child)
        child.stop()

    def stop(self) -> None:
        """Stop all processes, the last one first."""
        while self.children:
            self.children.pop().stop()
        opened = vars(self.services) if "services" in vars(self) else {}
        if "labelstudio" in opened:
            opened["labelstudio"].close()
        if "jobs" in opened:
            opened["jobs"].connection.close()

    def _start(self, name: str, argv: list[str], ready: Callable[[], bool], env: dict[str, str]) -> Child:
        number = len(self.children)
        child = Child(
            name=name,
            argv=argv,
            env=child_environment(os.environ, OMP_NUM_THREADS="1", **{**self.env, **env}),
            log=self.state_dir / "logs" / f"{name}-{number}.log",
            ready=ready,
            cwd=self.root,
            ready_s=READY_S,
        )
        self.children.append(child)
        child.start()
        child.wait_ready()
        return child


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5.0, trust_env=False).status_code < httpx.codes.INTERNAL_SERVER_ERROR
    except httpx.HTTPError:
        return False
