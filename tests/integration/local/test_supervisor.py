"""The supervisor: follows logs, restarts what dies, stops everything by process id."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from geolabel.errors import AdapterError, InputError
from geolabel.local.ports import free_port, is_free, require_free
from geolabel.local.processes import Child, Children, alive, child_environment
from geolabel.local.redis_server import answers, redis_child
from geolabel.local.supervisor import Supervisor, read_state, refuse_second

DEADLINE_S = 60.0


def _child(folder: Path, code: str, ready: Callable[[], bool] = lambda: True) -> Child:
    env = child_environment(os.environ)
    return Child(name="child", argv=[sys.executable, "-c", code], env=env, log=folder / "child.log", ready=ready)


def _wait(condition: Callable[[], bool], supervisor: Supervisor | None = None) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        if supervisor is not None:
            supervisor.tick()
        time.sleep(0.02)


@pytest.fixture
def said() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def supervisor(tmp_path: Path, said: list[tuple[str, str]]) -> Iterator[Supervisor]:
    made = Supervisor(tmp_path / "run.json", lambda name, line: said.append((name, line)))
    yield made
    made.stop()


def test_what_dies_is_started_again_and_its_log_is_followed(
    supervisor: Supervisor, said: list[tuple[str, str]], tmp_path: Path
) -> None:
    supervisor.start([_child(tmp_path, "import time; print('hello', flush=True); time.sleep(600)")])
    first = supervisor.watched[0].child.pid
    assert first is not None
    _wait(lambda: ("child", "hello") in said, supervisor)
    os.kill(first, signal.SIGKILL)
    _wait(lambda: supervisor.watched[0].child.pid not in {None, first}, supervisor)
    assert any("ended with status -9; starting it again in 1 s" in line for _, line in said)
    state = json.loads((tmp_path / "run.json").read_text())
    assert state["children"][0]["restarts"] == 1
    second = supervisor.watched[0].child.pid
    supervisor.stop()
    assert second is not None
    assert not alive(second)
    assert not (tmp_path / "run.json").exists()


def test_a_child_that_ends_while_starting_is_said_with_the_end_of_its_log(tmp_path: Path) -> None:
    child = _child(tmp_path, "raise SystemExit('the cellar is flooded')", ready=lambda: False)
    with (
        pytest.raises(AdapterError, match=r"ended with status 1 while starting.*the cellar is flooded"),
        Children() as all_,
    ):
        all_.add(child)


def test_a_full_disk_is_said_as_that(tmp_path: Path) -> None:
    child = _child(tmp_path, "raise OSError(28, 'No space left on device')", ready=lambda: False)
    with pytest.raises(AdapterError, match="The disk that holds .* is full"), Children() as all_:
        all_.add(child)


def test_a_child_that_ignores_the_request_is_killed_with_what_it_started(tmp_path: Path) -> None:
    code = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "inner = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print('inner', inner.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    child = _child(tmp_path, code)
    child.stop_s = 0.5
    child.start()
    _wait(lambda: b"inner" in child.log.read_bytes())
    inner = int(child.log.read_text().split()[-1])
    outer = child.pid
    child.stop()
    assert outer is not None
    assert not alive(outer)
    _wait(lambda: not alive(inner))


def test_children_end_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    code = (
        "import os, sys, time; from pathlib import Path\n"
        "from geolabel.local.processes import Child, child_environment\n"
        "c = Child(name='c', argv=[sys.executable, '-c', 'import time; time.sleep(600)'], "
        "env=child_environment(os.environ), log=Path(sys.argv[1]), ready=lambda: True)\n"
        "c.start(); print(c.pid, flush=True); time.sleep(600)\n"
    )
    root = str(Path(__file__).parents[3])
    parent = Child(
        name="parent",
        argv=[sys.executable, "-c", code, str(tmp_path / "inner.log")],
        env=child_environment(os.environ, PYTHONPATH=root),
        log=tmp_path / "parent.log",
        ready=lambda: True,
    )
    parent.start()
    _wait(lambda: parent.log.is_file() and parent.log.read_text().strip().isdigit())
    inner = int(parent.log.read_text())
    assert parent.pid is not None
    os.kill(parent.pid, signal.SIGKILL)
    _wait(lambda: not alive(inner))
    parent.stop()


def test_a_second_one_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "run.json"
    state.write_text(json.dumps({"pid": os.getppid(), "url": "http://127.0.0.1:8080", "children": []}))
    with pytest.raises(InputError, match="runs here already"):
        refuse_second(state)
    state.write_text(json.dumps({"pid": 2**22 - 1, "children": []}))
    assert read_state(state) is None
    refuse_second(state)


def test_a_port_that_is_taken_is_said_with_the_setting_that_moves_us(tmp_path: Path) -> None:
    port = free_port()
    with Children() as children:
        children.add(redis_child(tmp_path / "data", port, tmp_path / "redis.log", os.environ))
        assert not is_free(port)
        with pytest.raises(InputError, match=f"Port {port}, where the backend should listen.*GEOLABEL_SERVER__PORT="):
            require_free(port, "the backend", "GEOLABEL_SERVER__PORT")
    assert is_free(port)


def test_redis_keeps_what_was_queued_over_a_kill(tmp_path: Path) -> None:
    import redis

    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    child = redis_child(tmp_path / "data", port, tmp_path / "redis.log", os.environ)
    with Children() as children:
        children.add(child)
        with redis.Redis.from_url(url) as client:
            client.rpush("queue", "job")
            client.waitaof(1, 0, 10_000)
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        _wait(lambda: child.pid is None)
    assert not answers(url)
    with Children() as children:
        children.add(redis_child(tmp_path / "data", port, tmp_path / "redis.log", os.environ))
        with redis.Redis.from_url(url) as client:
            assert client.lrange("queue", 0, -1) == [b"job"]
