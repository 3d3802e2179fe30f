"""A whole GeoLabel started by its own command, and a browser to use it with."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from geolabel.local.label_studio import healthy
from geolabel.local.ports import LOOPBACK, free_port
from geolabel.local.processes import Child, child_environment
from geolabel.settings import Settings, load_settings

ROOT = Path(__file__).parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
UP_S = 900.0
PAGE_MS = 300_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What `geolabel up` started."""

    settings: Settings
    env: dict[str, str]
    child: Child
    project_id: int

    @property
    def labelstudio(self) -> httpx.Client:
        """A plain client of its Label Studio."""
        group = self.settings.labelstudio
        headers = {"Authorization": f"Token {group.api_key.get_secret_value()}"}
        return httpx.Client(base_url=group.url, headers=headers, timeout=120.0, trust_env=False)


def up_child(env: dict[str, str], state_dir: Path, log: Path, *arguments: str) -> Child:
    """Describe a `geolabel up`; it is ready when its project is."""
    argv = [sys.executable, "-m", "geolabel", "up", *arguments]
    return Child(
        name="up",
        argv=argv,
        env=env,
        log=log,
        ready=lambda: _project_url(state_dir) is not None,
        cwd=ROOT,
        ready_s=UP_S,
        stop_s=60.0,
    )


def _project_url(state_dir: Path) -> str | None:
    try:
        state: dict[str, Any] = json.loads((state_dir / "run.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    url = state.get("project")
    return str(url) if url else None


@pytest.fixture(scope="session")
def up_env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables of a GeoLabel of its own on free ports."""
    if not (ROOT / ".venv-ls" / "bin" / "label-studio").exists():
        pytest.skip("Label Studio is not installed in .venv-ls; run `make env-ls`")
    return child_environment(
        os.environ,
        OMP_NUM_THREADS="1",
        COLUMNS="160",
        GEOLABEL_STATE_DIR=str(tmp_path_factory.mktemp("up") / "state"),
        GEOLABEL_LOCAL__LABEL_STUDIO_PORT=str(free_port()),
        GEOLABEL_SERVER__PORT=str(free_port()),
    )


@pytest.fixture(scope="session")
def running(up_env: dict[str, str]) -> Iterator[Running]:
    """`geolabel up` with the sample scene, until the session ends."""
    state_dir = Path(up_env["GEOLABEL_STATE_DIR"])
    child = up_child(up_env, state_dir, state_dir.parent / "up.log")
    child.start()
    try:
        child.wait_ready()
        url = _project_url(state_dir)
        assert url is not None
        settings = load_settings({}, state_dir=state_dir)
        yield Running(settings=settings, env=up_env, child=child, project_id=int(url.split("/")[-2]))
    finally:
        child.stop()
    assert not healthy(f"http://{LOOPBACK}:{up_env['GEOLABEL_LOCAL__LABEL_STUDIO_PORT']}")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium of the system."""
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium was found; run `make system`")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A new page; everything it loads is local, as every test of it checks."""
    context = browser.new_context(viewport={"width": 1500, "height": 950})
    context.set_default_timeout(PAGE_MS)
    opened = context.new_page()
    yield opened
    context.close()


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """Folder where walks leave their pictures."""
    folder = ROOT / "test-output" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
