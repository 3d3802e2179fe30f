"""All settings, read once: from the environment, from ``.env`` and from what ``geolabel up`` wrote.

No other module reads the environment. Names have the prefix ``GEOLABEL_`` and two underscores between group and field
(``GEOLABEL_CHIPS__SIZE_PX=1024``); the names that the Label Studio ML examples use are honoured as well (``ALIASES``).
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from geolabel.errors import ConfigError

PREFIX = "GEOLABEL_"
TEST_PREFIX = "GEOLABEL_TEST_"
STATE_DIR_VARIABLE = "GEOLABEL_STATE_DIR"

#: Environment names of the Label Studio ML examples, and the setting that each one fills.
ALIASES: dict[str, tuple[str, str]] = {
    "LABEL_STUDIO_URL": ("labelstudio", "url"),
    "LABEL_STUDIO_API_KEY": ("labelstudio", "api_key"),
    "REDIS_URL": ("redis", "url"),
    "BASIC_AUTH_USER": ("server", "basic_auth_user"),
    "BASIC_AUTH_PASS": ("server", "basic_auth_pass"),
}


class Group(BaseModel):
    """A group of settings; a name that it does not know is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LabelStudioSettings(Group):
    """Where Label Studio is and how we log in."""

    url: str = Field("http://127.0.0.1:8080", description="Address of Label Studio, as this machine reaches it.")
    api_key: SecretStr = Field(
        SecretStr(""), description="Personal access token or legacy token of the account that GeoLabel acts as."
    )
    timeout_s: float = Field(60.0, gt=0, description="Longest wait for one answer of Label Studio.")
    import_batch: int = Field(500, ge=1, le=5000, description="Tasks or predictions sent in one request.")


class RedisSettings(Group):
    """The job queue."""

    url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/5"), description="Address of Redis or Valkey, with the database number."
    )
    prefix: str = Field("geolabel", description="Start of every key that is not RQ's own.")


class StoreSettings(Group):
    """Where scenes, chips, embeddings, models and exports are kept."""

    uri: str = Field("", description="Folder, s3://, gs:// or az:// address. Empty: the folder `store` in `state_dir`.")


class ScenesSettings(Group):
    """Which rasters may be opened."""

    roots: list[str] = Field(
        default_factory=list,
        description="Folders and URL prefixes that scenes may be opened from. Empty: any that an operator registers.",
    )


class ChipsSettings(Group):
    """How scenes are cut and shown."""

    size_px: int = Field(512, ge=64, le=4096, description="Edge of a chip.")
    overlap: float = Field(0.125, ge=0, lt=0.9, description="Share of the edge that neighbouring chips have in common.")
    format: Literal["jpg", "png", "webp"] = Field("jpg", description="Image format of chips in Label Studio.")
    cache_bytes: int = Field(1_000_000_000, ge=0, description="Size of the disk cache of rendered chips.")
    url_ttl_s: int = Field(
        0, ge=0, description="How long a signed chip address is good. 0: as long as the secret stays."
    )


class PredictSettings(Group):
    """How predictions are made."""

    device: str = Field("auto", description="torch device: auto, cpu, cuda, cuda:1, mps.")
    inline_tasks: int = Field(64, ge=0, description="Tasks that /predict tries to answer itself before it queues.")
    inline_s: float = Field(40.0, gt=0, description="Time that /predict takes at most; Label Studio waits 100 s.")
    interactive: str = Field(
        "auto",
        description="What answers clicks: auto, graphcut (no weights), a model of the catalog, or a checkpoint's path.",
    )
    embedding_cache_bytes: int = Field(
        1_000_000_000, ge=0, description="Memory per process for image embeddings of clicks; one takes about 23 MB."
    )
    threads: int = Field(0, ge=0, description="Threads of torch in one process. 0: torch decides.")


class JobsSettings(Group):
    """Workers and queues."""

    timeout_s: int = Field(3600, gt=0, description="Longest run of one job.")
    retries: int = Field(3, ge=0, description="How often a job is tried again, where its error allows that.")
    result_ttl_s: int = Field(7 * 86400, gt=0, description="How long results and failures of jobs can be asked for.")
    reconcile_s: float = Field(
        300.0, ge=0, description="How often Label Studio is searched for events that never arrived. 0: never."
    )
    workers: int = Field(1, ge=1, description="Processes of the worker pool that `geolabel up` starts.")


