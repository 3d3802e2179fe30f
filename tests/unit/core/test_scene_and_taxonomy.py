"""The task's own record of its place, and class lists."""

from __future__ import annotations

import json

import pytest

from geolabel.core.georef import Georeference, Window
from geolabel.core.scene import Band, Chip, RenderSpec, Scene, chip_id
from geolabel.core.taxonomy import LabelClass, Taxonomy, Thresholds
from geolabel.errors import GeoLabelError, InputError, TaxonomyError
from geolabel.labelstudio.task import build_stack_task, build_task, chip_of_task, chips_of_task

GEOREF = Georeference(crs="EPSG:32636", transform=(0.5, 0, 450_000, 0, -0.5, 36_000), width=2000, height=1000)
RENDER = RenderSpec(bands=(1, 2, 3), rescale=((0, 255),) * 3)


def make_scene(name: str = "scene") -> Scene:
    return Scene(
        id=name, uri=f"/{name}.tif", name=name, georef=GEOREF, bands=(Band(index=1, name="red"),), dtype="uint8",
        crs_log={"source": "EPSG:32636"}, acquired="2020-01-01T00:00:00Z",
    )  # fmt: skip


def make_chip(scene: Scene, window: Window | None = None) -> Chip:
    window = window or Window(col=448, row=0, width=512, height=512)
    return Chip(
        id=chip_id(scene.id, window, (window.width, window.height), RENDER.digest()), scene_id=scene.id, window=window,
        georef=scene.georef.window(window), render=RENDER, cloud_fraction=0.25,
    )  # fmt: skip


def test_a_chip_comes_back_from_its_task() -> None:
    scene = make_scene()
    chip = make_chip(scene)
    data = json.loads(json.dumps(build_task(chip, scene, "http://x/chip.jpg", extra={"route": "accept"})))
    assert chip_of_task({"id": 1, "data": data}) == chip
    assert data["image"] == "http://x/chip.jpg"
    assert data["geo"]["crs_log"] == {"source": "EPSG:32636"}
    west, south, east, north = data["geo"]["bounds_lonlat"]
    assert west < east
    assert south < north


def test_a_stack_of_dates() -> None:
    scenes = [make_scene("a"), make_scene("b")]
    chips = [make_chip(scene) for scene in scenes]
    data = build_stack_task(chips, scenes, ["http://x/1", "http://x/2"])
    assert chips_of_task({"data": data}) == tuple(chips)
    assert data["images"] == ["http://x/1", "http://x/2"]
    other = make_chip(scenes[1], Window(col=0, row=0, width=100, height=100))
    with pytest.raises(InputError, match="not on the pixel plane"):
        build_stack_task([chips[0], other], scenes, ["1", "2"])


@pytest.mark.parametrize(
    "task",
    [
        {"id": 1},
        {"id": 1, "data": {}},
        {"id": 1, "data": {"geo": {"schema": "other/1"}}},
        {"id": 1, "data": {"geo": {"schema": "geolabel.chip/1", "window": [1, 2]}}},
        {
            "id": 1,
            "data": {"geo": {"schema": "geolabel.chip/1", "window": [0, 0, 0, 5], "chip_id": "c", "scene_id": "s"}},
        },
    ],
)
def test_tasks_without_a_place_are_refused_with_a_sentence(task: dict[str, object]) -> None:
    with pytest.raises(GeoLabelError) as caught:
        chip_of_task(task)
    assert len(caught.value.message) > 20


def test_taxonomy_round_trip_and_lookup() -> None:
    taxonomy = Taxonomy(
        name="t",
        version="2",
        classes=(
            LabelClass(id=1, name="Building", aliases=("house",), thresholds=Thresholds(accept=0.7, review=0.3)),
            LabelClass(id=5, name="Road", shapes=("line", "polygon"), min_length_m=3),
        ),
    )
    assert Taxonomy.from_json(json.loads(json.dumps(taxonomy.to_json()))) == taxonomy
    assert taxonomy.by_name("house").id == 1
    assert "house" in taxonomy
    with pytest.raises(TaxonomyError, match="it has Building, Road"):
        taxonomy.by_name("River")


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": 0, "name": "a"},
        {"id": 1, "name": " "},
        {"id": 1, "name": "a", "colour": "red"},
        {"id": 1, "name": "a", "shapes": ["blob"]},
        {"id": 1, "name": "a", "holes": "none"},
        {"id": 1, "name": "a", "thresholds": {"accept": 0.1, "review": 0.5}},
        {"id": 1, "name": "a", "unknown": 1},
    ],
)
def test_wrong_classes_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(TaxonomyError):
        Taxonomy.from_json({"name": "t", "version": "1", "classes": [wrong]})


def test_ids_and_names_are_used_once() -> None:
    with pytest.raises(TaxonomyError, match="id 1 twice"):
        Taxonomy(name="t", version="1", classes=(LabelClass(id=1, name="a"), LabelClass(id=1, name="b")))
    with pytest.raises(TaxonomyError, match="name a twice"):
        Taxonomy(name="t", version="1", classes=(LabelClass(id=1, name="a"), LabelClass(id=2, name="a")))
