"""Free and busy TCP ports on this machine."""

from __future__ import annotations

import socket
from contextlib import closing

from geolabel.errors import InputError

LOOPBACK = "127.0.0.1"


def free_port(host: str = LOOPBACK) -> int:
    """Return a port that nothing listens on now."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Tell whether a server could listen on the port."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        # Servers set this too; without it a port of a server that has just stopped would seem taken for a minute.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def require_free(port: int, what: str, variable: str, host: str = LOOPBACK) -> None:
    """Refuse a port that is taken.

    Raises:
        InputError: something listens on it; the sentence names the setting that moves us.
    """
    if not is_free(port, host):
        raise InputError(
            f"Port {port}, where {what} should listen, is taken by another program. "
            f"Stop that program, or choose another port: {variable}={free_port(host)}."
        )
