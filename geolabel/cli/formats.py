"""`geolabel formats`: list export formats and what each can carry."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def formats(as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False) -> None:
    """List export formats and what each loses."""
    from geolabel.formats.registry import formats as registry
    from geolabel.formats.traits import MESSAGES

    specs = [registry().get(name).spec for name in registry().names()]
    if as_json:
        typer.echo(json.dumps([spec.to_json() for spec in specs], indent=1))
        return
    for spec in specs:
        lost = [what for what in MESSAGES if what not in spec.keeps]
        typer.echo(f"{spec.name:<16}{spec.title}")
        typer.echo(f"{'':<16}{spec.note}")
        typer.echo(f"{'':<16}does not keep: {', '.join(lost) or 'nothing'}")
