"""Our rank is the order in which a real Label Studio serves, and the traps on the way there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from geolabel.adapters.labelstudio import LabelStudio
from geolabel.errors import LabelStudioError, NotFoundError
from geolabel.pipeline.chain import NO_LABELS_VERSION
from geolabel.pipeline.queue_columns import VIEW_TITLE
from geolabel.pipeline.select import SAMPLING, rank_project
from geolabel.services import Services
from geolabel.settings import load_settings

Make = Callable[..., Any]


def _invited(loop: Any, count: int) -> list[LabelStudio]:
    """Further people of the organisation, each with a login of their own."""
    import httpx

    url = loop.stack.labelstudio.url
    with loop.stack.labelstudio.client() as admin:
        link = admin.get("/api/invite").json()["invite_url"]
    out = []
    for number in range(count):
        email = f"person-{number}-{loop.project_id}@geolabel.example"
        with httpx.Client(base_url=url, follow_redirects=True, trust_env=False, timeout=60.0) as browser:
            browser.get(link)
            token = browser.cookies.get("csrftoken", "")
            form = {"email": email, "password": "geolabel-test-1", "csrfmiddlewaretoken": token}
            browser.post(link.replace(url, ""), data=form, headers={"Referer": f"{url}/user/signup"})
            answer = browser.post("/api/token/", json={})
            assert answer.is_success, answer.text[:300]
            out.append(LabelStudio(url, answer.json()["token"]))
    return out


def test_rank_before_any_label_is_the_order_of_next(new_loop: Make) -> None:
    loop = new_loop(size=128)
    ranked = rank_project(loop.stack.services, loop.pid)
    assert ranked.version == NO_LABELS_VERSION
    assert sorted(ranked.order) == sorted(loop.tasks)
    assert ranked.written == len(loop.tasks)
    again = rank_project(loop.stack.services, loop.pid)
    assert (again.order, again.written, again.columns) == (ranked.order, 0, 0)
    project = loop.labelstudio.project(loop.project_id)
    assert (project["sampling"], project["model_version"]) == (SAMPLING, NO_LABELS_VERSION)
    scores = {}
    for task_id in ranked.order:
        (prediction,) = loop.labelstudio.predictions(task_id)
        scores[task_id] = prediction["score"]
    assert len(set(scores.values())) == len(scores)
    assert all(0 < score < 1 for score in scores.values())
    assert loop.served(4) == ranked.order[:4]
    # The rank of what is left holds without a new run.
    rest = rank_project(loop.stack.services, loop.pid)
    assert loop.labelstudio.next_task(loop.project_id)["id"] == rest.order[0]


def test_three_annotators_at_once_get_the_rank_in_turn_and_no_neighbours(new_loop: Make) -> None:
    loop = new_loop(size=256)
    people = [loop.labelstudio, *_invited(loop, 2)]
    ranked = rank_project(loop.stack.services, loop.pid)
    handed: list[int] = []
    for turn in range(2):
        held = [int(person.next_task(loop.project_id)["id"]) for person in people]
        assert held == ranked.order[3 * turn : 3 * turn + 3]
        windows = [loop.tasks[i]["data"]["geo"]["window"] for i in held]
        for i, a in enumerate(windows):
            for b in windows[:i]:
                assert max(abs(a[0] - b[0]), abs(a[1] - b[1])) >= 64, "neighbours were handed out together"
        # The same task is served again until it is finished: Label Studio's lock.
        assert int(people[0].next_task(loop.project_id)["id"]) == held[0]
        for person, task_id in zip(people, held, strict=True):
            person.annotate(task_id, [])
        handed += held
    assert len(set(handed)) == 6
    for person in people[1:]:
        person.close()


def test_new_tasks_join_the_queue_without_moving_the_others_scores(new_loop: Make) -> None:
    loop = new_loop(size=128)
    services = loop.stack.services
    first = rank_project(services, loop.pid)
    gone = first.order.pop(4)
    loop.labelstudio.delete_tasks(loop.project_id, [gone])
    copy = dict(loop.tasks[gone]["data"])
    (new,) = loop.labelstudio.import_tasks(loop.project_id, [{"data": copy}])
    second = rank_project(services, loop.pid)
    assert new in second.order
    assert gone not in second.order or gone == new
    assert second.written <= 3
    assert loop.served(3) == second.order[:3]


def test_the_tab_shows_rank_reason_and_score(new_loop: Make) -> None:
    loop = new_loop(size=128)
    ranked = rank_project(loop.stack.services, loop.pid)
    rank_project(loop.stack.services, loop.pid)
    views = [v for v in loop.labelstudio.views(loop.project_id) if v["data"]["title"] == VIEW_TITLE]
    assert len(views) == 1
    with loop.stack.labelstudio.client() as client:
        page = client.get("/api/tasks", params={"view": views[0]["id"], "page_size": 100, "fields": "all"}).json()
    assert [task["id"] for task in page["tasks"]] == ranked.order
    assert [task["data"]["queue_rank"] for task in page["tasks"]] == list(range(1, len(ranked.order) + 1))
    assert page["tasks"][0]["data"]["queue_reason"] == ranked.reasons[ranked.order[0]]
    done = loop.served(1)[0]
    rank_project(loop.stack.services, loop.pid)
    assert "queue_rank" not in loop.labelstudio.task(done)["data"]


def test_skipped_tasks_come_last_and_everything_labelled_is_said(new_loop: Make) -> None:
    loop = new_loop(size=128)
    services = loop.stack.services
    ids = sorted(loop.tasks)
    loop.labelstudio.annotate(ids[0], [], was_cancelled=True)
    ranked = rank_project(services, loop.pid)
    assert ranked.order[-1] == ids[0] or ids[0] not in ranked.order
    for task_id in ids[1:]:
        loop.annotate(task_id)
    ended = rank_project(services, loop.pid)
    assert set(ended.order) <= {ids[0]}
    loop.annotate(ids[0])
    assert rank_project(services, loop.pid).reason == "every task is labelled"


def test_a_foreign_task_and_an_unreadable_chip_do_not_stop_the_queue(new_loop: Make) -> None:
    loop = new_loop(size=128)
    data = dict(next(iter(loop.tasks.values()))["data"])
    data["geo"] = {**data["geo"], "scene_id": "0" * 20, "chip_id": "lost"}
    foreign, lost = loop.labelstudio.import_tasks(
        loop.project_id, [{"data": {"image": "http://127.0.0.1:9/x.jpg"}}, {"data": data}]
    )
    ranked = rank_project(loop.stack.services, loop.pid)
    assert ranked.order[-2:] == [lost, foreign]
    assert ranked.reasons[foreign] == "not a chip of GeoLabel's"
    assert list(ranked.unreadable) == ["lost"]


def test_a_deleted_project_is_said(new_loop: Make) -> None:
    loop = new_loop(size=128)
    loop.labelstudio.delete_project(loop.project_id)
    with pytest.raises(NotFoundError):
        rank_project(loop.stack.services, loop.pid)


# -- the traps of Label Studio's own queue, pinned: when one changes, this is where it shows ---------------------------


def _plain(loop: Any, version: str, scores: list[float], **extra: Any) -> list[int]:
    ids = sorted(loop.tasks)[: len(scores)]
    for task_id, score in zip(ids, scores, strict=True):
        body = {"task": task_id, "result": [], "score": score, "model_version": version, **extra}
        loop.labelstudio.post_prediction(body)
    return ids


def test_trap_1_and_2_the_version_must_be_set_and_must_exist(new_loop: Make) -> None:
    loop = new_loop(size=128, sampling=SAMPLING)
    ids = _plain(loop, "m1", [0.9, 0.1, 0.5])
    assert loop.labelstudio.project(loop.project_id)["model_version"] in ("", None)
    with pytest.raises(LabelStudioError, match="400"):
        loop.labelstudio.set_model_version(loop.project_id, "never predicted")
    loop.labelstudio.set_model_version(loop.project_id, "m1")
    assert loop.served(3) == [ids[1], ids[2], ids[0]]


def test_trap_of_two_versions_only_the_current_one_sorts(new_loop: Make) -> None:
    loop = new_loop(size=128, sampling=SAMPLING)
    ids = _plain(loop, "old", [0.01, 0.02, 0.03])
    _plain(loop, "new", [0.9, 0.5, 0.1])
    loop.labelstudio.set_model_version(loop.project_id, "new")
    assert loop.served(3) == ids[::-1]


def test_trap_4_bulk_import_loses_clusters_and_patch_keeps_them(new_loop: Make) -> None:
    loop = new_loop(size=128, sampling=SAMPLING)
    ids = sorted(loop.tasks)[:4]
    rows = [
        {"task": i, "result": [], "score": 0.1 * n, "model_version": "m", "cluster": n // 2}
        for n, i in enumerate(ids, start=1)
    ]
    loop.labelstudio.import_predictions(loop.project_id, rows)
    stored = {i: loop.labelstudio.predictions(i)[0] for i in ids}
    assert all(item.get("cluster") is None for item in stored.values())
    for n, i in enumerate(ids):
        loop.labelstudio.update_prediction(stored[i]["id"], cluster=n // 2)
    loop.labelstudio.set_model_version(loop.project_id, "m")
    # Least seen cluster first, then the score: this is why clusters stay out of the rank by default.
    assert loop.served(4) == [ids[0], ids[2], ids[1], ids[3]]


def test_trap_6_a_task_without_score_would_come_first(new_loop: Make) -> None:
    loop = new_loop(size=128, sampling=SAMPLING)
    ids = _plain(loop, "m", [0.5, 0.1])
    without = sorted(loop.tasks)[2]
    loop.labelstudio.post_prediction({"task": without, "result": [], "model_version": "m"})
    loop.labelstudio.set_model_version(loop.project_id, "m")
    assert loop.labelstudio.next_task(loop.project_id)["id"] == without
    assert ids


def test_clusters_are_written_when_asked_for(new_loop: Make) -> None:
    loop = new_loop(size=192)
    rank_project(loop.stack.services, loop.pid)
    settings = load_settings({**loop.stack.env, "GEOLABEL_LOOP__CLUSTERS": "true"})
    rank_project(Services(settings), loop.pid)
    clusters = {loop.labelstudio.predictions(i)[0]["cluster"] for i in loop.tasks}
    assert None not in clusters
    assert len(clusters) > 1
