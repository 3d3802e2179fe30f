"""``geolabel setup``."""

from __future__ import annotations

from typing import Annotated

import typer

from geolabel.local.first_project import open_project
from geolabel.services import Services


def setup(
    scene: Annotated[list[str] | None, typer.Option("--scene", help="A raster to cut into tasks. Repeatable.")] = None,
    project: Annotated[
        int | None, typer.Option("--project", help="Connect this project instead of making one.")
    ] = None,
    template: Annotated[
        str, typer.Option("--template", help="Label template: a folder of ls_configs.")
    ] = "buildings-roads-water-trees",
    title: Annotated[str, typer.Option("--title", help="Title of the project. Default: from the scene's name.")] = "",
    backend_url: Annotated[
        str | None,
        typer.Option("--backend-url", help="The backend's address as Label Studio reaches it, if it differs."),
    ] = None,
) -> None:
    """Connect the backend to a project of a running Label Studio, with its webhook; without --project, make one.

    Without --scene and --project the sample scene is loaded. Doing it again changes nothing.
    """

    def say(name: str, line: str) -> None:
        typer.echo(line, err=True)

    opened = open_project(
        Services(),
        scenes=scene or [],
        template=template,
        title=title,
        say=say,
        project_id=project,
        backend_url=backend_url,
    )
    typer.echo(f"project {opened.project_id}: {opened.tasks} tasks, {opened.annotated} labelled")
    typer.echo(opened.url)
