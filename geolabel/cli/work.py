"""``geolabel work``."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from geolabel.settings import load_settings


def work(
    queues: Annotated[str, typer.Option("--queues", help="Names of queues with commas. Default: all.")] = "",
    burst: Annotated[bool, typer.Option("--burst", help="Stop when nothing waits any more.")] = False,
) -> None:
    """Run a worker in this process."""
    load_settings()  # a wrong setting is said here, before the worker starts
    arguments = ["--queues", queues] if queues else []
    os.execv(sys.executable, [sys.executable, "-m", "workers", *arguments, *(["--burst"] if burst else [])])
