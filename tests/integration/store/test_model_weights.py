"""Weights brought from a real HTTP server: whole, cut short and gone on with, changed, damaged, refused."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from geolabel.adapters.store import Store
from geolabel.cli.app import run
from geolabel.errors import AdapterError, InputError, ModelError, NotFoundError
from geolabel.predict import catalog

CONTENT = bytes(range(256)) * 12_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass(kw_only=True)
class Files:
    """What the server serves, how it misbehaves, and the ranges it was asked for."""

    url: str = ""
    content: bytes = CONTENT
    cut_after: int | None = None
    ranges: bool = True
    status: int = 200
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def files() -> Iterator[Files]:
    """A server on a free port of this machine."""
    state = Files()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            state.asked.append(wanted)
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and state.ranges else 0
            if state.status != 200:
                self.send_error(state.status)
                return
            if start >= len(state.content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(state.content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = state.content[start:]
            self.send_response(206 if start else 200)
            if start:
                last = len(state.content) - 1
                self.send_header("Content-Range", f"bytes {start}-{last}/{len(state.content)}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: state.cut_after])
            self.close_connection = True

        def log_message(self, *args: Any) -> None:
            del args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}/some/weights.pt"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join(30)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(str(tmp_path / "store"))


def test_a_file_comes_whole_and_is_not_fetched_twice(files: Files, store: Store, tmp_path: Path) -> None:
    steps: list[tuple[int, int | None]] = []

    def report(done: int, total: int | None) -> None:
        steps.append((done, total))

    noted = catalog.pull(store, "mine", tmp_path / "c", source=files.url, sha256=SHA256, report=report)
    assert noted["files"] == {"weights.pt": {"sha256": SHA256, "bytes": len(CONTENT)}}
    assert steps[-1] == (len(CONTENT), len(CONTENT))
    assert catalog.resolve(store, "mine", tmp_path / "c").read_bytes() == CONTENT
    assert catalog.check(store, "mine").state == "right"
    assert catalog.present(store) == ["mine"]
    assert catalog.pull(store, "mine", tmp_path / "c", source=files.url) == noted
    assert files.asked == [""]
    assert not (tmp_path / "c" / "mine").exists()


def test_a_download_cut_short_goes_on_where_it_stopped(files: Files, store: Store, tmp_path: Path) -> None:
    files.cut_after = 1_000_000
    with pytest.raises(AdapterError):
        catalog.pull(store, "mine", tmp_path, source=files.url)
    assert catalog.check(store, "mine").state == "absent"
    got = (tmp_path / "mine" / "weights.pt.part").stat().st_size
    assert 0 < got <= 1_000_000
    files.cut_after = None
    catalog.pull(store, "mine", tmp_path, source=files.url, sha256=SHA256)
    assert files.asked == ["", f"bytes={got}-"]
    assert catalog.resolve(store, "mine", tmp_path).read_bytes() == CONTENT


def test_a_server_without_ranges_is_asked_from_the_start(files: Files, store: Store, tmp_path: Path) -> None:
    files.cut_after, files.ranges = 500_000, False
    with pytest.raises(AdapterError):
        catalog.pull(store, "mine", tmp_path, source=files.url)
    files.cut_after = None
    assert catalog.pull(store, "mine", tmp_path, source=files.url, sha256=SHA256)["files"]["weights.pt"][
        "bytes"
    ] == len(CONTENT)


@pytest.mark.parametrize("left", [len(CONTENT), len(CONTENT) + 5])
def test_a_partial_file_without_a_rest_is_taken_only_when_it_is_whole(
    files: Files, store: Store, tmp_path: Path, left: int
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "weights.pt.part").write_bytes((CONTENT + b"x" * 5)[:left])
    catalog.pull(store, "mine", tmp_path, source=files.url)
    assert catalog.resolve(store, "mine", tmp_path).read_bytes() == CONTENT
    assert len(files.asked) == (1 if left == len(CONTENT) else 2)


def test_another_file_than_expected_is_refused_and_fetched_anew(files: Files, store: Store, tmp_path: Path) -> None:
    files.content = b"something else"
    with pytest.raises(ModelError, match="pull again"):
        catalog.pull(store, "mine", tmp_path, source=files.url, sha256=SHA256)
    assert catalog.present(store) == []
    files.content = CONTENT
    catalog.pull(store, "mine", tmp_path, source=files.url, sha256=SHA256)
    assert files.asked == ["", ""]


def test_what_cannot_be_fetched_is_said(files: Files, store: Store, tmp_path: Path) -> None:
    files.status = 404
    with pytest.raises(AdapterError, match="--from FILE"):
        catalog.pull(store, "mine", tmp_path, source=files.url)
    with pytest.raises(NotFoundError, match=r"sam2\.1-tiny"):
        catalog.pull(store, "no-such-model", tmp_path)
    with pytest.raises(NotFoundError, match="neither an address"):
        catalog.pull(store, "mine", tmp_path, source=str(tmp_path / "absent.pt"))
    with pytest.raises(InputError, match="may hold letters"):
        catalog.pull(store, "../mine", tmp_path, source=files.url)
    with pytest.raises(ModelError, match="no such file"):
        catalog.resolve(store, "mine", tmp_path)


def test_the_command_pulls_lists_and_checks(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GEOLABEL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "200")
    assert run(["models", "check"]) == 0
    assert "holds no models" in capsys.readouterr().out
    assert run(["models", "pull", "mine", "--from", files.url, "--sha256", SHA256]) == 0
    assert "1 files, 3.1 MB" in capsys.readouterr().out
    assert run(["models", "ls"]) == 0
    listed = capsys.readouterr().out
    assert "sam2.1-tiny" in listed
    assert any("mine" in line and "own" in line and "yes" in line for line in listed.splitlines())
    assert run(["models", "check"]) == 0
    assert "mine: right" in capsys.readouterr().out
    (stored,) = (tmp_path / "state").rglob("weights.pt")
    stored.write_bytes(CONTENT[:-1])
    assert run(["models", "check", "mine"]) == ModelError("").exit_code
    assert "mine: damaged" in capsys.readouterr().out
    assert run(["models", "pull", "mine", "--from", files.url, "--sha256", SHA256]) == 0
    assert run(["models", "check", "mine"]) == 0
    capsys.readouterr()
    assert run(["models", "check", "absent"]) != 0
    assert run(["models", "pull", "no-such-model"]) != 0
    shown = capsys.readouterr()
    assert "Traceback" not in shown.out + shown.err
