"""Child processes: started in a group of their own, watched, stopped by id and never by name."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from geolabel.errors import AdapterError

PR_SET_PDEATHSIG = 1
POLL_S = 0.1


@dataclass(slots=True, kw_only=True)
class Child:
    """One program that we start, watch and stop.

    Attributes:
        name: What it is called in messages and in the log's prefix.
        argv: Program and arguments.
        env: Its whole environment.
        log: File that its output is appended to.
        ready: Says whether it can be used already; asked until it does.
        cwd: Folder to run in.
        ready_s: Longest wait for it to be ready.
        stop_s: Time it gets to stop by itself before it is killed.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    log: Path
    ready: Callable[[], bool]
    cwd: Path | None = None
    ready_s: float = 120.0
    stop_s: float = 15.0
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self.process.pid if self.process is not None and self.process.poll() is None else None

    def start(self) -> None:
        """Start it, without waiting until it is ready.

        Raises:
            AdapterError: the program can't be started.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(
                    list(self.argv),
                    env=dict(self.env),
                    cwd=self.cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    # It calls nothing but one system call, so threads of ours can't have it wait for a lock.
                    preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509
                )
        except OSError as error:
            raise AdapterError(
                f"{self.name} can't be started ({' '.join(self.argv[:3])}): {error.strerror}."
            ) from error

    def wait_ready(self) -> None:
        """Wait until it is ready.

        Raises:
            AdapterError: it ended before, or the time is over. The sentence carries the end of its log.
        """
        deadline = time.monotonic() + self.ready_s
        while time.monotonic() < deadline:
            if self.process is None or self.process.poll() is not None:
                code = None if self.process is None else self.process.returncode
                raise AdapterError(f"{self.name} ended with status {code} while starting. {self.last_words()}")
            if self.ready():
                return
            time.sleep(POLL_S)
        raise AdapterError(f"{self.name} was not ready after {self.ready_s:.0f} s. {self.last_words()}")

    def stop(self) -> None:
        """Ask it to end, and kill its group when it does not in time."""
        process = self.process
        if process is None:
            return
        if process.poll() is None:
            _signal(process.pid, signal.SIGTERM)
            try:
                process.wait(self.stop_s)
            except subprocess.TimeoutExpired:
                _signal_group(process.pid, signal.SIGKILL)
                process.wait()
        # What it started itself and left behind has its process group.
        _signal_group(process.pid, signal.SIGKILL)

    def last_words(self, lines: int = 5) -> str:
        """Return the end of the log as one sentence."""
        try:
            text = self.log.read_bytes()[-4000:].decode("utf-8", "replace")
        except OSError:
            return f"It left no log at {self.log}."
        tail = [line for line in text.splitlines() if line.strip()][-lines:]
        if any("No space left on device" in line for line in tail):
            return f"The disk that holds {self.log.parent} is full."
        return f"Its log {self.log} ends: {' | '.join(tail)}" if tail else f"Its log {self.log} is empty."


class Children:
    """Children that are started in order and stopped in the reverse order; a context manager."""

    def __init__(self) -> None:
        self.all: list[Child] = []

    def add(self, child: Child) -> Child:
        """Start a child and wait until it is ready."""
        self.all.append(child)
        child.start()
        child.wait_ready()
        return child

    def stop(self) -> None:
        """Stop all, the last one first."""
        while self.all:
            self.all.pop().stop()

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def child_environment(base: Mapping[str, str], **values: str) -> dict[str, str]:
    """Build a child's environment: only what any program needs from ``base``, and ``values``.

    Label Studio reads bare names such as HOST, PORT and PASSWORD, so a person's environment is never handed on whole.
    """
    kept = {
        name: value
        for name, value in base.items()
        if name in {"PATH", "HOME", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH"}
        or name.startswith(("LC_", "SSL_CERT", "AWS_", "GDAL_", "CPL_", "OMP_", "CUDA_", "HF_"))
        or name.upper() in {"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"}
    }
    return {**kept, "PYTHONUNBUFFERED": "1", **values}


def alive(pid: int) -> bool:
    """Tell whether a process runs (one that has ended and is not waited for does not)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return not stat.parent.parent.is_dir()


def _die_with_parent() -> None:
    # Runs between fork and exec: if the supervisor is killed with SIGKILL, its children must not stay.
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


_LIBC = ctypes.CDLL(None)


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return
