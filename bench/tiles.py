"""Map tiles a second over HTTP against titiler.core, one server process each, driven by wrk (part of bench.tiling)."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

_SECONDS = 8
_CLIENTS = 8


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _serve(argv: list[str], url: str, env: dict[str, str]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(argv, env={**os.environ, **env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(600):
        try:
            httpx.get(url, timeout=1.0, trust_env=False)
            return process
        except httpx.HTTPError:
            time.sleep(0.1)
    process.terminate()
    raise RuntimeError(f"{argv} does not answer")


def _wrk(paths: list[str], base: str, work: Path) -> dict[str, float]:
    script = work / "paths.lua"
    quoted = ",".join(f'"{path}"' for path in paths)
    script.write_text(
        f"local p={{{quoted}}}\nlocal i=0\nrequest=function() i=i%#p+1; return wrk.format('GET',p[i]) end\n"
    )
    command = ["wrk", "-t1", f"-c{_CLIENTS}", f"-d{_SECONDS}s", "-s", str(script), "--latency", base]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    return {"tiles_a_second": float(rate.group(1)) if rate else 0.0, "failed": int(failed.group(1)) if failed else 0}


def bench_tiles(cog: Path, work: Path) -> dict[str, Any]:
    """Serve the COG with both and ask for the same tiles; our picture cache is off."""
    if shutil.which("wrk") is None:
        return {"skipped": "wrk is not installed"}
    from geolabel.pipeline.chip_urls import UrlSigner
    from geolabel.pipeline.ingest import ingest
    from geolabel.pipeline.ingest_report import IngestOptions
    from geolabel.pipeline.scenes import load_scene
    from geolabel.raster.tiles import zoom_range
    from geolabel.services import Services
    from geolabel.settings import load_settings

    port, other = _port(), _port()
    env = {
        "GEOLABEL_STATE_DIR": str(work / "tiles-state"), "GEOLABEL_SERVER__PORT": str(port),
        "GEOLABEL_SERVER__SIGNING_SECRET": "bench", "GEOLABEL_CHIPS__CACHE_BYTES": "0",
    }  # fmt: skip
    services = Services(load_settings(env))
    entry = ingest(services, [str(cog)], options=IngestOptions(read="none")).scenes[0]
    scene = load_scene(services, entry.scene_id)
    query = urlsplit(UrlSigner(services.settings).tiles(scene.id)).query
    tiles = _tiles(scene, zoom_range(scene)[1])
    ours = [f"/tiles/{scene.id}/{z}/{x}/{y}.png?{query}" for x, y, z in tiles]
    theirs = [f"/tiles/WebMercatorQuad/{z}/{x}/{y}.png?url={cog}&bidx=1&bidx=2&bidx=3" for x, y, z in tiles]
    code = (
        "from fastapi import FastAPI\nfrom titiler.core.factory import TilerFactory\nimport uvicorn\n"
        f"app=FastAPI()\napp.include_router(TilerFactory().router)\nuvicorn.run(app,port={other},log_level='error')\n"
    )
    out: dict[str, Any] = {}
    argv = [sys.executable, "-m", "uvicorn", "ml_backend.app:create_app", "--factory", "--port", str(port),
            "--no-access-log", "--log-level", "error"]  # fmt: skip
    for name, command, number, paths in (
        ("geolabel", argv, port, ours), ("titiler", [sys.executable, "-c", code], other, theirs)
    ):  # fmt: skip
        process = _serve(command, f"http://127.0.0.1:{number}/", env)
        try:
            out[name] = {**_wrk(paths, f"http://127.0.0.1:{number}", work), "load": os.getloadavg()[0]}
        finally:
            process.terminate()
            process.wait(30)
    out["ratio"] = round(out["geolabel"]["tiles_a_second"] / max(out["titiler"]["tiles_a_second"], 1e-9), 2)
    return out


def _tiles(scene: Any, zoom: int) -> list[tuple[int, int, int]]:
    """Return 200 tiles spread over the scene at its finest zoom and two above."""
    import math

    import numpy as np

    rng = np.random.default_rng(0)
    out = []
    for z in (zoom, zoom - 1, zoom - 2):
        px = rng.uniform(0.1, 0.9, (67, 2)) * [scene.georef.width, scene.georef.height]
        for lon, lat in scene.georef.to_lonlat(px).tolist():
            x = int((lon + 180) / 360 * 2**z)
            y = int((1 - math.asinh(math.tan(math.radians(lat))) / math.pi) / 2 * 2**z)
            out.append((x, y, z))
    return out
