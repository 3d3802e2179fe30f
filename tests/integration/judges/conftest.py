"""Exports for readers that are not ours, and the one reader that comes from npm."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from geolabel.core.dataset import Dataset, ImageRef
from geolabel.formats.contract import WriteOptions, Written
from geolabel.formats.registry import formats
from geolabel.testing.format_contract import sample_dataset

ROOT = Path(__file__).parent.parent.parent.parent
_PACKAGE = {
    "name": "judges",
    "private": True,
    "dependencies": {"@mapbox/geojsonhint": "3.3.0"},
    # Its own dependency is a git repository; the same code lies on the registry.
    "overrides": {"@gerhobbelt/nomnom": "npm:nomnom@1.8.1"},
}


class _Grey:
    def read(self, image: ImageRef) -> npt.NDArray[Any]:
        return np.full((image.height, image.width, 3), 120, dtype=np.uint8)


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    """Three chips with shapes of every kind."""
    return sample_dataset(3)


Export = Callable[[str], tuple[Path, Written]]


@pytest.fixture
def export(dataset: Dataset, tmp_path: Path) -> Export:
    """Write the dataset in a format, images included."""

    def write(name: str) -> tuple[Path, Written]:
        form = formats().get(name)
        folder = tmp_path / name
        folder.mkdir()
        images = "none" if form.spec.images == "no" else "rendered"
        return folder, form.write(dataset, folder, WriteOptions(images=images, pixels=_Grey()))

    return write


@pytest.fixture(scope="session")
def geojsonhint() -> Callable[[Path], list[dict[str, Any]]]:
    """Mapbox' linter of GeoJSON, installed once into the repository's ignored cache."""
    if not (shutil.which("npm") and shutil.which("node")):
        pytest.skip("npm and node are needed for geojsonhint")
    folder = ROOT / ".cache" / "judges"
    program = folder / "node_modules" / "@mapbox" / "geojsonhint" / "bin" / "geojsonhint"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text(json.dumps(_PACKAGE), "utf-8")
        command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"]
        for _ in range(3):
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
            if done.returncode == 0:
                break
        else:
            pytest.skip(f"geojsonhint can't be installed: {done.stderr[-200:]}")

    def judge(path: Path) -> list[dict[str, Any]]:
        command = ["node", str(program), "--format", "json", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        found: list[dict[str, Any]] = json.loads(done.stdout or "[]")
        return found

    return judge


@pytest.fixture
def outside(tmp_path: Path) -> Callable[..., Any]:
    """Run a script of a heavy reader in a process of its own; it prints JSON in its last line."""

    def run(script: str, *arguments: str) -> Any:
        env = {
            **os.environ, "YOLO_CONFIG_DIR": str(tmp_path), "YOLO_OFFLINE": "true", "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_CACHE": str(tmp_path / "hf"), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore",
        }  # fmt: skip
        command = [sys.executable, "-c", script, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=env, cwd=tmp_path, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout.strip().splitlines()[-1])

    return run
