"""Confidence from what reviewers kept, against a real Label Studio."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from geolabel.labelstudio.codec import decode_result, encode_regions
from geolabel.labelstudio.task import chip_of_task
from geolabel.pipeline.calibrate import calibrate_project
from geolabel.pipeline.calibration_plot import plot_reliability
from geolabel.pipeline.chain import load_calibration, open_project
from geolabel.pipeline.prelabel import prelabel


def test_reviewed_regions_become_probabilities(new_town: Any, tmp_path: Path) -> None:
    town = new_town(labels=("Hall", "Ford"), size=512, seed=61)
    services = town.stack.services
    ids = sorted(town.tasks)
    town.annotate(ids[:3])
    before = prelabel(services, town.pid, ids[3:13])
    assert before.imported == 10
    # The reviewer keeps every second hall and every ford.
    for task_id in ids[3:13]:
        chip = chip_of_task(town.tasks[task_id])
        size = {"width_px": chip.georef.width, "height_px": chip.georef.height}
        predicted = decode_result(services.labelstudio.predictions(task_id)[0]["result"], **size).regions
        halls = [region for region in predicted if region.label == "Hall"]
        kept = [region for region in predicted if region.label == "Ford"] + halls[::2]
        services.labelstudio.annotate(task_id, encode_regions(kept, town.config, **size).result)
    version = open_project(services, town.pid, town.config).version
    report = calibrate_project(services, town.pid, precision=0.9)
    halls = next(item for item in report.classes if item.label == "Hall")
    assert halls.count >= 20
    assert 0.4 < halls.kept / halls.count < 0.7
    assert halls.method == "temperature"
    assert halls.threshold is None or halls.threshold > 0
    score, calibrated = load_calibration(services, town.pid)["fewshot"].score("Hall", 0.95)
    assert calibrated
    assert score < 0.9
    after = open_project(services, town.pid, town.config)
    assert after.version != version, "other scores are another version"
    for name in ("curves.png", "curves.svg"):
        plot_reliability(report, tmp_path / name)
        assert (tmp_path / name).stat().st_size > 2000
