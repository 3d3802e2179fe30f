"""Tiling: plan, render and serve, each beside a plain alternative in the same run.

    python -m bench.tiling                  # a scene of 8192 px
    python -m bench.tiling --size 16384     # the figures of the docs

Prints ratios and writes JSON. Every contender reads the same COG and works with two processes; gdal_retile.py has one.
CPU seconds are given beside wall time, since they say more on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

SIZE_PX = 512
STRIDE_PX = 448
PROCESSES = 2


def make_cog(path: Path, size: int) -> Path:
    """Write an RGB COG of a made landscape: smooth fields, edges and grain, as hard to compress as aerial images."""
    import rasterio
    import rasterio.shutil
    from rasterio.transform import from_origin
    from rasterio.windows import Window

    if path.is_file():
        return path
    rng = np.random.default_rng(0)
    plain = path.with_suffix(".plain.tif")
    import cv2

    tile = 1024
    with rasterio.open(
        plain, "w", driver="GTiff", width=size, height=size, count=3, dtype="uint8", crs="EPSG:32636",
        photometric="RGB", transform=from_origin(300000, 50000, 0.3, 0.3), tiled=True, blockxsize=512,
        blockysize=512,
    ) as out:  # fmt: skip
        for row in range(0, size, tile):
            for col in range(0, size, tile):
                fields = cv2.resize(rng.integers(30, 220, (24, 24, 3), dtype=np.uint8), (tile, tile),
                                    interpolation=cv2.INTER_NEAREST)  # fmt: skip
                grain = rng.normal(0, 6, (tile, tile, 1)).astype(np.float32)
                data = np.clip(fields.astype(np.float32) + grain, 0, 255).astype(np.uint8)
                out.write(np.moveaxis(data, -1, 0), window=Window(col, row, tile, tile))
    rasterio.shutil.copy(str(plain), str(path), driver="COG", COMPRESS="DEFLATE", PREDICTOR="YES", NUM_THREADS="2")
    plain.unlink()
    return path


def cpu_s() -> float:
    """Return CPU seconds of this process and its ended children."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def timed(run: Any) -> dict[str, Any]:
    """Run and return chips, wall and CPU seconds."""
    wall, cpu = time.perf_counter(), cpu_s()
    chips = run()
    wall, cpu = time.perf_counter() - wall, cpu_s() - cpu
    return {
        "chips": chips, "wall_s": round(wall, 2), "cpu_s": round(cpu, 2), "chips_a_second": round(chips / wall, 1),
        "cpu_ms_a_chip": round(1000 * cpu / max(chips, 1), 2), "load": os.getloadavg()[0],
    }  # fmt: skip


def bench_plan() -> dict[str, Any]:
    """Plan a million chips into GeoParquet, in a process of its own for its peak memory."""
    code = (
        "import resource,time,tempfile,pathlib\n"
        "from geolabel.core.georef import Georeference\n"
        "from geolabel.core.plans import PlanSpec, plan_scene\n"
        "from geolabel.core.scene import RenderSpec, Scene\n"
        "from geolabel.pipeline.chip_index import write_index\n"
        "g=Georeference(crs='EPSG:32636',transform=(0.3,0,300000,0,-0.3,900000),width=448000+64,height=448000+64)\n"
        "r=RenderSpec(bands=(1,2,3),rescale=((0,255),)*3)\n"
        "s=Scene(id='bench',uri='',name='bench',georef=g,bands=(),dtype='uint8',render=r)\n"
        "t=time.perf_counter();c=time.process_time()\n"
        "p=plan_scene(s.id,r.digest(),g,PlanSpec(size_px=512))\n"
        "with tempfile.TemporaryDirectory() as d: n=write_index(pathlib.Path(d)/'c.parquet',s,r,p)\n"
        "print(n,time.perf_counter()-t,time.process_time()-c,resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    return {"chips": int(out[0]), "wall_s": round(float(out[1]), 2), "cpu_s": round(float(out[2]), 2),
            "peak_mb": round(float(out[3]))}  # fmt: skip


def ours(cog: Path, image_format: str, folder: Path) -> int:
    """Render all chips with GeoLabel's own pre-rendering into a local store."""
    from geolabel.pipeline.ingest import ingest
    from geolabel.pipeline.ingest_report import IngestOptions
    from geolabel.pipeline.prerender import prerender
    from geolabel.services import Services
    from geolabel.settings import load_settings

    services = Services(load_settings({}, state_dir=folder / "state", chips={"format": image_format}))
    entry = ingest(services, [str(cog)], options=IngestOptions(read="none")).scenes[0]
    wall, cpu = time.perf_counter(), cpu_s()
    result = prerender(services, entry.scene_id, entry.plan_id, lambda *_: None, processes=PROCESSES)
    OURS[image_format] = (time.perf_counter() - wall, cpu_s() - cpu)
    return int(result["written"])


OURS: dict[str, tuple[float, float]] = {}


