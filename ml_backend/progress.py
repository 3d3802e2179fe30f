"""A page that shows what is pending, what is done and what failed; it renews itself."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, Template, select_autoescape

from geolabel.pipeline.labels import clean_project_id
from geolabel.pipeline.progress import queue_report
from ml_backend.labelstudio import WithServices

router = APIRouter(tags=["progress"])


@lru_cache(maxsize=1)
def _template() -> Template:
    loader = FileSystemLoader(Path(__file__).parent / "pages")
    return Environment(loader=loader, autoescape=select_autoescape(["html"])).get_template("progress.html")


@router.get("/progress", response_class=HTMLResponse)
def progress_page(request: Request, services: WithServices) -> HTMLResponse:
    """Show the page; ?project= for one project."""
    return HTMLResponse(_template().render(report=_report(request, services)))


@router.get("/v1/progress")
def progress_json(request: Request, services: WithServices) -> dict[str, Any]:
    """Return the same facts as JSON."""
    return _report(request, services)


def _report(request: Request, services: WithServices) -> dict[str, Any]:
    project = request.query_params.get("project")
    return queue_report(services, clean_project_id(project) if project else None)
