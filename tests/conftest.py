"""Fixtures of all tests: real servers of our own on free ports, stopped by process id.

``GEOLABEL_TEST_LS_URL`` with ``GEOLABEL_TEST_LS_TOKEN`` (and ``_EMAIL``, ``_PASSWORD``) and ``GEOLABEL_TEST_REDIS_URL``
make tests use servers that already run. ``GEOLABEL_TEST_DATA`` says where real data lies.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from tests.servers import LabelStudioAccount, Stack, own_label_studio, own_redis, redis_databases

ROOT = Path(__file__).parent.parent
KINDS = ("integration", "e2e", "docker")

hypothesis_settings.register_profile(
    "repeatable",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
hypothesis_settings.register_profile("explore", deadline=None, max_examples=1000)
hypothesis_settings.load_profile(os.environ.get("GEOLABEL_TEST_HYPOTHESIS", "repeatable"))


def pytest_configure(config: pytest.Config) -> None:
    """Keep the person's own GeoLabel, and their shell's settings, out of the tests."""
    for name in list(os.environ):
        ours = name.startswith("GEOLABEL_") and not name.startswith("GEOLABEL_TEST_")
        if ours or name.startswith(("LABEL_STUDIO_", "BASIC_AUTH_")) or name == "REDIS_URL":
            del os.environ[name]
    folder = tempfile.TemporaryDirectory(prefix="geolabel-test-state-")
    config.add_cleanup(folder.cleanup)
    os.environ["GEOLABEL_STATE_DIR"] = folder.name


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests by their folder; docker tests run only when asked for."""
    for item in items:
        parts = item.path.relative_to(ROOT).parts
        for kind in KINDS:
            if kind in parts:
                item.add_marker(getattr(pytest.mark, kind))
        if "docker" in parts and "docker" not in (config.option.markexpr or ""):
            item.add_marker(pytest.mark.skip(reason="builds images for minutes: run `make test-docker`"))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the real data, described by its MANIFEST.csv."""
    folder = Path(os.environ.get("GEOLABEL_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not (folder / "MANIFEST.csv").is_file():
        pytest.skip(f"no real data in {folder}; set GEOLABEL_TEST_DATA to the folder that holds MANIFEST.csv")
    return folder


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a Redis without a database number."""
    given = os.environ.get("GEOLABEL_TEST_REDIS_URL")
    if given:
        yield given.rstrip("/").rsplit("/", 1)[0] if given.count("/") > 2 else given.rstrip("/")
        return
    with own_redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(scope="session")
def new_redis_url(redis_server: str) -> Callable[[], str]:
    """Function that gives a Redis database of its own, emptied, at every call."""
    return redis_databases(redis_server)


@pytest.fixture(scope="session")
def redis_url(new_redis_url: Callable[[], str]) -> str:
    """Address of an empty Redis database, the same for the whole session."""
    return new_redis_url()


@pytest.fixture(scope="session")
def labelstudio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelStudioAccount]:
    """A real Label Studio and the account to use it with."""
    url = os.environ.get("GEOLABEL_TEST_LS_URL")
    if url:
        yield LabelStudioAccount(
            url=url.rstrip("/"),
            token=os.environ["GEOLABEL_TEST_LS_TOKEN"],
            email=os.environ.get("GEOLABEL_TEST_LS_EMAIL", "admin@geolabel.example"),
            password=os.environ.get("GEOLABEL_TEST_LS_PASSWORD", "geolabel-test-password"),
        )
        return
    if not (ROOT / ".venv-ls" / "bin" / "label-studio").exists():
        pytest.skip("Label Studio is not installed in .venv-ls; run `make env-ls`")
    with own_label_studio(tmp_path_factory.mktemp("label-studio"), ROOT) as account:
        yield account


@pytest.fixture(scope="module")
def stack(
    labelstudio: LabelStudioAccount, new_redis_url: Callable[[], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """Settings, services and server processes of a GeoLabel of its own beside the shared Label Studio."""
    made = Stack(labelstudio, new_redis_url(), tmp_path_factory.mktemp("state"), ROOT)
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., Any]:
    """Function that builds settings from nothing but its arguments; the state folder is the test's own."""
    from geolabel.settings import load_settings

    def make(**overrides: Any) -> Any:
        return load_settings({}, **{"state_dir": tmp_path / "state", **overrides})

    return make


@pytest.fixture
def store(tmp_path: Path) -> Any:
    """An empty store in a folder of the test's own."""
    from geolabel.adapters.store import Store

    return Store(str(tmp_path / "store"))


if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
