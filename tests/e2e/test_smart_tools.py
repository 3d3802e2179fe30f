"""Clicks and boxes of the smart tools, by a person in Label Studio's editor: suggested, refined, accepted, stored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import geopandas
import pytest
import shapely
from affine import Affine
from playwright.sync_api import Page, Request

from geolabel.labelstudio.task import chip_of_task
from geolabel.local.first_project import open_project as make_project
from geolabel.local.synthetic import make_scene
from tests.e2e.walking import login, open_task, submit
from tests.servers import Stack

pytestmark = pytest.mark.timeout(1800)  # a browser on a loaded machine
SCENE_PX = 1024
MARGIN_PX = 12
LEAST_IOU = 0.5
TRIES = 5
CLICK_KEYS, BOX_KEYS = ("click", "key-point-tool"), ("frame", "rectangle-tool")
IMAGE = "[...Htx.annotationStore.selected.names.values()].find(t => t.type === 'image')"
ON_PAGE = f"""([x, y]) => {{ const image = {IMAGE}, edge = image.stageRef.container().getBoundingClientRect();
  return [edge.left + x * image.stageWidth, edge.top + y * image.stageHeight] }}"""
CHOSEN = f"""([control, label]) => {{ const tool = {IMAGE}.getToolsManager().findSelectedTool();
  const tag = Htx.annotationStore.selected.names.get(control);
  return tool && tool.dynamic && tool.control.name === control && tag.selectedLabels.some(l => l.value === label) }}"""
SUGGESTED = """() => Htx.annotationStore.selected.suggestions.size > 0 && !Htx.awaitingSuggestions"""
PROMPTS = """() => Htx.annotationStore.selected.regions.filter(r => r.dynamic).length"""


class _Editor:
    """The editor of one task; places are in px of the chip."""

    def __init__(self, page: Page, size: tuple[int, int]) -> None:
        self.page = page
        self.size = size
        self.prompts: list[dict[str, Any]] = []

    def choose(self, keys: tuple[str, str], label: str) -> None:
        """Choose a smart tool and a label for it; Label Studio wants the label anew for every click."""
        control, tool = keys
        self.page.hover("button.lsf-tool_smart:visible >> nth=0")
        self.page.click(f'button.lsf-tool_smart[aria-label="{tool}"]:visible')
        # The rows of labels stand in the order of the config.
        rows = self.page.evaluate(
            """label => [...Htx.annotationStore.selected.names.values()]
              .filter(t => (t.children || []).some(l => l.value === label)).map(t => t.name)""",
            label,
        )
        self.page.locator(f'.lsf-label:visible:has-text("{label}")').nth(rows.index(control)).click()
        self.page.wait_for_function(CHOSEN, arg=[control, label])

    def show(self, keys: tuple[str, str], *places: tuple[float, float], alt: bool = False) -> list[dict[str, Any]]:
        """Click at a place or draw a box from the first place to the second; return what was suggested."""
        asked: list[Request] = []
        self.page.on("request", lambda r: asked.append(r) if r.url.endswith("/interactive-annotating") else None)
        for _ in range(TRIES):
            self.choose(keys, "Building")
            self._press(places, alt=alt)
            for _ in range(100):
                if asked:
                    break
                self.page.wait_for_timeout(100)
            else:
                continue  # the editor had not taken the label yet
            answer = asked[0].response()
            assert answer is not None
            self.page.wait_for_function(SUGGESTED)
            found: list[dict[str, Any]] = answer.json()["data"]["result"]
            self.prompts = asked[0].post_data_json["context"]["result"]
            return found
        raise AssertionError("the editor sent no prompt")

    def _press(self, places: Sequence[tuple[float, float]], *, alt: bool) -> None:
        spots = [self.page.evaluate(ON_PAGE, [x / self.size[0], y / self.size[1]]) for x, y in places]
        if alt:
            self.page.keyboard.down("Alt")
        self.page.mouse.move(*spots[0])
        self.page.mouse.down()
        for spot in spots[1:]:
            self.page.mouse.move((spots[0][0] + spot[0]) / 2, (spots[0][1] + spot[1]) / 2)
            self.page.mouse.move(*spot)
        self.page.mouse.up()
        if alt:
            self.page.keyboard.up("Alt")

    def accept(self) -> None:
        """Take over all suggestions."""
        self.page.get_by_test_id("bottombar-accept-suggestions-button").click()
        self.page.wait_for_function("() => Htx.annotationStore.selected.suggestions.size === 0")


def _outline(result: dict[str, Any], size: tuple[int, int]) -> shapely.Polygon:
    assert result["type"] == "polygonlabels"
    assert result["value"]["polygonlabels"] == ["Building"]
    return shapely.Polygon([(x * size[0] / 100, y * size[1] / 100) for x, y in result["value"]["points"]]).buffer(0)


def _iou(a: shapely.Geometry, b: shapely.Geometry) -> float:
    return float(a.intersection(b).area / a.union(b).area)


def _largest_roofs(stack: Stack, project: int, truth: Path) -> tuple[int, tuple[int, int], list[shapely.Polygon]]:
    """Return the task with the largest second-largest roof, the size of its chip, and its roofs in px of the chip."""
    buildings = geopandas.read_file(truth).query("label == 'Building'").geometry
    best: tuple[int, tuple[int, int], list[shapely.Polygon]] = (0, (0, 0), [])
    with stack.labelstudio.client() as client:
        tasks = client.get("/api/tasks", params={"project": project, "fields": "all"}).json()["tasks"]
    for task in tasks:
        georef = chip_of_task(task).georef
        inverse = ~Affine(*georef.transform[:6])
        roofs = buildings.affine_transform([inverse.a, inverse.b, inverse.d, inverse.e, inverse.c, inverse.f])
        frame = shapely.box(MARGIN_PX, MARGIN_PX, georef.width - MARGIN_PX, georef.height - MARGIN_PX)
        whole = sorted((roof for roof in roofs if frame.contains(roof)), key=lambda roof: -roof.area)
        if len(whole) > 1 and (not best[2] or whole[1].area > best[2][1].area):
            best = (task["id"], (georef.width, georef.height), whole)
    assert best[2], "the scene has no chip with two whole roofs"
    return best


def test_clicks_and_a_box_become_polygons_in_place(stack: Stack, page: Page, screenshots: Path, tmp_path: Path) -> None:
    url = stack.backend()
    scene = make_scene(tmp_path / "scene", size_px=SCENE_PX)
    opened = make_project(
        stack.services, scenes=[str(scene.image)], template="buildings-roads-water-trees", title="smart tools",
        say=lambda _name, _line: None, backend_url=url,
    )  # fmt: skip
    with stack.labelstudio.client() as client:
        backends = client.get("/api/ml/", params={"project": opened.project_id}).json()
    assert [backend["is_interactive"] for backend in backends] == [True]
    task, size, roofs = _largest_roofs(stack, opened.project_id, scene.truth)

    account = stack.labelstudio
    login(page, account.url, account.email, account.password)
    open_task(page, account.url, opened.project_id, task)
    page.get_by_text("Auto-Annotation").last.click()
    editor = _Editor(page, size)
    roof, other = roofs[0], roofs[1]
    middle = roof.representative_point()
    first = editor.show(CLICK_KEYS, (middle.x, middle.y))
    corner = roof.exterior.coords[0]
    second = editor.show(CLICK_KEYS, ((middle.x + corner[0]) / 2, (middle.y + corner[1]) / 2))
    assert len(editor.prompts) == 2, "the editor sends all clicks that wait for an answer to be accepted"
    refined = editor.show(CLICK_KEYS, (roof.bounds[0] - 4, roof.bounds[1] - 4), alt=True)
    assert [prompt["is_positive"] for prompt in editor.prompts] == [True, True, False]
    assert {result["id"] for result in (*first, *second, *refined)} == {first[0]["id"]}, "one object, one id"
    page.mouse.move(5, 5)
    page.wait_for_timeout(500)  # for the picture only: labels fade in
    page.screenshot(path=screenshots / "smart-tools.png")
    editor.accept()

    left, top, right, bottom = other.bounds
    boxed = editor.show(BOX_KEYS, (left - 3, top - 3), (right + 3, bottom + 3))
    assert boxed[0]["id"] != first[0]["id"]
    editor.accept()
    stored = {result["id"]: result for result in submit(page, task)["result"]}
    assert set(stored) == {refined[0]["id"], boxed[0]["id"]}, "clicks and boxes themselves are not stored"
    assert _outline(stored[refined[0]["id"]], size).contains(middle)
    assert _iou(_outline(stored[refined[0]["id"]], size), roof) > LEAST_IOU
    assert _iou(_outline(stored[boxed[0]["id"]], size), other) > LEAST_IOU
