"""Jobs of export: make a dataset version of a project or a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from geolabel.errors import InputError
from geolabel.services import Services
from workers.frame import Payload, Progress, job


@job
def export(services: Services, payload: Payload, progress: Progress) -> dict[str, Any]:
    """Export: {"project": id or "file": path, "recipe"?: {...}, "hooks"?: [...]}."""
    from geolabel.core.manifest import Recipe
    from geolabel.pipeline.export import export_file, export_project, summary

    recipe = payload.get("recipe") or {}
    if not isinstance(recipe, dict):
        raise InputError(f"recipe must be an object; got {str(recipe)[:100]!r}")
    wanted = Recipe.from_json(recipe)
    project = payload.get("project")
    if payload.get("file"):
        manifest = export_file(services, Path(str(payload["file"])), wanted, progress=progress)
    elif isinstance(project, int) and not isinstance(project, bool):
        manifest = export_project(services, project, wanted, progress=progress)
    else:
        raise InputError(f"project must be a number; got {project!r}")
    return summary(manifest)