class LoopSettings(Group):
    """Active learning: when the queue is ordered anew and when a model learns again."""

    enabled: bool = Field(True, description="Whether annotations lead to training by themselves.")
    sampler: str = Field("mix", description="Sampler that orders the queue; `geolabel select --list` names all.")
    retrain_after: int = Field(10, ge=1, description="New or changed annotations after which a project learns again.")
    retrain_wait_s: float = Field(600.0, gt=0, description="Time after which fewer annotations are learned as well.")
    rank_wait_s: float = Field(3.0, ge=0, description="Pause in which events are gathered before the queue is ordered.")
    holdout: float = Field(0.2, ge=0, le=0.5, description="Share of blocks of the map kept apart to judge models.")
    holdout_block_m: float = Field(0.0, ge=0, description="Width of those blocks, metres. 0: three chips.")
    rank_most: int = Field(400, ge=1, description="Tasks that the sampler orders; the rest follows by doubt alone.")
    column_tasks: int = Field(50, ge=0, description="First tasks of the queue that show rank and reason as columns.")
    clusters: bool = Field(
        False, description="Also write clusters: Label Studio then serves what each person has seen least, before rank."
    )


class ServerSettings(Group):
    """The ML backend's own HTTP server."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(9090, ge=0, le=65535, description="Port to listen on.")
    public_url: str = Field(
        "", description="Address of the backend as browsers and Label Studio reach it. Empty: http://host:port."
    )
    basic_auth_user: str = Field("", description="User name that Label Studio must send. Empty: no login is asked.")
    basic_auth_pass: SecretStr = Field(SecretStr(""), description="Password that belongs to it.")
    api_token: SecretStr = Field(
        SecretStr(""),
        description="Token that programs may send instead of the login, as `Authorization: Bearer …`, to /v1.",
    )
    webhook_secret: SecretStr = Field(
        SecretStr(""), description="Value of the header X-GeoLabel-Secret that webhooks must carry."
    )
    signing_secret: SecretStr = Field(
        SecretStr(""), description="Key of the signature in chip addresses. Empty: one is made and kept in `state_dir`."
    )
    cors_origins: list[str] = Field(
        default_factory=list, description="Origins whose pages may read chips. Empty: Label Studio's own address."
    )
    body_max_bytes: int = Field(100_000_000, gt=0, description="Largest request body that is read.")


class LocalSettings(Group):
    """What `geolabel up` starts on this machine."""

    label_studio_port: int = Field(8080, ge=0, le=65535, description="Port of the Label Studio that `up` starts.")
    redis_port: int = Field(0, ge=0, le=65535, description="Port of the Redis that `up` starts. 0: a free one, kept.")
    label_studio_env: str = Field(
        ".venv-ls", description="Environment that Label Studio is installed in (it can't share ours)."
    )
    email: str = Field("admin@geolabel.example", description="Login of the first account in Label Studio.")
    password: SecretStr = Field(SecretStr("geolabel-demo"), description="Its password.")


class Settings(BaseSettings):
    """Every setting. Build it by :func:`load_settings`, which also finds misspelt names."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="ignore", frozen=True, env_ignore_empty=True
    )

    state_dir: Path = Field(Path(".geolabel"), description="Folder of everything that GeoLabel keeps on this machine.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="How much is logged.")
    labelstudio: LabelStudioSettings = Field(default_factory=LabelStudioSettings)
    redis: RedisSettings = Field(default_factory=RedisSettings)
    store: StoreSettings = Field(default_factory=StoreSettings)
    scenes: ScenesSettings = Field(default_factory=ScenesSettings)
    chips: ChipsSettings = Field(default_factory=ChipsSettings)
    predict: PredictSettings = Field(default_factory=PredictSettings)
    jobs: JobsSettings = Field(default_factory=JobsSettings)
    loop: LoopSettings = Field(default_factory=LoopSettings)
    server: ServerSettings = Field(default_factory=ServerSettings)
    local: LocalSettings = Field(default_factory=LocalSettings)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values only from what :func:`load_settings` hands in, so that one place decides what wins."""
        return (init_settings,)

    @property
    def store_uri(self) -> str:
        """Address of the store, the default filled in."""
        return self.store.uri or str(self.state_dir.absolute() / "store")

    @property
    def backend_url(self) -> str:
        """Address of the backend as browsers and Label Studio reach it, without a slash at its end."""
        return (self.server.public_url or f"http://{self.server.host}:{self.server.port}").rstrip("/")


#: Names with our prefix that only docker-compose.yml reads, from the same ``.env``.
COMPOSE_NAMES = frozenset(
    f"{PREFIX}{name}"
    for name in (
        "IMAGE",
        "LS_IMAGE",
        "RASTERS",
        "LS_TOKEN",
        "LS_PORT",
        "BACKEND_PORT",
        "BASIC_PASSWORD",
        "HOOK_SECRET",
        "SIGNING_KEY",
        "ADMIN_EMAIL",
        "ADMIN_PASSWORD",
    )
)


def load_settings(environ: Mapping[str, str] | None = None, *, kept: bool = True, **overrides: Any) -> Settings:
    """Read all settings.

    What wins, first to last: ``overrides``, the environment, the aliases in the environment, the file ``.env`` in the
    current folder, the file ``env`` in the state folder (written by ``geolabel up``), the defaults.

    Args:
        environ: Instead of the process environment; then no ``.env`` of the current folder is read either.
        kept: Whether to read what ``geolabel up`` wrote.
        **overrides: Values by top-level name; a group is given as a dict and laid over the rest field by field.

    Raises:
        ConfigError: a name is unknown or a value is not of its kind.
    """
    current = os.environ if environ is None else environ
    layers = [_from_variables(current)]
    layers.append(_from_aliases(current))
    if environ is None:
        dotenv = read_env_file(Path(".env"))
        layers += [_from_variables(dotenv), _from_aliases(dotenv)]
    merged: dict[str, Any] = {}
    for layer in [overrides, *layers]:
        _fill(merged, layer)
    state_dir = Path(merged.get("state_dir") or Settings.model_fields["state_dir"].default)
    written = read_env_file(state_dir / "env") if kept else {}
    for layer in (_from_variables(written), _from_aliases(written)):
        _fill(merged, layer)
    try:
        return Settings(**merged)
    except ValidationError as error:
        raise ConfigError(_sentence(error)) from None


def process_environment() -> dict[str, str]:
    """Copy the environment of this process, to hand it on to a child."""
    return dict(os.environ)


def variable_names() -> dict[str, tuple[str, ...]]:
    """Map every environment name to the path of its setting."""
    names: dict[str, tuple[str, ...]] = {}
    for name, field in Settings.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Group):
            for inner in kind.model_fields:
                names[f"{PREFIX}{name}__{inner}".upper()] = (name, inner)
        else:
            names[f"{PREFIX}{name}".upper()] = (name,)
    return names


def _from_variables(environ: Mapping[str, str]) -> dict[str, Any]:
    known = variable_names()
    found: dict[str, Any] = {}
    for name, value in environ.items():
        upper = name.upper()
        if not upper.startswith(PREFIX) or upper.startswith(TEST_PREFIX) or upper in COMPOSE_NAMES or value == "":
            continue
        if upper not in known:
            near = difflib.get_close_matches(upper, known, n=3, cutoff=0.5)
            raise ConfigError(f"Unknown setting {name}. Nearest names: {', '.join(near) or 'none'}.")
        _set(found, known[upper], value)
    return found


def _from_aliases(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, path in ALIASES.items():
        if environ.get(name):
            _set(found, path, environ[name])
    return found


def _set(target: dict[str, Any], path: tuple[str, ...], value: str) -> None:
    field = Settings.model_fields[path[0]]
    if len(path) == 2:
        group = field.annotation
        if not (isinstance(group, type) and issubclass(group, Group)):
            raise ConfigError(f"{path[0]} is not a group of settings.")
        field = group.model_fields[path[1]]
        target = target.setdefault(path[0], {})
    is_list = "list" in str(field.annotation)
    target[path[-1]] = [part.strip() for part in value.split(",") if part.strip()] if is_list else value


def _fill(merged: dict[str, Any], layer: Mapping[str, Any]) -> None:
    """Lay ``layer`` under ``merged``: what is set already stays."""
    for name, value in layer.items():
        if isinstance(value, BaseModel):
            value = value.model_dump(exclude_unset=True)
        if isinstance(value, Mapping):
            _fill(merged.setdefault(name, {}), value)
        else:
            merged.setdefault(name, value)


def read_env_file(path: Path) -> dict[str, str]:
    """Read lines of ``NAME=value``; an absent file holds none."""
    if not path.is_file():
        return {}
    values: dict[str, str] = {}
    for line in path.read_text("utf-8").splitlines():
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and not name.startswith("#"):
            values[name.strip()] = value.strip().strip("\"'")
    return values


def _sentence(error: ValidationError) -> str:
    parts = []
    for item in error.errors(include_url=False, include_input=False):
        name = f"{PREFIX}{'__'.join(str(part) for part in item['loc'][:2])}".upper()
        parts.append(f"{name}: {item['msg']}")
    return "Wrong setting. " + "; ".join(parts) + "."
