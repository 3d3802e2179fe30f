"""`geolabel dataset`: list, show, compare, verify and rebuild dataset versions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from geolabel.errors import InputError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True, help="Dataset versions.")
_Project = Annotated[str, typer.Argument(help="Project id, or file-NAME of an export of a file.")]
_Version = Annotated[str, typer.Argument(help="Version or the start of it; left out: the newest.")]


def _services() -> Any:
    from geolabel.services import Services

    return Services()


def _print(value: Any) -> None:
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False))


@app.command("ls")
def list_(project: Annotated[str, typer.Argument(help="Only this project.")] = "") -> None:
    """List versions, oldest first."""
    from geolabel.pipeline.versions import list_versions

    found = list_versions(_services(), project)
    if not found:
        typer.echo("There is no dataset version; `geolabel export PROJECT` makes one.")
    for m in found:
        records = m.counts.get("decoded", {}).get("regions", 0)
        typer.echo(
            f"{m.project:<16}{m.number:>4}  {m.version}  {m.snapshot_time or 'from a file':<21}"
            f"{records:>9} regions  {', '.join(m.recipe.get('formats', ()))}"
        )


@app.command()
def show(project: _Project, version: _Version = "") -> None:
    """Print the manifest of a version."""
    from geolabel.pipeline.versions import load_version

    _print(load_version(_services(), project, version).to_json())


@app.command()
def diff(
    project: _Project,
    before: Annotated[str, typer.Argument(help="Older version; left out: the one before the newest.")] = "",
    after: Annotated[str, typer.Argument(help="Newer version; left out: the newest.")] = "",
    layer: Annotated[Path | None, typer.Option(help="Write changed objects as this GeoJSON file.")] = None,
) -> None:
    """Tell what labels changed between two versions, as numbers and as a map layer."""
    from geolabel.pipeline.diff import diff as run
    from geolabel.pipeline.versions import load_version

    services = _services()
    if not before:
        parents = load_version(services, project, after).parents
        if not parents:
            raise InputError(f"project {project} has one version only; name two to compare")
        before = parents[0]
    _print(run(services, project, before, after, layer=layer).to_json())


@app.command()
def verify(project: _Project, version: _Version = "") -> None:
    """Compare every file of a version with its manifest; exit status 1 when one differs."""
    from geolabel.pipeline.versions import verify as run

    verdict = run(_services(), project, version)
    _print(verdict.to_json())
    if not verdict.good:
        raise typer.Exit(1)


@app.command()
def rebuild(
    project: _Project,
    version: _Version = "",
    into: Annotated[Path | None, typer.Option(help="Keep the rebuilt version in this new folder.")] = None,
) -> None:
    """Make a version again from its stored snapshot and compare; exit status 1 when a file differs."""
    from geolabel.pipeline.versions import rebuild as run

    verdict = run(_services(), project, version, into=into)
    _print(verdict.to_json())
    if not verdict.good:
        raise typer.Exit(1)
