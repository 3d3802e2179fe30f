"""Labels to 95 % of the all-labels score, all samplers, on three data sets: `python -m bench.active`.

Results: one JSON (small) and one PNG per data set in the output folder; runs are resumable.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

from bench.active.worlds import kampala, made_scene, slovenia
from geolabel.pipeline.simulate import simulate
from geolabel.sample.registry import SAMPLERS
from geolabel.sample.replay import LabelledTable, ReplayOptions

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="bench.active", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--processes", type=int, default=0)
    parser.add_argument("--samplers", default="")
    parser.add_argument("--data", default="made,kampala,slovenia")
    parser.add_argument("--out", type=Path, default=ROOT / "bench-output" / "active")
    options = parser.parse_args()
    names = [n for n in options.samplers.split(",") if n] or SAMPLERS.names()
    data_dir = Path(os.environ.get("GEOLABEL_TEST_DATA") or ROOT.parent / "shared" / "data")
    for key in options.data.split(","):
        if key != "made" and not data_dir.is_dir():
            print(f"{key}: no real data in {data_dir}; set GEOLABEL_TEST_DATA")
            continue
        table, how = _load(key, data_dir)
        started, cpu = time.monotonic(), _cpu_s()
        result = simulate(
            table, options.out / key, names, seeds=options.seeds, options=how, processes=options.processes
        )
        value = {
            "data": table.name,
            "chips": len(table),
            "seeds": options.seeds,
            "wall_s": round(time.monotonic() - started, 1),
            "cpu_s": round(_cpu_s() - cpu, 1),
            "resumed": result.resumed,
            "options": how.to_json(),
            "failed": result.failed,
            "samplers": {
                name: {k: v for k, v in item.items() if k != "curve"} for name, item in result.summary.items()
            },
        }
        (options.out / f"{key}.json").write_text(json.dumps(value, indent=1) + "\n", "utf-8")
        print(f"{table.name}, {value['wall_s']} s wall, {value['cpu_s']} s CPU")
        for name, item in sorted(result.summary.items(), key=lambda pair: pair[1]["labels_to_target"][0]):
            print(f"  {name:<17} {item['labels_to_target']}  {item['ratio_to_random']}  missed {item['not_reached']}")


def _load(key: str, data_dir: Path) -> tuple[LabelledTable, ReplayOptions]:
    if key == "made":
        return made_scene(), ReplayOptions(budget=600, buffer_chips=1.0)
    if key == "kampala":
        return kampala(data_dir), ReplayOptions(budget=170, block_chips=4.0)
    return slovenia(data_dir), ReplayOptions(budget=280, block_chips=4.0)


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


if __name__ == "__main__":
    main()
