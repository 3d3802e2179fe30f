"""A snapshot goes on behind the last page it kept when Label Studio goes away or the job dies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from geolabel.errors import LabelStudioError
from geolabel.pipeline import snapshot
from geolabel.pipeline.snapshot import read_snapshot, take_snapshot


class Flaky:
    """A client whose server holds 25 tasks and goes away at chosen requests."""

    def __init__(self, fail_at: set[int]) -> None:
        self.fail_at, self.requests, self.asked = fail_at, 0, []

    def project(self, project_id: int) -> dict[str, Any]:
        return {"task_number": 25}

    def tasks(self, project_id: int, *, page_size: int, query: Any) -> Iterator[dict[str, Any]]:
        after = query["filters"]["items"][0]["value"]
        self.requests += 1
        self.asked.append(after)
        if self.requests in self.fail_at:
            raise LabelStudioError("gone", retryable=True)
        yield from ({"id": i, "data": {"image": "a"}} for i in range(1, 26) if i > after)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "_PAGE", 10)
    monkeypatch.setattr(snapshot.time, "sleep", lambda s: None)


def test_an_interruption_costs_one_page(tmp_path: Path) -> None:
    client = Flaky({2})
    taken = take_snapshot(SimpleNamespace(labelstudio=client), 1, tmp_path)
    assert [t["id"] for t in read_snapshot(taken.path)] == list(range(1, 26))
    assert client.asked == [0, 10, 10, 20]


def test_a_second_job_goes_on_where_the_first_stopped(tmp_path: Path) -> None:
    with pytest.raises(LabelStudioError):
        take_snapshot(SimpleNamespace(labelstudio=Flaky({3})), 1, tmp_path, wait_s=-1.0)
    client = Flaky(set())
    taken = take_snapshot(SimpleNamespace(labelstudio=client), 1, tmp_path)
    assert client.asked == [20]
    assert taken.tasks == 25
    assert not (tmp_path / "pages").exists()
