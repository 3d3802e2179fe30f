"""Check everything that GeoLabel stands on, and say how to mend what is wrong."""

from __future__ import annotations

import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import httpx

from geolabel.errors import GeoLabelError
from geolabel.local.probe import LabelStudioProbe
from geolabel.services import Services
from geolabel.settings import Settings

Level = Literal["ok", "note", "wrong"]
NEEDED = (
    "numpy",
    "shapely",
    "pyproj",
    "rasterio",
    "rio-tiler",
    "pyogrio",
    "geopandas",
    "fastapi",
    "uvicorn",
    "redis",
    "rq",
)
MODELS = ("torch", "torchvision", "segment-geospatial", "onnxruntime", "label-studio-ml", "label-studio-sdk")
LOW_BYTES = 2_000_000_000
SECRET_HEADER = "X-GeoLabel-Secret"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of one check: what, how it is, and how to mend it ("" where nothing is to mend)."""

    what: str
    level: Level
    found: str
    mend: str = ""


def examine(services: Services, project_id: int | None = None) -> Iterator[Finding]:
    """Run every check; a check that fails itself is a finding as well.

    Args:
        services: What is looked at.
        project_id: Look at this project only, not at all.
    """
    settings = services.settings
    checks: list[Callable[[], Iterator[Finding]]] = [
        _python,
        lambda: _state(settings),
        lambda: _store(services),
        lambda: _redis(settings),
        lambda: _workers(settings),
        lambda: _backend(settings),
        lambda: _label_studio(settings, project_id),
    ]
    for check in checks:
        try:
            yield from check()
        except (GeoLabelError, OSError, httpx.HTTPError, ValueError) as error:
            yield Finding(what="check", level="wrong", found=str(error) or type(error).__name__)


def _python() -> Iterator[Finding]:
    found = ".".join(str(part) for part in sys.version_info[:3])
    good = sys.version_info >= (3, 11)
    yield Finding(what="Python", level="ok" if good else "wrong", found=found, mend="" if good else "Use Python 3.11.")
    for names, level, mend in (
        (NEEDED, "wrong", "Run `make env`."),
        (MODELS, "note", "Run `make env`; without it the predictors that need it are not offered."),
    ):
        absent = [name for name in names if _version(name) is None]
        text = ", ".join(f"{name} {_version(name)}" for name in names if name not in absent)
        yield Finding(what="packages", level="ok", found=text)
        if absent:
            yield Finding(
                what="packages",
                level="wrong" if level == "wrong" else "note",
                found=f"absent: {', '.join(absent)}",
                mend=mend,
            )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _state(settings: Settings) -> Iterator[Finding]:
    folder = settings.state_dir.absolute()
    if not folder.is_dir():
        yield Finding(what="state", level="note", found=f"{folder} is not there yet", mend="`geolabel up` makes it.")
        return
    free = shutil.disk_usage(folder).free
    low = free < LOW_BYTES
    yield Finding(
        what="disk",
        level="wrong" if low else "ok",
        found=f"{free / 1e9:.1f} GB free at {folder}",
        mend="Free some space, or set GEOLABEL_STATE_DIR to another disk." if low else "",
    )
    env = folder / "env"
    if env.is_file() and stat.S_IMODE(env.stat().st_mode) & 0o077:
        yield Finding(
            what="secrets", level="wrong", found=f"{env} can be read by others", mend=f"Run `chmod 600 {env}`."
        )


def _store(services: Services) -> Iterator[Finding]:
    uri = services.settings.store_uri
    try:
        store = services.store
        store.put("doctor/probe", b"probe")
        good = store.get("doctor/probe") == b"probe"
        store.delete("doctor/probe")
    except GeoLabelError as error:
        mend = "Check GEOLABEL_STORE__URI and the credentials of that object store (AWS_* and the like)."
        yield Finding(what="store", level="wrong", found=error.message, mend=mend)
        return
    yield Finding(
        what="store",
        level="ok" if good else "wrong",
        found=f"{uri} can be written and read" if good else f"{uri} gave back other bytes than were written",
        mend="" if good else "Use another store.",
    )


def _redis(settings: Settings) -> Iterator[Finding]:
    import redis

    url = settings.redis.url.get_secret_value()
    with redis.Redis.from_url(url, socket_connect_timeout=3, socket_timeout=3) as client:
        where = client.connection_pool.connection_kwargs
        shown = f"{where.get('host')}:{where.get('port')}"
        try:
            info: Any = client.info()
            persistent = client.config_get("appendonly")
        except redis.RedisError as error:
            yield Finding(
                what="Redis",
                level="wrong",
                found=f"{shown}: {error}",
                mend="Run `geolabel up`, or set REDIS_URL to one that runs.",
            )
            return
        yield Finding(what="Redis", level="ok", found=f"{shown}, version {info.get('redis_version')}")
        if persistent.get("appendonly") == "no":
            yield Finding(
                what="Redis",
                level="note",
                found="keeps nothing over a crash (appendonly is off)",
                mend="Set `appendonly yes` in its configuration, or queued jobs are lost when it dies.",
            )


def _workers(settings: Settings) -> Iterator[Finding]:
    import redis
    from rq import Queue, Worker

    with redis.Redis.from_url(settings.redis.url.get_secret_value(), socket_connect_timeout=3) as client:
        try:
            workers = Worker.all(connection=client)
            waiting = {queue.name: len(queue) for queue in Queue.all(connection=client)}
        except redis.RedisError:
            return
    text = ", ".join(f"{name} {count}" for name, count in sorted(waiting.items())) or "no queue used yet"
    yield Finding(
        what="workers",
        level="ok" if workers else "wrong",
        found=f"{len(workers)} registered; waiting: {text}",
        mend="" if workers else "Start one: `python -m workers` (or `geolabel up`).",
    )


def _backend(settings: Settings) -> Iterator[Finding]:
    url = settings.backend_url
    try:
        answer = httpx.get(f"{url}/health", timeout=5.0, trust_env=False)
    except httpx.HTTPError as error:
        yield Finding(
            what="backend",
            level="wrong",
            found=f"{url}: {type(error).__name__}",
            mend="Run `geolabel up`, or set GEOLABEL_SERVER__PUBLIC_URL to where it runs.",
        )
        return
    good = answer.status_code == httpx.codes.OK
    yield Finding(what="backend", level="ok" if good else "wrong", found=f"{url}/health answers {answer.status_code}")
    for name, value in (
        ("BASIC_AUTH_PASS", settings.server.basic_auth_pass.get_secret_value()),
        ("GEOLABEL_SERVER__WEBHOOK_SECRET", settings.server.webhook_secret.get_secret_value()),
        ("GEOLABEL_SERVER__SIGNING_SECRET", settings.server.signing_secret.get_secret_value()),
    ):
        if not value:
            yield Finding(
                what="secrets", level="wrong", found=f"{name} is not set", mend=f"Set {name} to a long random text."
            )


def _label_studio(settings: Settings, project_id: int | None) -> Iterator[Finding]:
    url = settings.labelstudio.url
    with LabelStudioProbe(url, settings.labelstudio.api_key.get_secret_value()) as probe:
        answered = probe.version()
        if answered is None:
            mend = "Run `geolabel up`, or set LABEL_STUDIO_URL to one that runs."
            yield Finding(what="Label Studio", level="wrong", found=f"{url} does not answer", mend=mend)
            return
        yield Finding(what="Label Studio", level="ok", found=f"{url}, version {answered}")
        problem = probe.login()
        if problem is not None:
            yield Finding(what="login", level="wrong", found=problem.found, mend=problem.mend)
            return
        yield Finding(what="login", level="ok", found=f"as {probe.email}")
        projects = probe.list("/api/projects/?page_size=100")
        for project in projects:
            if project_id not in {None, project["id"]}:
                continue
            yield from _project(settings, probe, project)


def _project(settings: Settings, probe: LabelStudioProbe, project: dict[str, Any]) -> Iterator[Finding]:
    what = f"project {project['id']}"
    backends = probe.list(f"/api/ml/?project={project['id']}")
    hooks = probe.list(f"/api/webhooks/?project={project['id']}")
    if not backends:
        mend = f"Run `geolabel setup --project {project['id']}`, or leave it if GeoLabel has nothing to do with it."
        yield Finding(what=what, level="note", found="no ML backend is connected", mend=mend)
        return
    first = backends[0]
    if len(backends) > 1:
        found = f"{len(backends)} backends; Label Studio asks only the first, {first['url']}"
        yield Finding(what=what, level="note", found=found, mend="Remove the others in Settings → Model.")
    if first.get("state") == "CO":
        yield Finding(what=what, level="ok", found=f"Label Studio reaches the backend at {first['url']}")
    else:
        words = str(first.get("error_message") or "no message")[:200]
        blocked = "reserved network" in words or "403" in words
        yield Finding(
            what=what,
            level="wrong",
            found=f"Label Studio does not reach {first['url']}: {words}",
            mend=(
                "Label Studio refuses private addresses: set LABEL_STUDIO_USE_DEFAULT_BANNED_SUBNETS=false and "
                "LABEL_STUDIO_USER_ADDITIONAL_BANNED_SUBNETS to the networks that stay refused, then start it again."
                if blocked
                else "Is the backend up, and are BASIC_AUTH_USER and BASIC_AUTH_PASS the same on both sides?"
            ),
        )
    yield from _webhooks(settings, what, first, hooks)
    if project.get("sampling") != "Uncertainty sampling":
        yield Finding(
            what=what,
            level="note",
            found=f"sampling is {project.get('sampling')!r}, so the queue does not follow predictions",
            mend="Choose Uncertainty sampling in Settings → Annotation, or run `geolabel select`.",
        )


def _webhooks(settings: Settings, what: str, backend: dict[str, Any], hooks: list[dict[str, Any]]) -> Iterator[Finding]:
    ours = [hook for hook in hooks if str(hook["url"]).startswith(backend["url"].rstrip("/"))]
    mend = "Run `geolabel setup` on the project again: it puts the webhook right."
    if not ours:
        found = "no webhook tells the backend of annotations"
        yield Finding(what=what, level="wrong", found=found, mend=mend)
    for hook in ours:
        headers = {name.lower(): value for name, value in (hook.get("headers") or {}).items()}
        if headers.get(SECRET_HEADER.lower()) != settings.server.webhook_secret.get_secret_value():
            found = f"its webhook {hook['id']} does not carry the secret in {SECRET_HEADER}; the backend refuses it"
            yield Finding(what=what, level="wrong", found=found, mend=mend)
        elif not hook.get("is_active", True):
            yield Finding(what=what, level="wrong", found=f"its webhook {hook['id']} is switched off", mend=mend)
        else:
            yield Finding(what=what, level="ok", found=f"webhook {hook['id']} is active and carries the secret")
