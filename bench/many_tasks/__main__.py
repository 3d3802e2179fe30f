"""Select 1,000 tasks in a real Label Studio, send them to Predictions twice, and watch.

Says how long the button took, when all were stored, whether any was stored twice, and how quickly Label Studio answered
meanwhile. `python -m bench.many_tasks [--tasks 1000] [--out bench-output] [--shots FOLDER]`; a Label Studio is started
unless GEOLABEL_TEST_LS_URL and GEOLABEL_TEST_LS_TOKEN name one, the same for GEOLABEL_TEST_REDIS_URL.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from geolabel.pipeline.connect import connect
from geolabel.pipeline.models import fit_project
from tests.integration.predict.conftest import Town, make_town
from tests.servers import LabelStudioAccount, Stack, own_label_studio, own_redis, redis_databases

ROOT = Path(__file__).parents[2]
CHIP_PX, STRIDE_PX = 128, 112


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("bench-output"))
    parser.add_argument("--shots", type=Path)
    arguments = parser.parse_args()
    with ExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="geolabel-bench-")))
        stack = Stack(_account(exits, folder), _redis(exits, folder), folder / "state", ROOT)
        exits.callback(stack.stop)
        report = run(stack, folder, arguments.tasks, arguments.shots)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "many_tasks.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    print(json.dumps(report, indent=1))


def _account(exits: ExitStack, folder: Path) -> LabelStudioAccount:
    url = os.environ.get("GEOLABEL_TEST_LS_URL")
    if not url:
        return exits.enter_context(own_label_studio(folder / "label-studio", ROOT))
    return LabelStudioAccount(
        url=url,
        token=os.environ["GEOLABEL_TEST_LS_TOKEN"],
        email=os.environ.get("GEOLABEL_TEST_LS_EMAIL", ""),
        password=os.environ.get("GEOLABEL_TEST_LS_PASSWORD", ""),
    )


def _redis(exits: ExitStack, folder: Path) -> str:
    url = os.environ.get("GEOLABEL_TEST_REDIS_URL") or exits.enter_context(own_redis(folder / "redis"))
    return redis_databases(url.rstrip("/"))()


def run(stack: Stack, folder: Path, wanted: int, shots: Path | None) -> dict[str, Any]:
    side = int((wanted + 12) ** 0.5) + 1
    town = make_town(stack, folder, labels=("Hut", "Trench"), size=STRIDE_PX * (side - 1) + CHIP_PX, seed=77)
    ids = sorted(town.tasks)
    labelled = ids[:: len(ids) // 10][:10]
    town.annotate(labelled)
    model = fit_project(stack.services, town.pid, config=town.config)
    assert model is not None
    url = stack.backend()
    stack.worker()
    connect(stack.services, town.project_id, url)
    chosen = [i for i in ids if i not in labelled][:wanted]
    answers: list[float] = []
    started = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        presses = [pool.submit(_press, town, chosen) for _ in range(2)]
        while not all(item.done() for item in presses):
            answers.append(_ask(town))
            time.sleep(0.5)
        seconds = [round(item.result(), 1) for item in presses]
    if shots is not None:
        _shoot(shots / "progress-page.png", f"{url}/progress?project={town.pid}", stack)
    stored = _watch(town, chosen, started, answers)
    counts = _counts(town, chosen)
    if shots is not None:
        _shoot(shots / "progress-page-done.png", f"{url}/progress?project={town.pid}", stack)
        _shoot_manager(shots / "thousand-tasks.png", town)
    report = {
        "tasks": len(chosen),
        "buttons_pressed": 2,
        "button_s": seconds,
        "all_stored_after_s": round(stored, 1),
        "predictions_per_task": {str(k): v for k, v in sorted(Counter(counts.values()).items())},
        "label_studio_answers": {
            "asked": len(answers),
            "p50_s": round(statistics.median(answers), 3),
            "max_s": round(max(answers), 3),
        },
        "load": round(os.getloadavg()[0], 1),
    }
    stack.services.labelstudio.delete_project(town.project_id)
    return report


def _press(town: Town, ids: list[int]) -> float:
    started = time.monotonic()
    town.stack.services.labelstudio.action(town.project_id, "retrieve_tasks_predictions", included=ids, timeout_s=900.0)
    return time.monotonic() - started


def _ask(town: Town) -> float:
    started = time.monotonic()
    with town.stack.labelstudio.client() as client:
        client.get("/api/tasks", params={"project": town.project_id, "page_size": 30}).raise_for_status()
    return time.monotonic() - started


def _counts(town: Town, ids: list[int]) -> dict[int, int]:
    tasks = {int(t["id"]): len(t["predictions"]) for t in town.stack.services.labelstudio.tasks(town.project_id)}
    return {i: tasks[i] for i in ids}


def _watch(town: Town, ids: list[int], started: float, answers: list[float]) -> float:
    while time.monotonic() - started < 3600:
        answers.append(_ask(town))
        if min(_counts(town, ids).values()) >= 1:
            return time.monotonic() - started
        time.sleep(3)
    raise SystemExit("after an hour there are still tasks without a prediction")


def _shoot(path: Path, url: str, stack: Stack) -> None:
    from playwright.sync_api import sync_playwright

    path.parent.mkdir(parents=True, exist_ok=True)
    user, password = stack.auth
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=["--headless", "--no-sandbox"])
        context = browser.new_context(
            viewport={"width": 1200, "height": 900}, http_credentials={"username": user, "password": password}
        )
        page = context.new_page()
        page.goto(url)
        page.screenshot(path=str(path))
        browser.close()


def _shoot_manager(path: Path, town: Town) -> None:
    from playwright.sync_api import sync_playwright

    account = town.stack.labelstudio
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=["--headless", "--no-sandbox"])
        page = browser.new_context(viewport={"width": 1500, "height": 950}).new_page()
        page.goto(f"{account.url}/user/login/")
        page.fill("#email", account.email)
        page.fill("#password", account.password)
        page.click("button[type=submit]")
        page.wait_for_url(lambda address: "/user/login" not in address)
        page.goto(f"{account.url}/projects/{town.project_id}/data")
        page.wait_for_timeout(6000)
        page.screenshot(path=str(path))
        browser.close()


if __name__ == "__main__":
    main()
