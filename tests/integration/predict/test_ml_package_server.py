"""GeoLabelModel under label-studio-ml's own server, with the payloads of a real Label Studio."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import httpx

from geolabel.local.ports import LOOPBACK, free_port
from geolabel.local.processes import Child, child_environment
from geolabel.pipeline.models import fit_project

SERVER = """
import sys
from label_studio_ml.api import init_app
from ml_backend.model import GeoLabelModel
app = init_app(model_class=GeoLabelModel, model_dir=sys.argv[2])
app.run(host="127.0.0.1", port=int(sys.argv[1]), threaded=True)
"""


def test_it_answers_each_project_by_its_own_labels(new_town: Any, stack: Any, tmp_path: Path) -> None:
    towns = [
        new_town(labels=("Yurt", "Creek"), size=256, seed=41),
        new_town(labels=("Silo", "Gully"), size=256, seed=42),
    ]
    for town in towns:
        town.annotate(sorted(town.tasks)[:2])
        fit_project(stack.services, town.pid, config=town.config)
    port = free_port()
    url = f"http://{LOOPBACK}:{port}"
    (tmp_path / "models").mkdir()
    child = Child(
        name="label-studio-ml",
        argv=[sys.executable, "-c", SERVER, str(port), str(tmp_path / "models")],
        env=child_environment(os.environ, OMP_NUM_THREADS="1", PYTHONPATH=str(stack.root), **stack.env),
        log=tmp_path / "server.log",
        ready=lambda: answers(url),
        cwd=tmp_path,
        ready_s=180.0,
    )
    child.start()
    try:
        child.wait_ready()
        with httpx.Client(base_url=url, timeout=120, trust_env=False) as http:
            for town in (*towns, towns[0]):
                setup = {"project": town.payload([])["project"], "schema": town.config.xml, "access_token": "x"}
                assert http.post("/setup", json={**setup, "hostname": stack.labelstudio.url}).status_code == 200
            # The last /setup was of the first project: the second is still answered by its own labels.
            for town in (towns[1], towns[0]):
                answer = http.post("/predict", json=town.payload(sorted(town.tasks)[2:4])).json()
                assert len(answer["results"]) == 2
                found = {
                    label
                    for entry in answer["results"]
                    for item in entry["result"]
                    for label in item["value"]["polygonlabels"]
                }
                assert found
                assert found <= set(town.labels)
    finally:
        child.stop()


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5.0, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
