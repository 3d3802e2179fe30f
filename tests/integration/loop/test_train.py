"""Learning on frozen snapshots: kept only if not worse, repeatable, and harmless when it fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from geolabel.errors import ModelError, NotFoundError
from geolabel.pipeline.holdout import split_holdout
from geolabel.pipeline.labels import collect_labels
from geolabel.pipeline.models import active_version, list_versions
from geolabel.pipeline.refresh import refresh_project
from geolabel.pipeline.scenes import load_scene
from geolabel.pipeline.train import history, train_project, use_version

Make = Callable[..., Any]


def test_learning_judging_and_learning_the_same_again(new_loop: Make) -> None:
    loop = new_loop(size=256, labelled=20)
    services = loop.stack.services
    first = train_project(services, loop.pid)
    assert first.decision == "kept", first.reason
    assert first.judged > 0
    assert first.new["mean_iou"] > 0.3
    assert set(first.new["classes"]) <= {"Roof", "Canal"}
    assert first.new["region_classes"]
    model = active_version(services, loop.pid)
    assert model is not None
    assert model.metrics["snapshot"] == first.snapshot
    assert services.store.exists(f"projects/{loop.pid}/loop/snapshots/{first.snapshot}.json")
    again = train_project(services, loop.pid)
    assert again.decision == "unchanged"
    assert len(list_versions(services, loop.pid)) == len(history(services, loop.pid)) == 1
    # Then the open tasks are predicted by it and ranked, and Label Studio serves them so.
    predicted, ranked = refresh_project(services, loop.pid)
    assert predicted["imported"] == len(ranked.order) == len(loop.tasks) - 20
    assert ranked.version.startswith("fewshot")
    assert loop.labelstudio.project(loop.project_id)["model_version"] == ranked.version
    assert loop.served(2) == ranked.order[:2]
    # An older version stays selectable; one that never was is refused.
    assert use_version(services, loop.pid, model.version).version == model.version
    with pytest.raises(NotFoundError):
        use_version(services, loop.pid, "never was")


def test_no_judging_chip_overlaps_a_teaching_one(new_loop: Make) -> None:
    loop = new_loop(size=256, labelled=25)
    items = collect_labels(loop.stack.services, loop.pid, loop.config)
    teach, judging = split_holdout(loop.stack.services, items, share=0.2)
    assert teach
    assert judging
    for item in teach:
        a = item.chip.window
        assert all(a.intersection(other.chip.window) is None for other in judging)


def test_a_failed_training_leaves_the_old_model_and_says_why(new_loop: Make) -> None:
    loop = new_loop(size=128, labelled=4)
    services = loop.stack.services
    assert train_project(services, loop.pid).decision == "kept"
    active = active_version(services, loop.pid)
    chip = collect_labels(services, loop.pid, loop.config)[0]
    loop.annotate(sorted(loop.tasks)[5])
    path = Path(load_scene(services, chip.scene_id).uri)
    hidden = path.with_suffix(".away")
    path.rename(hidden)
    try:
        with pytest.raises(ModelError, match="nothing could be learned"):
            train_project(services, loop.pid)
    finally:
        hidden.rename(path)
    assert active_version(services, loop.pid) == active
    assert train_project(services, loop.pid).decision == "kept"


def test_odd_labels_nothing_one_class_skipped_contradictory(new_loop: Make) -> None:
    loop = new_loop(size=128)
    services, ids = loop.stack.services, sorted(loop.tasks)
    assert train_project(services, loop.pid).decision == "nothing"
    loop.labelstudio.annotate(ids[0], [], was_cancelled=True)
    loop.labelstudio.annotate(ids[1], [])
    assert train_project(services, loop.pid).decision == "nothing"
    roofs = [item for item in loop.result(ids[0]) if "Roof" in str(item["value"])]
    assert roofs
    loop.labelstudio.annotate(ids[0], roofs)
    swapped = [{**item, "value": {**item["value"], "polygonlabels": ["Canal"]}} for item in roofs]
    one_class = train_project(services, loop.pid)
    assert one_class.decision == "kept"
    # A second person says the opposite: the newer annotation counts, nothing is lost in Label Studio.
    loop.labelstudio.annotate(ids[0], swapped)
    assert train_project(services, loop.pid).decision in ("kept", "rejected")
    assert len(loop.labelstudio.task(ids[0])["annotations"]) == 3
