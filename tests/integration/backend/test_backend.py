"""The backend as its callers see it: who is let in, what bad requests are told, jobs, webhooks without Redis."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest

from geolabel.local.ports import free_port
from geolabel.pipeline.connect import SECRET_HEADER
from geolabel.pipeline.events import replay_spool, spool_path
from tests.servers import Stack

PATIENCE_S = 90.0
TOKEN = "program-token"
BODY_MAX = 200_000
EVENT = {
    "action": "ANNOTATION_CREATED",
    "project": {"id": 41, "title": "p", "token": "invite-token"},
    "task": {"id": 7, "data": {"image": "x"}},
    "annotation": {"id": 9, "task": 7, "result": [], "updated_at": "2026-01-01T00:00:00Z", "completed_by": 3},
}


@pytest.fixture(scope="module")
def backend(stack: Stack) -> str:
    return stack.backend(GEOLABEL_SERVER__API_TOKEN=TOKEN, GEOLABEL_SERVER__BODY_MAX_BYTES=str(BODY_MAX))


@pytest.fixture
def client(backend: str) -> Iterator[httpx.Client]:
    with closing(httpx.Client(base_url=backend, timeout=60.0, trust_env=False)) as made:
        yield made


@pytest.fixture
def secret(stack: Stack) -> dict[str, str]:
    return {SECRET_HEADER: stack.webhook_secret}


def sentence(response: httpx.Response) -> str:
    """The message of a refusal, which must have our form and show nothing of our insides."""
    body = response.json()
    assert set(body) == {"code", "message", "hint"}, body
    assert len(body["message"]) > 15
    assert "Traceback" not in response.text
    assert 'File "' not in response.text
    return str(body["message"])


def test_health_needs_no_login_and_loads_no_model(client: httpx.Client) -> None:
    answer = client.get("/health")
    assert answer.status_code == 200
    assert answer.json()["status"] == "UP"


GUARDED = [("POST", "/setup"), ("POST", "/predict"), ("GET", "/versions"), ("GET", "/v1/jobs"), ("GET", "/metrics")]


@pytest.mark.parametrize(("method", "path"), GUARDED)
@pytest.mark.parametrize(
    "header", [None, "Basic AAAA", "Basic bGFiZWwtc3R1ZGlvOndyb25n", "Basic %%%", "Bearer wrong", "Bearer", "nonsense"]
)
def test_without_the_right_login_nothing_is_answered(
    client: httpx.Client, method: str, path: str, header: str | None
) -> None:
    answer = client.request(method, path, headers={} if header is None else {"Authorization": header})
    assert answer.status_code == 401
    assert sentence(answer)


def test_a_program_may_use_its_token_for_the_api_alone(client: httpx.Client) -> None:
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert client.get("/v1/jobs", headers=bearer).status_code == 200
    assert client.post("/setup", headers=bearer).status_code == 401


@pytest.mark.parametrize(
    "headers", [{}, {SECRET_HEADER: ""}, {SECRET_HEADER: "wrong"}, {SECRET_HEADER: "test-webhook-secre"}]
)
def test_a_webhook_without_the_secret_is_refused(client: httpx.Client, headers: dict[str, str]) -> None:
    answer = client.post("/webhook", json=EVENT, headers=headers)
    assert answer.status_code == 401
    assert SECRET_HEADER in sentence(answer)


BODIES = [b"{", b"\xff\xfe\x00", b"[1, 2]", b"7", b'"text"', b"null", b"NaN", b'{"tasks": 3}', b'{"tasks": [1]}']


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("path", ["/webhook", "/predict", "/setup", "/v1/prelabel"])
def test_a_body_that_is_not_as_agreed_is_answered_with_a_sentence(
    client: httpx.Client, stack: Stack, secret: dict[str, str], path: str, body: bytes
) -> None:
    answer = client.post(path, content=body, auth=stack.auth, headers=secret)
    assert answer.status_code == 400, answer.text
    assert sentence(answer)


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"action": "ANNOTATION_CREATED"},
        {"action": 7, "project": {"id": 1}},
        {"action": "ANNOTATION_CREATED", "project": {"id": "one"}},
        {"action": "ANNOTATION_CREATED", "project": {"id": 1}, "annotation": {"id": "nine"}},
        {"action": "ANNOTATION_CREATED", "project": {"id": 1}, "task": {"id": [1]}},
        {"action": "TASKS_DELETED", "project": {"id": True}, "tasks": [{"id": None}]},
    ],
)
def test_an_event_that_is_none_is_refused(client: httpx.Client, secret: dict[str, str], event: dict[str, Any]) -> None:
    answer = client.post("/webhook", json=event, headers=secret)
    assert answer.status_code == 400, answer.text
    assert sentence(answer)


def test_a_body_over_the_limit_is_not_read(client: httpx.Client, stack: Stack) -> None:
    big = b'{"x": "' + b"a" * BODY_MAX + b'"}'
    answer = client.post("/predict", content=big, auth=stack.auth)
    assert answer.status_code == 413
    assert "at most" in sentence(answer)
    # Sent in pieces, without telling its length before.
    pieces = client.post("/predict", content=iter([big[:1000], big[1000:]]), auth=stack.auth)
    assert pieces.status_code == 413
    assert sentence(pieces)


def test_unknown_addresses_and_verbs(client: httpx.Client, stack: Stack) -> None:
    for method, path, status in (
        ("GET", "/nothing", 404),
        ("GET", "/predict", 405),
        ("POST", "/v1/dance", 404),
        ("GET", "/v1/jobs/none", 404),
        ("POST", "/v1/jobs/none/cancel", 404),
        ("POST", "/v1/prelabel", 400),
    ):
        answer = client.request(method, path, auth=stack.auth)
        assert answer.status_code == status, (method, path, answer.text)
        assert sentence(answer)
    assert client.get("/v1/jobs", params={"limit": "many"}, auth=stack.auth).status_code == 400


def test_a_job_is_started_watched_and_cancelled(client: httpx.Client, stack: Stack) -> None:
    made = client.post("/v1/probe", json={"steps": 2}, auth=stack.auth)
    assert made.status_code == 202
    job = made.json()
    assert job["state"] == "queued"
    assert client.post("/v1/probe", json={"steps": 2}, auth=stack.auth).json()["id"] == job["id"]
    listed = client.get("/v1/jobs", params={"state": "queued"}, auth=stack.auth).json()
    assert job["id"] in [item["id"] for item in listed["jobs"]]
    assert 'geolabel_jobs{queue="fast",state="queued"}' in client.get("/metrics", auth=stack.auth).text
    cancelled = client.post(f"/v1/jobs/{job['id']}/cancel", auth=stack.auth)
    assert cancelled.json()["state"] == "canceled"
    assert client.get(f"/v1/jobs/{job['id']}", auth=stack.auth).json()["state"] == "canceled"


def test_an_event_is_queued_once_and_without_secrets(
    client: httpx.Client, stack: Stack, secret: dict[str, str]
) -> None:
    first = client.post("/webhook", json=EVENT, headers=secret)
    assert first.status_code == 202
    assert first.json()["status"] == "queued"
    assert client.post("/webhook", json=EVENT, headers=secret).json()["status"] == "duplicate"
    changed = json.loads(json.dumps(EVENT))
    changed["annotation"]["updated_at"] = "2026-01-01T00:00:01Z"
    assert client.post("/webhook", json=changed, headers=secret).json()["status"] == "queued"
    job = stack.services.jobs.status(first.json()["job"])
    assert job.payload["project"] == 41
    assert job.payload["tasks"] == [7]
    assert "invite-token" not in json.dumps(job.to_json())


def test_start_training_is_queued(client: httpx.Client, stack: Stack, secret: dict[str, str]) -> None:
    answer = client.post("/webhook", json={"action": "START_TRAINING", "project": {"id": 42}}, headers=secret)
    assert answer.status_code in (200, 202)
    assert stack.services.jobs.status(answer.json()["job"]).payload == {"project": 42}


def test_without_redis_events_wait_on_disk_and_are_queued_later(stack: Stack, secret: dict[str, str]) -> None:
    port = free_port()
    url = stack.backend(port=port, REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    lonely = stack.children[-1]
    try:
        with closing(httpx.Client(base_url=url, timeout=60.0, trust_env=False)) as client:
            assert client.get("/health").status_code == 200
            for number in range(3):
                event = {"action": "TASKS_CREATED", "project": {"id": 43}, "tasks": [{"id": 100 + number}]}
                answer = client.post("/webhook", json=event, headers=secret)
                assert (answer.status_code, answer.json()["status"]) == (202, "spooled")
            refused = client.get("/v1/jobs", auth=stack.auth)
            assert refused.status_code in (502, 503)
            assert "Redis" in sentence(refused)
            assert "geolabel_redis_up 0" in client.get("/metrics", auth=stack.auth).text
    finally:
        stack.stop_child(lonely)
    assert len(spool_path(stack.services).read_text().splitlines()) == 3
    assert replay_spool(stack.services) == 3
    assert not spool_path(stack.services).exists()
    queued = [job for job in stack.services.jobs.list() if job.payload.get("project") == 43]
    assert sorted(job.payload["tasks"][0] for job in queued) == [100, 101, 102]


def test_a_restarted_backend_answers_soon(stack: Stack, client: httpx.Client) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while client.get("/health").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)
