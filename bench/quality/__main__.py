"""IoU and object F1 against the number of labels, beside a plain random forest.

`python -m bench.quality [--worlds kampala,atlanta,slovenia] [--labels 5,10,25,50,100] [--seeds 3] [--out bench-output]`

Tiles of the learning half are annotated whole, in a random order, until there are as many labels as asked for; the
other half judges. The plain forest is that of scikit-image's gallery: `multiscale_basic_features` and 50 trees. No
parameter was chosen on a judging half: those of the few-shot head were chosen within the learning half of kampala_a
(split once more, north against south), thresholds are chosen at every fit by cross-validation on the bought labels.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from bench.quality.worlds import WORLDS, World
from geolabel.core.shapes import to_shapely
from geolabel.predict.contract import PredictContext
from geolabel.predict.features import ClassicalFeatures
from geolabel.predict.fewshot import FewShotPredictor
from geolabel.predict.geometry import burn, label_polygons
from geolabel.predict.pixelhead import LabelledChip, fit_pixel_head, label_images
from geolabel.predict.regions import RegionPredictor, fit_region_head

Shapes = list[tuple[str, shapely.Geometry]]
Method = Callable[[World, Sequence[LabelledChip], LabelledChip], Shapes]


def few_shot(world: World, bought: Sequence[LabelledChip], judge: LabelledChip) -> Shapes:
    head = fit_pixel_head(bought, world.taxonomy, ClassicalFeatures())
    return [] if head is None else _predict(FewShotPredictor(), world, judge, {"fewshot": head})


def regions(world: World, bought: Sequence[LabelledChip], judge: LabelledChip) -> Shapes:
    head = fit_region_head(bought, world.taxonomy)
    return [] if head is None else _predict(RegionPredictor(), world, judge, {"regions": head})


def _predict(predictor: Any, world: World, judge: LabelledChip, heads: dict[str, Any]) -> Shapes:
    context = PredictContext(project_id="bench", taxonomy=world.taxonomy, heads=heads)
    answer = predictor.predict([judge.chip], context)[0]
    if answer.error:
        raise SystemExit(answer.error)
    return [(region.label, to_shapely(region.shape)) for region in answer.regions]


def plain_forest(world: World, bought: Sequence[LabelledChip], judge: LabelledChip) -> Shapes:
    from sklearn.ensemble import RandomForestClassifier

    names = ("", *world.taxonomy.names())
    vectors, classes = [], []
    for item in bought:
        _, kinds = label_images(item, names)
        vectors.append(_basic_features(item))
        classes.append(kinds.reshape(-1))
    forest = RandomForestClassifier(n_estimators=50, n_jobs=1, max_depth=10, max_samples=0.05, random_state=0)
    forest.fit(np.concatenate(vectors), np.concatenate(classes))
    found = forest.predict(_basic_features(judge)).reshape(judge.chip.height, judge.chip.width)
    out: Shapes = []
    for number, name in enumerate(names[1:], start=1):
        outlines = label_polygons((found == number).astype(np.int32))
        parts = [part for shape in outlines.values() for part in shapely.get_parts(shape)]
        out += [(name, part) for part in parts if part.area >= 8]
    return out


def _basic_features(item: LabelledChip) -> npt.NDArray[np.float32]:
    from skimage.feature import multiscale_basic_features

    image = np.moveaxis(item.chip.pixels.astype(np.float32), 0, -1)
    found = multiscale_basic_features(
        image, intensity=True, edges=True, texture=True, sigma_min=1, sigma_max=16, channel_axis=-1
    )
    return found.reshape(-1, found.shape[-1])


METHODS: dict[str, Method] = {"few_shot": few_shot, "regions": regions, "plain_forest": plain_forest}


def buy(world: World, count: int, seed: int) -> list[LabelledChip]:
    """Annotate tiles in a random order until there are so many labels."""
    tiles = world.tiles()
    bought: list[LabelledChip] = []
    for i in np.random.default_rng(seed).permutation(len(tiles)):
        bought.append(tiles[i])
        if sum(len(item.regions) for item in bought) >= count:
            break
    return bought


def judge_areas(found: Shapes, judge: LabelledChip, world: World) -> float:
    """Mean IoU over the classes of the judging half."""
    scores = []
    size = (judge.chip.width, judge.chip.height)
    for name in sorted({region.label for region in judge.regions}):
        truth = burn([(to_shapely(r.shape), 1) for r in judge.regions if r.label == name], *size) > 0
        said = burn([(shape, 1) for label, shape in found if label == name], *size) > 0
        union = (truth | said).sum()
        scores.append(float((truth & said).sum() / union) if union else 1.0)
    return float(np.mean(scores))


def judge_objects(found: Shapes, judge: LabelledChip) -> float:
    """F1 of objects, one to one, matched from IoU 0.5 on."""
    truth = [(region.label, to_shapely(region.shape)) for region in judge.regions]
    tree = shapely.STRtree([shape for _, shape in truth])
    pairs = []
    for i, (label, shape) in enumerate(found):
        for j in tree.query(shape, predicate="intersects"):
            union = shape.union(truth[j][1]).area
            iou = shape.intersection(truth[j][1]).area / union if union else 0.0
            if label == truth[j][0] and iou >= 0.5:
                pairs.append((iou, i, int(j)))
    used_i: set[int] = set()
    used_j: set[int] = set()
    for _, i, j in sorted(pairs, reverse=True):
        if i not in used_i and j not in used_j:
            used_i.add(i)
            used_j.add(j)
    return 2 * len(used_i) / max(1, len(found) + len(truth))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[3] / "shared" / "data")
    parser.add_argument("--worlds", default="kampala,atlanta,slovenia")
    parser.add_argument("--labels", default="5,10,25,50,100")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("bench-output"))
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in arguments.worlds.split(","):
        world = WORLDS[name](arguments.data)
        judge = world.judge()
        there = sum(len(item.regions) for item in world.tiles())
        for count in (int(n) for n in arguments.labels.split(",")):
            if count > there:
                print(f"{name}: {count} labels: the learning half has {there}", flush=True)
                continue
            rows += _measure(world, judge, count, arguments.methods.split(","), arguments.seeds)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "quality.json").write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


def _measure(world: World, judge: LabelledChip, count: int, methods: Sequence[str], seeds: int) -> list[dict[str, Any]]:
    found: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for seed in range(seeds):
        bought = buy(world, count, seed)
        for method in methods:
            started = time.process_time()
            shapes = METHODS[method](world, bought, judge)
            seconds = time.process_time() - started
            found[method].append((judge_areas(shapes, judge, world), judge_objects(shapes, judge), seconds))
    rows = []
    for method, values in found.items():
        iou, f1, seconds = np.mean(values, axis=0)
        spread = np.std(values, axis=0)
        row = {
            "world": world.name, "labels": count, "method": method, "seeds": seeds,
            "iou": round(float(iou), 3), "iou_sd": round(float(spread[0]), 3),
            "f1": round(float(f1), 3) if world.objects else None, "cpu_s": round(float(seconds), 1),
        }  # fmt: skip
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


if __name__ == "__main__":
    main()
