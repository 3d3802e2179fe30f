"""Clicks answered by SAM 2.1 tiny with seeded random weights: reuse of embeddings, and no mask of another image."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from geolabel.errors import ModelError
from geolabel.local.ports import LOOPBACK, free_port
from geolabel.pipeline.embed import embed_tasks, engines
from geolabel.pipeline.predict_tasks import predict_tasks
from geolabel.services import Services
from geolabel.settings import load_settings
from tests.servers import LabelStudioAccount, Stack

from .conftest import Site, box, click, make_site

CLIENTS = 8
AUTH = ("label-studio", "test-backend-password")


@pytest.fixture(scope="module")
def sam_site(tmp_path_factory: pytest.TempPathFactory, new_redis_url: Callable[[], str], sam_checkpoint: Path) -> Site:
    folder = tmp_path_factory.mktemp("sam-site")
    environ = {
        "GEOLABEL_STATE_DIR": str(folder / "state"),
        "REDIS_URL": new_redis_url(),
        "GEOLABEL_PREDICT__INTERACTIVE": str(sam_checkpoint),
        "GEOLABEL_PREDICT__DEVICE": "cpu",
    }
    return make_site(folder, load_settings(environ))


def prompts(client: int) -> list[list[dict[str, Any]]]:
    """Prompts of one client, a different place for each."""
    x = 30 + 20 * client
    return [[click(x, 60)], [box(x, 30, x + 50, 90), click(x + 5, 200, positive=False)]]


def comparable(entry: dict[str, Any]) -> str:
    """An answer without its random region ids."""
    return json.dumps([{**item, "id": ""} for item in entry["result"]], sort_keys=True)


def test_the_embedding_is_made_once_and_used_by_every_process(sam_site: Site) -> None:
    services = Services(sam_site.settings)
    first = predict_tasks(services, sam_site.payload(0, [click(70, 70)], user="first"))[0]
    keys = list(services.store.list("embeddings"))
    assert len(keys) == 1
    assert isinstance(first, dict)
    assert first["model_version"].startswith("interactive-sam2.1_t-")
    engine = engines().get(services, sam_site.settings.predict.interactive)
    engine.prepared = type(engine.prepared)(10**9, lambda image: image.nbytes)  # as in another process
    again = predict_tasks(services, sam_site.payload(0, [click(70, 70)], user="second"))[0]
    assert isinstance(again, dict)
    # fp16 in the store both times: the same bytes give the same mask.
    assert comparable(again) == comparable(first)
    assert list(services.store.list("embeddings")) == keys


def test_a_model_that_is_not_there_says_how_to_get_it(sam_site: Site) -> None:
    settings = sam_site.settings
    predict = settings.predict.model_copy(update={"interactive": "sam2.1-large"})
    with pytest.raises(ModelError, match="models pull sam2.1-large"):
        engines().get(Services(settings.model_copy(update={"predict": predict})), "sam2.1-large")


def test_no_embeddings_are_needed_for_the_graph_cut(site: Site) -> None:
    assert embed_tasks(Services(site.settings), "7", task_ids=[1])["reason"]


@pytest.fixture(scope="module")
def backends(sam_site: Site) -> Iterator[list[str]]:
    """Two backend processes over the same store."""
    account = LabelStudioAccount(url="http://127.0.0.1:9", token="none", email="", password="")
    redis_url = sam_site.settings.redis.url.get_secret_value()
    made = Stack(account, redis_url, Path(sam_site.settings.state_dir), Path(__file__).parents[3])
    env = {
        "GEOLABEL_PREDICT__INTERACTIVE": sam_site.settings.predict.interactive,
        "GEOLABEL_PREDICT__DEVICE": "cpu",
        "GEOLABEL_PREDICT__THREADS": "1",
    }
    try:
        yield [made.backend(port=free_port(), **env) for _ in range(2)]
    finally:
        made.stop()


def test_eight_clients_on_two_processes_get_what_one_alone_gets(sam_site: Site, backends: list[str]) -> None:
    assert all(url.startswith(f"http://{LOOPBACK}") for url in backends)
    services = Services(sam_site.settings)

    def serial(client: int) -> list[str]:
        out = []
        for number, prompt in enumerate(prompts(client)):
            payload = sam_site.payload((client + number) % 2, prompt, user=f"serial-{client}-{number}")
            entry = predict_tasks(services, payload)[0]
            assert isinstance(entry, dict)
            out.append(comparable(entry))
        return out

    def parallel(client: int) -> list[str]:
        out = []
        with httpx.Client(timeout=300.0, trust_env=False, auth=AUTH) as http:
            for number, prompt in enumerate(prompts(client)):
                payload = sam_site.payload((client + number) % 2, prompt, user=f"race-{client}-{number}")
                answer = http.post(f"{backends[(client + number) % 2]}/predict", json=payload)
                assert answer.status_code == httpx.codes.OK, answer.text
                out.append(comparable(answer.json()["results"][0]))
        return out

    expected = [serial(client) for client in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        got = list(pool.map(parallel, range(CLIENTS)))
    assert got == expected
    assert any(answer != "[]" for answers in expected for answer in answers)
