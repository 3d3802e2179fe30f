"""A million polygons through every geometry rule: time, memory, ratio to a loop over records.

Run: ``python -m bench.validate [--polygons N] [--loop N]``. The loop does the same checks with shapely, one record at a
time, over as many records as asked; its time is scaled to all. Both use the same polygons: houses with right angles,
ragged outlines as of masks, circles; one in fifty has a fault, one in twenty overlaps its neighbour.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from geolabel.core.taxonomy import LabelClass, Taxonomy
from geolabel.validate import Layer, Policy, check, check_stream

PER_IMAGE = 20
BATCH = 20_000
TAXONOMY = Taxonomy(
    name="b", version="1", classes=(LabelClass(id=1, name="house", rules=("no_overlap",), min_area_m2=1.0),)
)
METRES = 0.3


def shapes(count: int, seed: int) -> Any:
    """Return polygons on images of 512 px, 20 an image, in order of images."""
    rng = np.random.default_rng(seed)
    slot = np.arange(count) % PER_IMAGE
    x = (slot % 5) * 100.0 + rng.uniform(10, 40, count)
    y = (slot // 5) * 125.0 + rng.uniform(10, 60, count)
    x = np.where(rng.random(count) < 0.05, x + 60.0, x)
    width, height = rng.uniform(15, 55, count), rng.uniform(15, 55, count)
    kind = rng.integers(0, 3, count)
    turns = rng.uniform(0, 2 * np.pi, count)
    points = np.where(kind == 0, 4, np.where(kind == 1, 24, 12))
    owner = np.repeat(np.arange(count), points)
    step = np.arange(len(owner)) - np.repeat(np.cumsum(points) - points, points)
    angle = step / points[owner] * 2 * np.pi + turns[owner]
    radius = 0.5 * np.where(kind[owner] == 1, rng.uniform(0.85, 1.0, len(owner)), 1.0)
    xy = np.stack([np.cos(angle) * radius * width[owner], np.sin(angle) * radius * height[owner]], 1)
    xy += np.stack([x + width / 2, y + height / 2], 1)[owner]
    first = np.cumsum(points) - points
    bow = first[rng.random(count) < 0.02]
    xy[[bow, bow + 1]] = xy[[bow + 1, bow]]
    return shapely.polygons(shapely.linearrings(xy, indices=owner))


def layers(count: int) -> Iterator[Layer]:
    """Yield layers of whole images."""
    for number, start in enumerate(range(0, count, BATCH)):
        n = min(BATCH, count - start)
        yield layer_of(shapes(n, number))


def layer_of(geometry: Any) -> Layer:
    """Return a layer of images of 512 px."""
    frame = np.arange(len(geometry)) // PER_IMAGE
    return Layer.of(geometry, frame=frame, kind=np.full(len(geometry), 3), taxonomy=TAXONOMY, size=(512, 512),
                    metres=(METRES, METRES), offset_px=0.0)  # fmt: skip


def by_column(count: int, threads: int) -> tuple[Counter[str], float, float]:
    """Check with the product; returns findings by code, seconds and CPU seconds, making polygons not counted."""
    rules = Policy.from_json({}).active()
    counts: Counter[str] = Counter()
    seconds = cpu = 0.0
    groups = list(range(0, count, BATCH * 10))
    for start in groups:
        # Ten batches at a time, so that memory stays flat while the clock leaves out the making of polygons.
        made = [
            shapes(min(BATCH, count - at), at // BATCH) for at in range(start, min(start + BATCH * 10, count), BATCH)
        ]
        began, cpu_began = time.perf_counter(), time.process_time()
        for found in check_stream(made, lambda g: check(layer_of(g), rules), threads=threads):
            for rule, findings in found:
                counts[rule.spec.code] += len(findings)
        seconds += time.perf_counter() - began
        cpu += time.process_time() - cpu_began
    return counts, seconds, cpu


def spiky(xy: Any) -> bool:
    """Tell whether a ring has a spike; points without the closing one."""
    back, on = np.roll(xy, 1, axis=0) - xy, np.roll(xy, -1, axis=0) - xy
    cross = np.abs(back[:, 0] * on[:, 1] - back[:, 1] * on[:, 0])
    dot = (back * on).sum(axis=1)
    shorter = np.minimum((back * back).sum(axis=1), (on * on).sum(axis=1))
    return bool(((dot > 0) & (cross < np.tan(np.radians(2.0)) * dot) & (shorter >= 1.0)).any())


def by_loop(geometry: Any) -> Counter[str]:
    """Check record by record, as a script would: the same rules, a tree for each image."""
    counts: Counter[str] = Counter()
    for start in range(0, len(geometry), PER_IMAGE):
        image = geometry[start : start + PER_IMAGE].tolist()
        tree = shapely.STRtree(image)
        for row, polygon in enumerate(image):
            record(counts, polygon)
            if not polygon.is_valid:
                continue
            done: set[str] = set()
            for other in tree.query(polygon).tolist():
                if other >= row or not image[other].is_valid or not polygon.intersects(image[other]):
                    continue
                common = polygon.intersection(image[other]).area
                if common <= 0:
                    continue
                share = common / (polygon.area + image[other].area - common)
                if share >= 0.999:
                    done.add("GEO020")
                elif share >= 0.9:
                    done.add("GEO021")
                elif common >= 1.0 and common >= 0.01 * min(polygon.area, image[other].area):
                    done.add("GEO022")
            counts.update(done)
    return counts


def record(counts: Counter[str], polygon: Any) -> None:
    """Check one polygon."""
    if polygon.is_empty:
        counts["GEO001"] += 1
        return
    rings = [np.asarray(ring.coords)[:-1] for ring in (polygon.exterior, *polygon.interiors)]
    if not all(np.isfinite(xy).all() for xy in rings):
        counts["GEO002"] += 1
        return
    flat = polygon.area == 0 and polygon.convex_hull.area == 0
    counts["GEO011"] += flat
    counts["GEO010"] += not polygon.is_valid and not flat
    counts["GEO012"] += any((np.abs(np.roll(xy, -1, axis=0) - xy).max(axis=1) <= 1e-6).any() for xy in rings)
    counts["GEO013"] += any(spiky(xy) for xy in rings)
    counts["GEO014"] += polygon.area > 0 and 2 * polygon.area / polygon.length < 0.75
    counts["GEO030"] += 0 < polygon.area * METRES**2 < 1.0
    left, low, right, high = polygon.bounds
    counts["GEO040"] += max(-left, -low, right - 512, high - 512) > 0.5


def main() -> None:
    """Run and write bench-output/validate.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--polygons", type=int, default=1_000_000)
    parser.add_argument("--loop", type=int, default=20_000)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args()
    sample = shapes(options.loop, 0) if options.loop >= BATCH else shapes(BATCH, 0)[: options.loop]
    began, cpu = time.perf_counter(), time.process_time()
    looped = by_loop(sample)
    loop_s, loop_cpu = time.perf_counter() - began, time.process_time() - cpu
    same = Counter(
        {rule.spec.code: len(found) for rule, found in check(layer_of(sample), Policy.from_json({}).active())}
    )
    if +looped != +same:
        raise SystemExit(f"the loop finds {dict(+looped)}, the columns {dict(+same)}")
    counts, seconds, used = by_column(options.polygons, options.threads)
    scaled = loop_s * options.polygons / options.loop
    result = {
        "polygons": options.polygons,
        "threads": options.threads,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(used, 2),
        "findings": dict(sorted((+counts).items())),
        "loop_polygons": options.loop,
        "loop_seconds_scaled": round(scaled, 1),
        "loop_cpu_seconds_scaled": round(loop_cpu * options.polygons / options.loop, 1),
        "ratio": round(scaled / seconds, 2),
        "cpu_ratio": round(loop_cpu * options.polygons / options.loop / used, 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "load": round(os.getloadavg()[0], 1),
    }
    folder = Path("bench-output")
    folder.mkdir(exist_ok=True)
    (folder / "validate.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