def _loop_part(arguments: tuple[str, str, str, int, int]) -> int:
    import io

    import rasterio
    from PIL import Image
    from rasterio.windows import Window

    cog, folder, suffix, first, step = arguments
    done = 0
    with rasterio.open(cog) as dataset:
        rows = range(0, dataset.height - SIZE_PX + 1, STRIDE_PX)
        for row in list(rows)[first::step]:
            for col in range(0, dataset.width - SIZE_PX + 1, STRIDE_PX):
                data = dataset.read(window=Window(col, row, SIZE_PX, SIZE_PX))
                buffer = io.BytesIO()
                options = {"quality": 90} if suffix == "jpg" else {"compress_level": 1}
                Image.fromarray(np.moveaxis(data, 0, -1)).save(buffer, "JPEG" if suffix == "jpg" else "PNG", **options)
                Path(folder, f"{row}_{col}.{suffix}").write_bytes(buffer.getvalue())
                done += 1
    return done


def rasterio_loop(cog: Path, image_format: str, folder: Path) -> int:
    """The loop that everybody writes: rasterio window, Pillow, two processes."""
    folder.mkdir(parents=True)
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        parts = [(str(cog), str(folder), image_format, i, PROCESSES) for i in range(PROCESSES)]
        return sum(pool.map(_loop_part, parts))


def retile(cog: Path, driver: str, folder: Path) -> int:
    """Cut with gdal_retile.py, same size and overlap."""
    folder.mkdir(parents=True)
    command = ["gdal_retile.py", "-q", "-of", driver, "-ps", str(SIZE_PX), str(SIZE_PX), "-overlap",
               str(SIZE_PX - STRIDE_PX), "-targetDir", str(folder), str(cog)]  # fmt: skip
    if driver == "JPEG":
        command[1:1] = ["-co", "QUALITY=90"]
    subprocess.run(command, check=True, capture_output=True)
    return sum(1 for p in folder.iterdir() if p.suffix in (".tif", ".jpg"))


def bench_render(cog: Path, work: Path) -> dict[str, Any]:
    """Write JPEG and PNG chips with each contender."""
    out: dict[str, Any] = {}
    for suffix in ("jpg", "png"):
        result = timed(lambda suffix=suffix: ours(cog, suffix, work / f"ours-{suffix}"))
        wall, cpu = OURS[suffix]
        result |= {"wall_s": round(wall, 2), "cpu_s": round(cpu, 2), "chips_a_second": round(result["chips"] / wall, 1),
                   "cpu_ms_a_chip": round(1000 * cpu / result["chips"], 2)}  # fmt: skip
        out[f"geolabel {suffix}"] = result
        shutil.rmtree(work / f"ours-{suffix}")
        out[f"rasterio loop {suffix}"] = timed(
            lambda suffix=suffix: rasterio_loop(cog, suffix, work / f"loop-{suffix}")
        )
        shutil.rmtree(work / f"loop-{suffix}")
    if shutil.which("gdal_retile.py"):
        for driver in ("GTiff", "JPEG"):
            out[f"gdal_retile {driver}"] = timed(lambda driver=driver: retile(cog, driver, work / f"retile-{driver}"))
            shutil.rmtree(work / f"retile-{driver}")
    return out


def bench_memory(work: Path, size: int) -> dict[str, float]:
    """Return peak memory (MB) of registering, planning and looking at scenes of 1, 4 and 16 times the pixels."""
    code = (
        "import resource,sys,tempfile\n"
        "from geolabel.pipeline.ingest import ingest\n"
        "from geolabel.pipeline.ingest_report import IngestOptions\n"
        "from geolabel.services import Services\n"
        "from geolabel.settings import load_settings\n"
        "s=Services(load_settings({},state_dir=tempfile.mkdtemp()))\n"
        "ingest(s,[sys.argv[1]],options=IngestOptions(read='all'))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024)\n"
    )
    out = {}
    for factor in (4, 2, 1):
        cog = make_cog(work / f"scene-{size // factor}.tif", size // factor)
        env = {**os.environ, "GDAL_CACHEMAX": "128"}
        answer = subprocess.run(
            [sys.executable, "-c", code, str(cog)], capture_output=True, text=True, check=True, env=env
        )
        out[f"{size // factor} px"] = round(float(answer.stdout.split()[-1]))
    return out


def main() -> None:
    """Run all and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=8192)
    parser.add_argument("--only", default="plan,render,memory,tiles")
    parser.add_argument("--out", type=Path, default=None)
    asked = parser.parse_args()
    parts = asked.only.split(",")
    figures: dict[str, Any] = {"size_px": asked.size, "cpus": os.cpu_count(), "load_before": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory(prefix="bench-tiling-") as name:
        work = Path(name)
        if "plan" in parts:
            figures["plan"] = bench_plan()
        if {"render", "tiles"} & set(parts):
            cog = make_cog(work / f"scene-{asked.size}.tif", asked.size)
        if "render" in parts:
            figures["render"] = bench_render(cog, work)
            best = figures["render"]["geolabel jpg"]["chips_a_second"]
            figures["ratios"] = {k: round(best / v["chips_a_second"], 2) for k, v in figures["render"].items()}
            jpg = figures["render"]["geolabel jpg"]["cpu_ms_a_chip"]
            figures["cpu ratios"] = {k: round(v["cpu_ms_a_chip"] / jpg, 2) for k, v in figures["render"].items()}
        if "tiles" in parts:
            from bench.tiles import bench_tiles

            figures["tiles"] = bench_tiles(cog, work)
        if "memory" in parts:
            figures["peak_mb"] = bench_memory(work, asked.size)
    text = json.dumps(figures, indent=1)
    print(text)
    if asked.out:
        asked.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
