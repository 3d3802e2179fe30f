"""Hooks after an export, and when triggers fire."""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from geolabel.core.manifest import Manifest
from geolabel.errors import InputError, NotFoundError
from geolabel.pipeline.hooks import HOOKS_KEY, run_hooks
from geolabel.pipeline.triggers import due, read_triggers, triggers_key
from geolabel.services import Services


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """A server that fails twice and then takes messages."""
    seen: list[tuple[dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.append((dict(self.headers), body))
            self.send_response(503 if len(seen) < 3 else 204)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", seen
    server.shutdown()
    thread.join()
    server.server_close()


def manifest() -> Manifest:
    return Manifest(
        project="7", version="abc", snapshot_time="2026-01-01T00:00:00Z", files=(), recipe={}, taxonomy={}, snapshot={}
    )


def test_hooks(make_settings: Any, tmp_path: Any, receiver: Any) -> None:
    url, seen = receiver
    services = Services(make_settings())
    services.store.put("exports/7/abc/manifest.json", b"{}")
    services.store.put_json(
        HOOKS_KEY,
        {
            "tell": {"kind": "webhook", "url": url, "secret": "s3cret"},
            "bucket": {"kind": "copy", "to": str(tmp_path / "bucket")},
            "train": {"kind": "command", "spec": "version: $version", "command": ["cat", "$spec"]},
            "broken": {"kind": "command", "command": "false"},
        },
    )
    told = run_hooks(services, manifest(), ["tell", "bucket", "broken", "train"], pause_s=0.01)
    assert [t["done"] for t in told] == [True, True, False, True]
    assert told[3]["detail"] == "version: abc"
    assert (tmp_path / "bucket/exports/7/abc/manifest.json").read_bytes() == b"{}"
    assert len(seen) == 3
    assert len({headers["Idempotency-Key"] for headers, _ in seen}) == 1
    headers, body = seen[-1]
    stamp, mac = (part.partition("=")[2] for part in headers["X-GeoLabel-Signature"].split(","))
    assert mac == hmac.new(b"s3cret", f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    with pytest.raises(NotFoundError, match="no hooks"):
        run_hooks(services, manifest(), ["rm -rf"])


@pytest.mark.parametrize(
    ("trigger", "state", "fires"),
    [
        ({"on": "reviewed", "every": 10}, {"finished": 9, "total": 50, "exported": 0, "age_s": None}, False),
        ({"on": "reviewed", "every": 10}, {"finished": 19, "total": 50, "exported": 9, "age_s": 5}, True),
        ({"on": "done"}, {"finished": 50, "total": 50, "exported": 49, "age_s": 5}, True),
        ({"on": "done"}, {"finished": 50, "total": 50, "exported": 50, "age_s": 5}, False),
        ({"on": "done"}, {"finished": 0, "total": 0, "exported": 0, "age_s": None}, False),
        ({"on": "schedule", "hours": 1}, {"finished": 1, "total": 2, "exported": 1, "age_s": 3601}, True),
        ({"on": "schedule", "hours": 1}, {"finished": 1, "total": 2, "exported": 1, "age_s": 60}, False),
    ],
)
def test_triggers_fire_when_due(trigger: dict[str, Any], state: dict[str, Any], fires: bool) -> None:
    assert due(trigger, state) is fires


def test_a_trigger_of_no_known_kind_is_refused(make_settings: Any) -> None:
    services = Services(make_settings())
    services.store.put_json(triggers_key(3), [{"on": "fullmoon"}])
    with pytest.raises(InputError, match="reviewed, done, schedule"):
        read_triggers(services, 3)
