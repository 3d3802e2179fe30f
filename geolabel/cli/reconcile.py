"""``geolabel reconcile``."""

from __future__ import annotations

from typing import Annotated

import typer


def reconcile(
    project: Annotated[int, typer.Argument(help="Number of the project; all when not given.")] = 0,
) -> None:
    """Find annotations that no webhook told of, and queue what follows from them. Workers do this by themselves."""
    from geolabel.pipeline.reconcile import reconcile as run
    from geolabel.services import Services

    found = run(Services(), str(project) if project else None)
    if found["replayed"]:
        typer.echo(f"{found['replayed']} events were waiting on disk.")
    for number, item in found["projects"].items():
        sentence = item.get("error") or item.get("gone")
        if sentence is None:
            asked = ", ".join(item["asked"]) or "nothing"
            sentence = f"{item['changed']} annotations not learned, {item['gone']} gone; queued: {asked}"
        typer.echo(f"project {number}: {sentence}")
