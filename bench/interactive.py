"""Click → polygon through HTTP on a CPU, beside a minimal backend that encodes the picture on every click.

    python -m bench.interactive [--clicks 16] [--users 4] [--checkpoint FILE]

A scene is registered in a store of its own, a backend process is started, and requests as Label Studio's are sent:
embedding present on one task, alternating between tasks, four users at once, embedding absent. Without a checkpoint the
weights of SAM 2.1 tiny are random and seeded. Needs the Redis of REDIS_URL.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np

CONFIG = """<View><Image name="image" value="$image"/>
<KeyPointLabels name="points" toName="image" smart="true" smartOnly="true"><Label value="Building"/></KeyPointLabels>
<PolygonLabels name="polygons" toName="image"><Label value="Building"/></PolygonLabels></View>"""
SIZE = 1024
TASKS = 3


def _tasks(services: Any, folder: Path) -> list[dict[str, Any]]:
    import rasterio
    from rasterio.transform import from_origin

    from geolabel.core.georef import Window
    from geolabel.core.scene import Chip, RenderSpec, chip_id
    from geolabel.labelstudio.task import build_task
    from geolabel.pipeline.scenes import save_scene
    from geolabel.raster.scene import open_scene

    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 255, (3, SIZE // 32, TASKS * SIZE // 32), dtype=np.uint8)
    pixels = blocks.repeat(32, axis=1).repeat(32, axis=2)
    profile = {"driver": "GTiff", "width": TASKS * SIZE, "height": SIZE, "count": 3, "dtype": "uint8", "tiled": True,
               "crs": "EPSG:32636", "transform": from_origin(450000, 35000, 0.3, 0.3)}  # fmt: skip
    with rasterio.open(folder / "scene.tif", "w", **profile) as out:
        out.write(pixels)
    scene = open_scene(str(folder / "scene.tif")).require()
    save_scene(services, scene)
    render = RenderSpec(bands=(1, 2, 3), rescale=((0.0, 255.0),) * 3)
    tasks = []
    for number in range(TASKS):
        window = Window(col=number * SIZE, row=0, width=SIZE, height=SIZE)
        key = chip_id(scene.id, window, (SIZE, SIZE), render.digest())
        chip = Chip(id=key, scene_id=scene.id, window=window, georef=scene.georef.window(window), render=render)
        tasks.append({"id": number + 1, "data": build_task(chip, scene, "http://127.0.0.1:9/x.jpg"), "drafts": []})
    return tasks


def _payload(task: dict[str, Any], x: float, y: float, user: str) -> dict[str, Any]:
    value = {"x": x, "y": y, "width": 0.3, "keypointlabels": ["Building"]}
    result = [
        {"type": "keypointlabels", "from_name": "points", "to_name": "image", "is_positive": True, "value": value}
    ]
    return {"tasks": [task], "project": "1", "label_config": CONFIG,
            "params": {"context": {"result": result, "user": user}}}  # fmt: skip


def _summary(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    p95 = ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]
    return {"p50_ms": round(statistics.median(ordered)), "p95_ms": round(p95), "clicks": len(ordered)}


def _click(http: httpx.Client, url: str, task: dict[str, Any], number: int, user: str) -> float:
    place = 10 + 80 * ((number * 0.618) % 1), 10 + 80 * ((number * 0.414) % 1)
    payload = _payload(task, *place, f"{user}-{number}")
    start = time.perf_counter()
    answer = http.post(f"{url}/predict", json=payload)
    answer.raise_for_status()
    return (time.perf_counter() - start) * 1000


def minimal(checkpoint: Path, clicks: int) -> dict[str, float]:
    """What a backend does that encodes on every click, without HTTP: encode, decode, brush run lengths."""
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    from geolabel.labelstudio.brush import encode_rle
    from geolabel.predict.sam_models import load_sam

    predictor = SAM2ImagePredictor(load_sam(checkpoint).module)
    rgb = np.random.default_rng(1).integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
    times = []
    for number in range(clicks):
        start = time.perf_counter()
        predictor.set_image(rgb)
        masks, scores, _ = predictor.predict(np.array([[100.0 + 20 * number, 300.0]]), np.array([1]))
        encode_rle(masks[int(scores.argmax())].astype(np.uint8) * 255)
        times.append((time.perf_counter() - start) * 1000)
    return _summary(times)


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clicks", type=int, default=16)
    parser.add_argument("--users", type=int, default=4)
    parser.add_argument("--checkpoint", default="")
    parser.add_argument("--out", default="bench-output/interactive.json")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    from geolabel.local.ports import free_port
    from geolabel.local.processes import Child, Children, child_environment
    from geolabel.predict.sam_models import SAM21_TINY, save_seeded
    from geolabel.services import Services
    from geolabel.settings import load_settings

    folder = Path(tempfile.mkdtemp())
    checkpoint = Path(options.checkpoint) if options.checkpoint else save_seeded(folder / "seeded.pt", SAM21_TINY)
    port = free_port()
    env = {"GEOLABEL_STATE_DIR": str(folder / "state"), "GEOLABEL_PREDICT__INTERACTIVE": str(checkpoint.absolute()),
           "REDIS_URL": os.environ["REDIS_URL"], "GEOLABEL_SERVER__SIGNING_SECRET": "bench",
           "GEOLABEL_SERVER__PORT": str(port), "GEOLABEL_PREDICT__DEVICE": "cpu"}  # fmt: skip
    tasks = _tasks(Services(load_settings(env)), folder)
    argv = [sys.executable, "-m", "uvicorn", "ml_backend.app:create_app", "--factory", "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    report: dict[str, Any] = {"load_1min": round(os.getloadavg()[0], 1), "size_px": SIZE}
    with Children() as children, httpx.Client(timeout=600, trust_env=False) as http:
        children.add(
            Child(name="backend", argv=argv, env=child_environment(os.environ, **env), log=folder / "backend.log",
                  ready=lambda: _answers(url), cwd=Path.cwd(), ready_s=180)
        )  # fmt: skip
        _click(http, url, tasks[0], 0, "load")  # imports torch, loads the weights, encodes the first task
        report["absent"] = _summary([_click(http, url, task, 1, "absent") for task in tasks[1:]])
        report["present"] = _summary([_click(http, url, tasks[0], n, "one") for n in range(options.clicks)])
        report["alternating"] = _summary([_click(http, url, tasks[n % TASKS], n, "two") for n in range(options.clicks)])
        with ThreadPoolExecutor(options.users) as pool:
            runs = [
                pool.submit(_click, http, url, tasks[(n + u) % TASKS], n, f"user{u}")
                for n in range(options.clicks) for u in range(options.users)
            ]  # fmt: skip
            report[f"{options.users}_users"] = _summary([run.result() for run in runs])
    report["encoding_per_click"] = minimal(checkpoint, max(3, options.clicks // 4))
    report["ratio_p50"] = round(report["encoding_per_click"]["p50_ms"] / report["present"]["p50_ms"], 1)
    report["ratio_p95"] = round(report["encoding_per_click"]["p95_ms"] / report["present"]["p95_ms"], 1)
    Path(options.out).parent.mkdir(parents=True, exist_ok=True)
    Path(options.out).write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    print(json.dumps(report, indent=1))


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5, trust_env=False).status_code < httpx.codes.INTERNAL_SERVER_ERROR
    except httpx.HTTPError:
        return False


if __name__ == "__main__":
    main()
