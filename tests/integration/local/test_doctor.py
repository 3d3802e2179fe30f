"""The doctor finds what is wrong, and says how to mend it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from geolabel.local.doctor import Finding, examine
from geolabel.local.ports import free_port
from geolabel.pipeline.connect import connect
from geolabel.services import Services
from geolabel.settings import load_settings
from tests.servers import Stack


@pytest.fixture(scope="module")
def project(stack: Stack) -> Iterator[int]:
    """An empty project that is connected to a running backend."""
    stack.backend()
    config = '<View><Image name="image" value="$image"/></View>'
    made = stack.services.labelstudio.create_project("doctor", config, sampling="Uncertainty sampling")
    yield int(made["id"])
    stack.services.labelstudio.delete_project(int(made["id"]))


def _wrong(services: Services, project: int | None) -> dict[str, Finding]:
    return {found.what: found for found in examine(services, project) if found.level == "wrong"}


def test_connecting_twice_makes_one_backend_and_one_webhook_and_nothing_of_them_is_wrong(
    stack: Stack, project: int
) -> None:
    first = connect(stack.services, project)
    assert connect(stack.services, project) == first
    client = stack.services.labelstudio
    assert len(client.backends(project)) == 1
    assert len(client.webhooks(project)) == 1
    # There is no worker in this stack; all else is well.
    assert set(_wrong(stack.services, project)) == {"workers"}


def test_a_webhook_without_the_secret_is_found_and_connect_mends_it(stack: Stack, project: int) -> None:
    connected = connect(stack.services, project)
    client = stack.services.labelstudio
    hook = client.webhooks(project)[0]
    client.update_webhook(connected.webhook_id, url=hook["url"], headers={})
    found = _wrong(stack.services, project)[f"project {project}"]
    assert "does not carry the secret" in found.found
    assert "geolabel setup" in found.mend
    connect(stack.services, project)
    assert f"project {project}" not in _wrong(stack.services, project)


def _elsewhere(stack: Stack, **changed: str) -> Services:
    return Services(load_settings({**stack.env, **changed}))


@pytest.mark.parametrize(
    ("variable", "value", "what", "found", "mend"),
    [
        ("LABEL_STUDIO_API_KEY", "0" * 40, "login", "the legacy token is refused", "personal access token"),
        ("LABEL_STUDIO_API_KEY", "nonsense", "login", "the personal access token is refused", "Make a new one"),
        ("LABEL_STUDIO_URL", "http://127.0.0.1:{port}", "Label Studio", "does not answer", "geolabel up"),
        ("REDIS_URL", "redis://127.0.0.1:{port}/0", "Redis", "refused", "REDIS_URL"),
        ("GEOLABEL_SERVER__PORT", "{port}", "backend", "ConnectError", "geolabel up"),
        ("GEOLABEL_SERVER__SIGNING_SECRET", "", "secrets", "is not set", "long random text"),
        ("GEOLABEL_STORE__URI", "/proc/nowhere", "store", "", "GEOLABEL_STORE__URI"),
    ],
)
def test_what_is_wrong_is_named_with_its_remedy(
    stack: Stack, project: int, variable: str, value: str, what: str, found: str, mend: str
) -> None:
    services = _elsewhere(stack, **{variable: value.format(port=free_port())})
    finding = _wrong(services, project)[what]
    assert found in finding.found
    assert mend in finding.mend
