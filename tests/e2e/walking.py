"""The steps of a person in Label Studio's pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from playwright.sync_api import Page

EDITOR_READY = """() => window.Htx && Htx.annotationStore && Htx.annotationStore.selected &&
  [...Htx.annotationStore.selected.names.values()].some(t => t.type === 'image' && t.currentImageEntity
    && t.currentImageEntity.imageLoaded && t.stageRef)"""
REGIONS = """() => Htx.annotationStore.selected.regions.map(r => (
  {id: r.cleanId, type: r.type, labels: [...(r.labels || [])]}))"""


def login(page: Page, url: str, email: str, password: str) -> None:
    """Log in."""
    page.goto(f"{url}/user/login/")
    page.fill("#email", email)
    page.fill("#password", password)
    page.click("button[type=submit]")
    page.wait_for_url(lambda address: "/user/login" not in address)


def open_project(page: Page, url: str, project_id: int, first_task: int) -> None:
    """Open the Data Manager and wait until its rows are there."""
    page.goto(f"{url}/projects/{project_id}/data")
    page.wait_for_selector(f'input[aria-label="Select Task {first_task}"]', state="attached")


def retrieve_predictions(page: Page, tasks: Sequence[int]) -> dict[str, Any]:
    """Tick tasks, then Tasks → Retrieve Predictions → OK; return what Label Studio answered."""
    for task in tasks:
        box = page.locator(f'input[aria-label="Select Task {task}"]')
        # React owns the box: a real click may miss in the virtual list, check() waits for a state it never sees.
        box.evaluate("e => e.click()")
    page.wait_for_function(
        "n => document.querySelector('[aria-label=\"Tasks Actions\"]').innerText.includes(n + ' Task')",
        arg=str(len(tasks)),
    )
    page.click('[aria-label="Tasks Actions"]')
    page.click('.lsf-actionButton[aria-label="Retrieve Predictions"]')
    with page.expect_response(
        lambda r: "id=retrieve_tasks_predictions" in r.url and r.request.method == "POST"
    ) as answered:
        page.click('[data-testid="dialog-ok-button"]')
    answer: dict[str, Any] = answered.value.json()
    return answer


def open_task(page: Page, url: str, project_id: int, task: int) -> list[dict[str, Any]]:
    """Open a task in the editor and return the regions that it shows."""
    page.goto(f"{url}/projects/{project_id}/data?task={task}")
    page.wait_for_function(EDITOR_READY)
    regions: list[dict[str, Any]] = page.evaluate(REGIONS)
    return regions


def submit(page: Page, task: int) -> dict[str, Any]:
    """Press Submit; return the annotation that Label Studio stored."""
    with page.expect_response(
        lambda r: f"/api/tasks/{task}/annotations" in r.url and r.request.method == "POST"
    ) as answered:
        page.get_by_test_id("bottombar-submit-button").click()
    annotation: dict[str, Any] = answered.value.json()
    return annotation
