"""``geolabel serve``."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from geolabel.settings import load_settings


def serve(
    workers: Annotated[int, typer.Option("--workers", min=1, help="Server processes.")] = 1,
) -> None:
    """Run the ML backend's server at GEOLABEL_SERVER__HOST and __PORT, in this process."""
    server = load_settings().server
    arguments = ["--factory", "ml_backend.app:create_app", "--host", server.host, "--port", str(server.port)]
    os.execv(sys.executable, [sys.executable, "-m", "uvicorn", *arguments, "--workers", str(workers)])
