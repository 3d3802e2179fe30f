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
    out = summary(manifest)
    hooks = payload.get("hooks") or []
    if hooks:
        from geolabel.pipeline.hooks import run_hooks

        out["hooks"] = run_hooks(services, manifest, [str(name) for name in hooks])
    return out


@job
def check_triggers(services: Services, payload: Payload, progress: Progress) -> dict[str, Any]:
    """Queue exports whose trigger is due: {"project", "again_s"?}; with `again_s` it queues itself again."""
    from geolabel.pipeline.triggers import CHECK_JOB, fire

    del progress
    project = payload.get("project")
    if not isinstance(project, int) or isinstance(project, bool):
        raise InputError(f"project must be a number; got {project!r}")
    jobs = fire(services, project)
    again_s = float(payload.get("again_s") or 0)
    if again_s > 0:
        number = int(payload.get("round", 0)) + 1
        again = {"project": project, "again_s": again_s, "round": number}
        services.jobs.enqueue(CHECK_JOB, again, queue="export", delay_s=again_s)
    return {"queued": jobs}
