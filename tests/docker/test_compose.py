"""Images built and the compose file started by a real engine, in a network of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDED = ("dockerd", "slirp4netns", "unshare", "mmdebstrap", "iptables")
WALK_S = 2400
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    missing = [name for name in NEEDED if shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin") is None]
    if missing or os.geteuid() != 0:
        pytest.skip(
            f"needs root; missing: {', '.join(missing) or 'nothing'} (docker.io, slirp4netns, mmdebstrap, iptables)"
        )
    return tmp_path_factory.mktemp("docker")


def make_base(target: Path) -> None:
    """Make the base image's file system from Debian's packages, where no image registry can be reached."""
    subprocess.run(
        [
            "mmdebstrap", "--variant=minbase", "--include=python3,python3-venv,python3-pip,ca-certificates",
            f"--customize-hook=upload {CERTIFICATES} {CERTIFICATES}", "bookworm", str(target),
        ],
        check=True, capture_output=True, timeout=900,
    )  # fmt: skip


def install_compose(config: Path) -> None:
    """Put the compose plugin of the environment where the docker command looks for it."""
    found = shutil.which("docker-compose", path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip("docker-compose is not in the environment; run `make env`")
    plugins = config / "cli-plugins"
    plugins.mkdir(parents=True)
    (plugins / "docker-compose").symlink_to(found)


def run_whole(command: list[str], env: dict[str, str]) -> tuple[int, str]:
    """Run a command and whatever it starts; nothing of it outlives the call."""
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        try:
            output, _ = process.communicate(timeout=WALK_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, output


@pytest.mark.timeout(WALK_S + 900)
def test_compose_brings_up_a_labelled_project(folder: Path) -> None:
    base = Path(os.environ.get("GEOLABEL_TEST_BASE_TAR") or folder / "base.tar")
    if not base.is_file():
        make_base(base)
    install_compose(folder / "config")
    env = {**os.environ, "DOCKER_CONFIG": str(folder / "config"), "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
    for name in [n for n in env if n.startswith(("GEOLABEL_", "LABEL_STUDIO_"))]:
        del env[name]
    here = Path(__file__).parent
    command = ["bash", str(here / "engine.sh"), str(folder / "engine"), "bash", str(here / "compose_walk.sh")]
    code, output = run_whole([*command, str(ROOT), str(base), str(folder)], env)
    log = folder / "compose.log"
    tail = log.read_text("utf-8")[-6000:] if log.is_file() else ""
    shutil.rmtree(folder / "engine" / "data", ignore_errors=True)
    assert code == 0, f"{output[-6000:]}\n{tail}"
    facts = json.loads((folder / "facts.json").read_text("utf-8"))
    assert facts["tasks"] > 3
    assert facts["image_type"].startswith("image/")
    assert facts["chip_bytes"] > 1000
    assert facts["predicted"] == facts["wanted"] > 0
