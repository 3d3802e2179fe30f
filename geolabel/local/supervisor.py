"""One process that starts the others, follows their logs, restarts what dies and stops all by process id."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from geolabel.errors import AdapterError, InputError
from geolabel.local.processes import Child, alive

BACKOFF_S = (1.0, 2.0, 5.0, 10.0, 30.0)
STEADY_S = 60.0  # a child that ran this long has started well; the next failure counts as its first again
TICK_S = 0.25
#: Warnings that every start gives and that ask for nothing on one person's machine.
NOISE = ("cleaning registries", "subscribing to channel", "rq.scheduler", "result is kept for", "pubsub", "httpx INFO")
EXPECTED = ("overcommit", "development server", "APPS_NOT_READY", "app initialization", "SECRET_KEY", "heidi-tips")

Say = Callable[[str, str], None]  # (name of the child or "", line)


@dataclass(slots=True, kw_only=True)
class Watched:
    """A child and what happened to it."""

    child: Child
    started: float = 0.0
    restarts: int = 0
    failures: int = 0
    restart_at: float | None = None
    log_position: int = 0
    loud: Callable[[str], bool] = field(default=lambda line: not any(words in line for words in NOISE))

    @property
    def state(self) -> str:
        """What to show in the table."""
        if self.child.pid is not None:
            return "running"
        return "restarting" if self.restart_at is not None else "stopped"


class Supervisor:
    """Runs children until it is told to stop.

    Args:
        state_file: JSON file that `geolabel status` reads.
        say: Called with every line to show: the child's name ("" for our own) and the line.
    """

    def __init__(self, state_file: Path, say: Say) -> None:
        self.state_file = state_file
        self.say = say
        self.watched: list[Watched] = []
        self.stopping = threading.Event()
        self.facts: dict[str, Any] = {}

    def start(self, children: Sequence[Child], quiet: Iterable[str] = ()) -> None:
        """Start children side by side and wait until all are ready.

        Args:
            children: What to start.
            quiet: Names of children of whose log only warnings and errors are shown.

        Raises:
            AdapterError: one of them ended or did not become ready.
        """
        names = set(quiet)
        for child in children:
            one = Watched(child=child, started=time.time())
            if child.name in names:
                one.loud = _is_warning
            one.log_position = child.log.stat().st_size if child.log.is_file() else 0
            self.watched.append(one)
            child.start()
        for child in children:
            child.wait_ready()
        self.write_state()

    def run(self) -> None:
        """Follow logs and restart what dies, until SIGINT or SIGTERM."""
        while not self.stopping.wait(TICK_S):
            self.tick()

    def tick(self) -> None:
        """Look once at every child."""
        changed = False
        for one in self.watched:
            self._follow(one)
            changed |= self._watch(one)
        if changed:
            self.write_state()

    def stop(self) -> None:
        """Stop every child, the last one first, and forget the state."""
        for one in reversed(self.watched):
            if one.child.pid is not None:
                self.say("", f"stopping {one.child.name} (process {one.child.pid})")
            one.child.stop()
        self.watched.clear()
        self.state_file.unlink(missing_ok=True)

    def on_signals(self) -> None:
        """Stop at Ctrl-C and at SIGTERM."""

        def handle(number: int, frame: FrameType | None) -> None:
            self.stopping.set()
            # While something long runs in this thread (an import), the loop is not there to see the event.
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            raise SystemExit(0)

        signal.signal(signal.SIGINT, handle)
        signal.signal(signal.SIGTERM, handle)

    def write_state(self) -> None:
        """Write what runs, for `geolabel status`."""
        rows = [
            {
                "name": one.child.name,
                "pid": one.child.pid,
                "state": one.state,
                "restarts": one.restarts,
                "started": one.started,
                "log": str(one.child.log),
            }
            for one in self.watched
        ]
        partial = self.state_file.with_suffix(".partial")
        partial.write_text(json.dumps({"pid": os.getpid(), "children": rows, **self.facts}, indent=1), "utf-8")
        partial.replace(self.state_file)

    def _watch(self, one: Watched) -> bool:
        now = time.time()
        if one.child.pid is not None:
            if one.failures and now - one.started > STEADY_S:
                one.failures = 0
            return False
        if one.restart_at is None:
            code = None if one.child.process is None else one.child.process.returncode
            wait = BACKOFF_S[min(one.failures, len(BACKOFF_S) - 1)]
            one.failures += 1
            one.restart_at = now + wait
            self.say("", f"{one.child.name} ended with status {code}; starting it again in {wait:.0f} s")
            return True
        if now < one.restart_at:
            return False
        one.restart_at = None
        one.restarts += 1
        one.started = now
        try:
            one.child.start()
        except AdapterError as error:
            self.say("", error.message)
        return True

    def _follow(self, one: Watched) -> None:
        try:
            with one.child.log.open("rb") as log:
                log.seek(one.log_position)
                new = log.read(1 << 20)
        except OSError:
            return
        whole = new.rpartition(b"\n")[0]
        if not whole:
            return
        one.log_position += len(whole) + 1
        for line in whole.decode("utf-8", "replace").splitlines():
            if line.strip() and one.loud(line):
                self.say(one.child.name, line)


def _is_warning(line: str) -> bool:
    if any(words in line for words in EXPECTED):
        return False
    return any(word in line for word in ("WARNING", "ERROR", "CRITICAL", "Traceback", "No space left"))


def read_state(state_file: Path) -> dict[str, Any] | None:
    """Return what the running supervisor wrote, or None when none runs."""
    try:
        state: dict[str, Any] = json.loads(state_file.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return state if alive(int(state["pid"])) else None


def refuse_second(state_file: Path) -> None:
    """Refuse to start beside another supervisor of the same state folder.

    Raises:
        InputError: one runs.
    """
    state = read_state(state_file)
    if state is not None and int(state["pid"]) != os.getpid():
        raise InputError(
            f"GeoLabel runs here already (process {state['pid']}, {state.get('url', 'starting')}). "
            "Stop it with Ctrl-C in its window, or choose another folder by GEOLABEL_STATE_DIR."
        )
