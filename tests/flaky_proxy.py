"""A proxy before a real server that fails as told: answers lost, statuses in between, nobody there."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

LOST = "answer lost"
_TIMEOUT_S = 120.0


class FlakyProxy:
    """What the proxy does and saw.

    Attributes:
        url: Its address.
        seen: (method, path) of every request that came in.
        plan: What to do with the next requests whose method and path contain the key: a status to answer instead of
            asking the server, or LOST to ask it and hang up without an answer.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.seen: list[tuple[str, str]] = []
        self.plan: dict[str, list[int | str]] = {}
        self._lock = threading.Lock()

    def count(self, text: str) -> int:
        """How many requests came whose method and path contain the text."""
        return sum(text in f"{method} {path}" for method, path in self.seen)

    def next_fault(self, method: str, path: str) -> int | str | None:
        """Note a request and take what is planned for it."""
        with self._lock:
            self.seen.append((method, path))
            for text, faults in self.plan.items():
                if text in f"{method} {path}" and faults:
                    return faults.pop(0)
        return None


@contextmanager
def flaky_proxy(target: str) -> Iterator[FlakyProxy]:
    """Run a proxy before `target` on a free port."""
    parts = urlsplit(target)
    assert parts.hostname is not None
    host, port = parts.hostname, parts.port or 80

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fault = proxy.next_fault(self.command, self.path)
            if isinstance(fault, int):
                self._reply(fault, b'{"detail": "planned"}', "application/json")
                return
            upstream = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
            try:
                headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
                upstream.request(self.command, self.path, body=body or None, headers=headers)
                answer = upstream.getresponse()
                data = answer.read()
                if fault == LOST:
                    self.close_connection = True
                    return
                self._reply(answer.status, data, answer.headers.get("Content-Type", "application/json"))
            finally:
                upstream.close()

        def _reply(self, status: int, data: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _pass

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy = FlakyProxy(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10.0)
