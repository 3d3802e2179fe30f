"""``geolabel doctor``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from geolabel.local.doctor import examine
from geolabel.services import Services

MARKS = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "wrong": "[red]wrong[/]"}


def doctor(
    project: Annotated[int | None, typer.Option("--project", help="Look at this project only.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check every dependency, port, credential and Label Studio setting, and say how to mend each."""
    findings = list(examine(Services(), project))
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for finding in findings:
            table.add_row(MARKS[finding.level], finding.what, finding.found)
            if finding.mend:
                table.add_row("", "", f"[italic]{finding.mend}[/]")
        Console().print(table)
    if any(finding.level == "wrong" for finding in findings):
        raise typer.Exit(4)
