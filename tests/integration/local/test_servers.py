"""The servers that everything else stands on."""

from __future__ import annotations

from collections.abc import Callable

import redis

from tests.servers import LabelStudioAccount


def test_label_studio_takes_the_token_and_a_backend_on_this_machine_is_not_refused(
    labelstudio: LabelStudioAccount,
) -> None:
    with labelstudio.client() as client:
        assert client.get("/api/current-user/whoami").json()["email"] == labelstudio.email
        project = client.post("/api/projects/", json={"title": "servers", "label_config": "<View/>"}).json()
        answer = client.post("/api/webhooks/", json={"url": "http://127.0.0.1:9/hook", "project": project["id"]})
        assert answer.status_code == 201, answer.text
        refused = client.post("/api/webhooks/", json={"url": "http://10.1.2.3/hook", "project": project["id"]})
        assert refused.status_code in {400, 403}
        assert client.delete(f"/api/projects/{project['id']}/").status_code == 204


def test_every_redis_database_is_empty_and_another_one(new_redis_url: Callable[[], str]) -> None:
    first, second = new_redis_url(), new_redis_url()
    assert first != second
    with redis.Redis.from_url(first) as client:
        client.set("key", "value")
    with redis.Redis.from_url(second) as client:
        assert client.dbsize() == 0
