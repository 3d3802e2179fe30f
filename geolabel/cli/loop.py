"""``geolabel loop``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

loop = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, help="Report what the learning loop has gained."
)


@loop.callback()
def _group() -> None:
    """Keep `report` a word of its own, since more will follow."""


@loop.command()
def report(
    project: Annotated[int, typer.Argument(help="Number of the project in Label Studio.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for loop-report.html and loop-report.json.")] = Path("."),
    replay: Annotated[bool, typer.Option("--replay/--no-replay", help="Estimate labels saved by a replay.")] = True,
    seeds: Annotated[int, typer.Option("--seeds", help="Seeds of the replay.")] = 10,
) -> None:
    """Write labels, hold-out, calibration, queue, agreement and labels saved of a project, as HTML and JSON."""
    from geolabel.errors import StoreError
    from geolabel.pipeline.loop_page import render_page
    from geolabel.pipeline.loop_report import report_project
    from geolabel.services import Services

    found = report_project(Services(), str(project), replay=replay, seeds=seeds)
    page, data = out / "loop-report.html", out / "loop-report.json"
    try:
        out.mkdir(parents=True, exist_ok=True)
        data.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
        page.write_text(render_page(found), "utf-8")
    except OSError as error:
        raise StoreError(f"the report can't be written to {out}: {error.strerror or error}") from error
    typer.echo(f"{page}\n{data}")
