"""Clicks and boxes without any weights, through the same entry as Label Studio's requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import shapely

from geolabel.core.shapes import Mask, to_shapely
from geolabel.labelstudio.codec import decode_result
from geolabel.pipeline.interactive import prompted_regions
from geolabel.pipeline.predict_tasks import predict_tasks
from geolabel.services import Services

from .conftest import CHIP_PX, ROOF, Site, box, click

Ask = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def services(site: Site) -> Services:
    return Services(site.settings)


@pytest.fixture
def ask(site: Site, services: Services) -> Ask:
    services.jobs.connection.flushdb()

    def run(number: int, *results: dict[str, Any], brush: str = "BrushLabels", **context: Any) -> dict[str, Any]:
        entries = predict_tasks(services, site.payload(number, list(results), brush, **context))
        assert len(entries) == 1
        entry = entries[0]
        assert isinstance(entry, dict)
        return entry

    return run


def iou_with_roof(entry: dict[str, Any], number: int = 0) -> float:
    decoded = decode_result(entry["result"], width_px=CHIP_PX, height_px=CHIP_PX)
    assert decoded.regions, entry
    found = shapely.union_all([to_shapely(region.shape) for region in decoded.regions])
    roof = shapely.box(ROOF[0], ROOF[1], ROOF[2] + 8 * number, ROOF[3])
    return float(found.intersection(roof).area / found.union(roof).area)


def test_a_click_gives_a_polygon_of_the_roof(ask: Ask) -> None:
    entry = ask(0, click(70, 70))
    assert [item["type"] for item in entry["result"]] == ["polygonlabels"]
    assert entry["result"][0]["value"]["polygonlabels"] == ["Building"]
    assert entry["result"][0]["from_name"] == "polygons"
    assert 0 <= entry["score"] <= 1
    assert entry["model_version"].startswith("interactive-graphcut")
    assert iou_with_roof(entry) > 0.9


def test_a_loose_box_gives_the_roof(ask: Ask) -> None:
    assert iou_with_roof(ask(0, box(30, 42, 112, 98))) > 0.9


@pytest.mark.parametrize("tag, kind", [("BrushLabels", "brushlabels"), ("BitmaskLabels", "bitmasklabels")])
def test_a_class_with_masks_gets_a_mask(ask: Ask, tag: str, kind: str) -> None:
    entry = ask(0, click(70, 70, label="Water"), brush=tag)
    assert [item["type"] for item in entry["result"]] == [kind]
    decoded = decode_result(entry["result"], width_px=CHIP_PX, height_px=CHIP_PX).regions[0]
    assert decoded.label == "Water"
    assert isinstance(decoded.shape, Mask)
    mask = decoded.shape.to_array() > 0
    roof = np.zeros_like(mask)
    roof[ROOF[1] : ROOF[3], ROOF[0] : ROOF[2]] = True
    assert (mask & roof).sum() / (mask | roof).sum() > 0.9


def test_clicks_on_one_object_are_one_description_with_one_id(ask: Ask, services: Services) -> None:
    first = ask(0, click(70, 70))
    second = ask(0, click(60, 60))
    elsewhere = ask(0, click(200, 200))
    assert second["result"][0]["id"] == first["result"][0]["id"]
    assert not elsewhere["result"] or elsewhere["result"][0]["id"] != first["result"][0]["id"]
    kept = prompted_regions(services, "7", 1)[first["result"][0]["id"]]
    assert len(kept["prompt"]["clicks"]) == 2
    assert kept["model"].startswith("interactive-graphcut")


def test_a_negative_click_after_a_box_takes_its_place_away(ask: Ask) -> None:
    whole = ask(0, box(30, 42, 112, 98))
    less = ask(0, click(50, 70, positive=False))
    assert less["result"][0]["id"] == whole["result"][0]["id"]
    decoded = decode_result(less["result"], width_px=CHIP_PX, height_px=CHIP_PX).regions
    assert not any(to_shapely(region.shape).contains(shapely.Point(50.5, 70.5)) for region in decoded)


def test_people_tasks_and_classes_do_not_mix(ask: Ask) -> None:
    ids = [
        ask(0, click(70, 70), user="ann")["result"][0]["id"],
        ask(0, click(70, 70), user="ben")["result"][0]["id"],
        ask(1, click(70, 70), user="ann")["result"][0]["id"],
        ask(0, click(70, 70, label="Water"), user="ann")["result"][0]["id"],
    ]
    assert len(set(ids)) == 4


@pytest.mark.parametrize(
    "results, words",
    [
        ([click(300, 70)], "outside the image"),
        ([box(50, 50, 50, 90)], "at least 2 px"),
        ([box(400, 400, 500, 500)], "inside the image"),
        ([click(70, 70, label="Spaceship")], "unknown"),
        ([click(70, 70, positive=False)], "negative click alone"),
        ([{"type": "keypointlabels", "value": {"x": float("nan"), "y": 1, "keypointlabels": ["Building"]}}], "finite"),
        ([{"type": "brushlabels", "value": {"rle": [1]}}], "neither a key point nor a rectangle"),
    ],
)
def test_prompts_that_say_nothing_are_answered_with_a_sentence(
    ask: Ask, results: list[dict[str, Any]], words: str
) -> None:
    entry = ask(0, *results)
    assert entry["result"] == []
    assert words in entry["explanation"]


def test_without_redis_every_request_stands_for_itself(site: Site) -> None:
    settings = site.settings.model_copy(
        update={
            "redis": site.settings.redis.model_copy(
                update={"url": type(site.settings.redis.url)("redis://127.0.0.1:9")}
            )
        }
    )
    entry = predict_tasks(Services(settings), site.payload(0, [click(70, 70)]))[0]
    assert isinstance(entry, dict)
    assert iou_with_roof(entry) > 0.9
