"""Our Label Studio client against a real one: tokens, pages, batches, what is sent again and what never is."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from geolabel.adapters.labelstudio import LabelStudio
from geolabel.core.taxonomy import LabelClass, Taxonomy
from geolabel.errors import AuthError, LabelStudioError, NotFoundError
from geolabel.labelstudio.config import build_config
from geolabel.local.ports import free_port
from tests.flaky_proxy import LOST, FlakyProxy, flaky_proxy
from tests.servers import LabelStudioAccount

CONFIG = build_config(Taxonomy(name="t", version="1", classes=(LabelClass(id=1, name="Thing"),)))
POLYGON = {
    "id": "abcdefghij", "from_name": "polygon", "to_name": "image", "type": "polygonlabels",
    "original_width": 64, "original_height": 64, "image_rotation": 0,
    "value": {"points": [[10, 10], [50, 10], [50, 50]], "closed": True, "polygonlabels": ["Thing"]},
}  # fmt: skip


def tasks(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"data": {"image": f"/x/{n}.jpg", "chip_id": f"chip{n}"}} for n in range(start, start + count)]


@pytest.fixture(scope="module")
def client(labelstudio: LabelStudioAccount) -> Iterator[LabelStudio]:
    made = LabelStudio(labelstudio.url, labelstudio.token)
    yield made
    made.close()


@pytest.fixture
def project(client: LabelStudio) -> Iterator[int]:
    made = client.create_project(f"client {uuid.uuid4().hex[:8]}", CONFIG)
    yield int(made["id"])
    client.delete_project(int(made["id"]))


@pytest.fixture
def proxy(labelstudio: LabelStudioAccount) -> Iterator[FlakyProxy]:
    with flaky_proxy(labelstudio.url) as made:
        yield made


@pytest.fixture
def shaky(proxy: FlakyProxy, labelstudio: LabelStudioAccount) -> Iterator[LabelStudio]:
    made = LabelStudio(proxy.url, labelstudio.token, tries=4, pause_s=0.05)
    yield made
    made.close()


def test_pages_are_read_to_their_end(client: LabelStudio, project: int) -> None:
    ids = client.import_tasks(project, tasks(23))
    assert len(ids) == 23
    for size in (5, 23, 100):
        found = list(client.tasks(project, fields="task_only", page_size=size))
        assert [task["id"] for task in found] == sorted(ids)
    assert {task["data"]["chip_id"] for task in found} == {f"chip{n}" for n in range(23)}


def test_predictions_and_annotations(client: LabelStudio, project: int) -> None:
    ids = client.import_tasks(project, tasks(3))
    made = client.import_predictions(
        project, [{"task": i, "result": [POLYGON], "score": 0.5, "model_version": "v1"} for i in ids]
    )
    assert made == 3
    client.set_model_version(project, "v1")
    client.set_sampling(project, "Uncertainty sampling")
    assert client.project(project)["model_version"] == "v1"
    single = client.post_prediction(
        {"task": ids[0], "result": [POLYGON], "score": 0.25, "model_version": "v2", "cluster": 7}
    )
    assert single["cluster"] == 7
    assert client.update_prediction(single["id"], score=0.125)["score"] == 0.125
    assert len(client.predictions(ids[0])) == 2
    client.delete_model_version(project, "v1")
    assert [p["model_version"] for p in client.predictions(ids[0])] == ["v2"]
    annotation = client.annotate(ids[1], [POLYGON], lead_time=2.5)
    assert client.task(ids[1])["annotations"][0]["result"] == [POLYGON]
    client.update_annotation(annotation["id"], result=[])
    assert client.task(ids[1])["annotations"][0]["result"] == []
    client.delete_annotation(annotation["id"])
    assert client.task(ids[1])["annotations"] == []
    client.update_task(ids[2], {**tasks(1)[0]["data"], "route": "accept"})
    assert client.task(ids[2])["data"]["route"] == "accept"
    client.delete_tasks(project, ids[:1])
    assert [task["id"] for task in client.tasks(project)] == ids[1:]


def test_tabs_of_the_data_manager(client: LabelStudio, project: int) -> None:
    made = client.create_view(project, {"title": "Next to label", "type": "list", "ordering": ["tasks:id"]})
    changed = client.update_view(made["id"], project, {"title": "Next", "type": "list"})
    assert changed["data"]["title"] == "Next"
    assert [view["data"]["title"] for view in client.views(project)] == ["Next"]


def test_a_personal_access_token_is_exchanged_and_exchanged_again(
    client: LabelStudio, labelstudio: LabelStudioAccount, proxy: FlakyProxy
) -> None:
    settings = client.request("GET", "/api/jwt/settings")
    client.request("POST", "/api/jwt/settings", body={**settings, "api_tokens_enabled": True}, safe=True)
    for old in client.request("GET", "/api/token/") or []:  # an account has one at most
        client.request("POST", "/api/token/blacklist/", body={"refresh": old["token"]})
    token = client.request("POST", "/api/token/", body={})["token"]
    try:
        with closing(LabelStudio(proxy.url, token, tries=4, pause_s=0.05)) as patient:
            assert patient.whoami()["email"] == labelstudio.email
            assert patient.whoami()["email"] == labelstudio.email
            assert proxy.count("POST /api/token/refresh/") == 1
            # The short-lived token ends before its time: refused once, exchanged, and the request is sent again.
            proxy.plan["GET /api/current-user/whoami"] = [401]
            assert patient.whoami()["email"] == labelstudio.email
            assert proxy.count("POST /api/token/refresh/") == 2
            proxy.plan["POST /api/token/refresh/"] = [503]
            proxy.plan["GET /api/current-user/whoami"] = [401]
            assert patient.whoami()["email"] == labelstudio.email
    finally:
        client.request("POST", "/api/token/blacklist/", body={"refresh": token})
    with closing(LabelStudio(labelstudio.url, token)) as late, pytest.raises(AuthError, match="personal access token"):
        late.whoami()


@pytest.mark.parametrize("token", ["", "0" * 40, "eyJhbGciOiJIUzI1NiJ9.e30.AAAA"])
def test_wrong_tokens_are_refused_with_a_sentence(labelstudio: LabelStudioAccount, token: str) -> None:
    with closing(LabelStudio(labelstudio.url, token)) as stranger, pytest.raises(AuthError) as caught:
        stranger.whoami()
    assert token not in caught.value.message or not token
    assert not caught.value.retryable


def test_reading_is_tried_again_and_ends_with_a_sentence(shaky: LabelStudio, proxy: FlakyProxy, project: int) -> None:
    proxy.plan["GET /api/projects/"] = [503, LOST, 429]
    assert shaky.project(project)["id"] == project
    assert proxy.count("GET /api/projects/") == 4
    proxy.plan["GET /api/projects/"] = [502] * 10
    with pytest.raises(LabelStudioError, match="502") as caught:
        shaky.project(project)
    assert caught.value.retryable
    assert proxy.count("GET /api/projects/") == 8


def test_what_is_missing_is_not_asked_again(shaky: LabelStudio, proxy: FlakyProxy) -> None:
    with pytest.raises(NotFoundError):
        shaky.project(987_654_321)
    assert proxy.count("GET") == 1


def test_a_writing_request_is_never_sent_again_when_it_may_have_been_done(
    shaky: LabelStudio, proxy: FlakyProxy, project: int
) -> None:
    for fault in (LOST, 500, 504):
        proxy.plan["POST /api/projects/"] = [fault]
        before = proxy.count("POST /api/projects/")
        with pytest.raises(LabelStudioError) as caught:
            shaky.import_tasks(project, tasks(1))
        assert caught.value.retryable
        assert proxy.count("POST /api/projects/") == before + 1
    # The answer that was lost had been stored; the other two never reached it.
    assert len(list(shaky.tasks(project))) == 1


def test_a_writing_request_that_was_turned_away_is_sent_again(
    shaky: LabelStudio, proxy: FlakyProxy, project: int
) -> None:
    proxy.plan["POST /api/projects/"] = [429, 429]
    assert len(shaky.import_tasks(project, tasks(2))) == 2
    assert len(list(shaky.tasks(project))) == 2


def test_nobody_there() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with (
        closing(LabelStudio(url, "0" * 40, tries=2, pause_s=0.05)) as alone,
        pytest.raises(LabelStudioError, match="does not answer GET") as caught,
    ):
        alone.whoami()
    assert url in caught.value.message
    assert caught.value.retryable


def test_a_refusal_carries_label_studios_own_words(client: LabelStudio, project: int) -> None:
    with pytest.raises(LabelStudioError, match="400") as caught:
        client.create_project("xy", "<View></View>")
    assert "title" in caught.value.message
    assert not caught.value.retryable
    with pytest.raises(LabelStudioError):
        client.import_predictions(project, [{"task": 987_654_321, "result": [], "model_version": "v"}])
