"""Export of a recorded Label Studio file: time, peak memory, and the ratio to other ways.

    python -m bench.export --polygons 1000000 --tasks 50000

Each way runs in a process of its own; its time is from the file to the finished output, its memory the process's peak.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import orjson

XML = """<View><Image name="image" value="$image"/>
<PolygonLabels name="label" toName="image"><Label value="building"/><Label value="water"/></PolygonLabels></View>"""
OURS = ("geoparquet", "geojson", "gpkg", "coco")
SIZE = 512


def make(path: Path, polygons: int, tasks: int) -> None:
    """Write a Label Studio export: chips of one UTM scene, five- to eight-sided polygons, two classes."""
    random = np.random.default_rng(0)
    each = polygons // tasks
    side = int(np.ceil(np.sqrt(tasks)))
    with path.open("wb") as file:
        file.write(b"[")
        for number in range(1, tasks + 1):
            row, col = divmod(number - 1, side)
            result = []
            for k in range(each):
                turns = np.sort(random.uniform(0, 2 * np.pi, int(random.integers(5, 9))))
                centre = random.uniform(5, 95, 2)
                points = centre + np.column_stack([np.cos(turns), np.sin(turns)]) * random.uniform(1, 4)
                result.append(
                    {
                        "id": f"r{number:07d}{k:03d}", "type": "polygonlabels", "from_name": "label",
                        "to_name": "image",
                        "original_width": SIZE, "original_height": SIZE, "image_rotation": 0, "origin": "manual",
                        "value": {"points": points.tolist(), "closed": True,
                                  "polygonlabels": ["building" if k % 3 else "water"]},
                    }
                )  # fmt: skip
            geo = {
                "schema": "geolabel.chip/1", "chip_id": f"chip{number:07d}", "scene_id": "scene", "crs": "EPSG:32636",
                "window": [col * SIZE, row * SIZE, SIZE, SIZE], "size": [SIZE, SIZE],
                "transform": [0.3, 0, 300000 + col * SIZE * 0.3, 0, -0.3, 5000000 - row * SIZE * 0.3],
                "render": {"bands": [1, 2, 3], "rescale": [[0, 255]] * 3},
            }  # fmt: skip
            stamp = "2026-01-01T00:00:00Z"
            task = {
                "id": number, "data": {"image": f"/chips/{number}.jpg", "geo": geo}, "predictions": [],
                "annotations": [{"id": number, "result": result, "completed_by": 1, "created_at": stamp,
                                 "updated_at": stamp, "was_cancelled": False}],
            }  # fmt: skip
            file.write((b"" if number == 1 else b",") + orjson.dumps(task))
        file.write(b"]")


def ours(path: Path, name: str, out: Path, *, join: bool, verify: bool) -> None:
    """Export with GeoLabel: snapshot, decode, assemble, write, read back, publish."""
    from geolabel.core.manifest import Recipe
    from geolabel.pipeline import build, export
    from geolabel.services import Services
    from geolabel.settings import load_settings

    if not verify:
        whole = build.build
        export.build = lambda *a, **k: whole(*a, **{**k, "verify": False})
    services = Services(load_settings({"GEOLABEL_STATE_DIR": str(out)}, kept=False))
    recipe = Recipe(formats=(name,), crs=("scene",), assemble={} if join else {"join": False})
    manifest = export.export_file(services, path, recipe, config=XML)
    print(json.dumps({"records": sum(sum(c.values()) for c in manifest.counts["written"].values())}))


def label_studio_coco(path: Path, out: Path) -> None:
    """Convert with Label Studio's own converter."""
    from label_studio_sdk.converter import Converter

    Converter(XML, project_dir=None, download_resources=False).convert_to_coco(
        str(path), str(out), output_image_dir=str(out / "images"), is_dir=False
    )


def geopandas_parquet(path: Path, out: Path) -> None:
    """Do what a script of one line with geopandas does: everything in memory, then to_parquet."""
    import geopandas
    from shapely.geometry import Polygon

    rows = [
        (
            r["value"]["polygonlabels"][0],
            Polygon([(g[2] + x / 100 * SIZE * g[0], g[5] + y / 100 * SIZE * g[4]) for x, y in r["value"]["points"]]),
        )
        for t in json.loads(path.read_text())
        for g in (t["data"]["geo"]["transform"],)
        for r in t["annotations"][0]["result"]
    ]
    geopandas.GeoDataFrame({"class": [r[0] for r in rows]}, geometry=[r[1] for r in rows], crs="EPSG:32636").to_parquet(
        out / "labels.parquet"
    )


def child(arguments: argparse.Namespace) -> None:
    """Run one way and print its time and memory."""
    path, out = Path(arguments.file), Path(arguments.out)
    started, cpu = time.perf_counter(), time.process_time()
    if arguments.way == "label-studio-coco":
        label_studio_coco(path, out)
    elif arguments.way == "geopandas-parquet":
        geopandas_parquet(path, out)
    else:
        ours(path, arguments.way, out, join=not arguments.no_join, verify=not arguments.no_verify)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    print("RESULT " + json.dumps({"wall_s": round(wall, 1), "cpu_s": round(cpu, 1), "peak_mb": round(peak)}))


def main() -> None:
    """Make the file, run every way one after the other, print the figures as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--polygons", type=int, default=1_000_000)
    parser.add_argument("--tasks", type=int, default=50_000)
    parser.add_argument("--ways", nargs="*", default=[*OURS, "label-studio-coco", "geopandas-parquet"])
    parser.add_argument("--no-join", action="store_true")
    parser.add_argument("--no-verify", action="store_true")
    parser.add_argument("--file", default="")
    parser.add_argument("--way", default="")
    parser.add_argument("--out", default="")
    arguments = parser.parse_args()
    if arguments.way:
        child(arguments)
        return
    with tempfile.TemporaryDirectory(prefix="bench-export-") as name:
        path = Path(arguments.file) if arguments.file else Path(name) / "tasks.json"
        if not path.exists():
            make(path, arguments.polygons, arguments.tasks)
        figures: dict[str, dict[str, float | str]] = {}
        for way in arguments.ways:
            out = Path(name) / way
            out.mkdir()
            words = [sys.executable, "-m", "bench.export", "--way", way, "--file", str(path), "--out", str(out)]
            words += ["--no-join"] * arguments.no_join + ["--no-verify"] * arguments.no_verify
            ran = subprocess.run(words, capture_output=True, text=True, check=False)
            told = [line for line in ran.stdout.splitlines() if line.startswith("RESULT ")]
            figures[way] = json.loads(told[0][7:]) if told else {"failed": ran.stderr[-400:]}
            print(way, figures[way], flush=True)
        value: dict[str, object] = {"polygons": arguments.polygons, "tasks": arguments.tasks, "figures": figures}
        for one, other in (("coco", "label-studio-coco"), ("geoparquet", "geopandas-parquet")):
            if "cpu_s" in figures.get(one, {}) and "cpu_s" in figures.get(other, {}):
                value[f"{other} / {one} (cpu)"] = round(
                    float(figures[other]["cpu_s"]) / float(figures[one]["cpu_s"]), 2
                )
        print(json.dumps(value, indent=1))


if __name__ == "__main__":
    main()
