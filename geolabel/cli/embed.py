"""``geolabel embed``: compute what clicks need before people click."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from geolabel.services import Services


def embed(
    project: Annotated[int, typer.Argument(help="Number of the project in Label Studio.")],
    task: Annotated[list[int] | None, typer.Option(help="Task; again for more. Default: those served next.")] = None,
    count: Annotated[int, typer.Option(help="Most tasks when none are named.")] = 32,
    model: Annotated[str, typer.Option(help="Model of the store or a checkpoint. Default: the one for clicks.")] = "",
    queue: Annotated[bool, typer.Option("--queue", help="Let a worker do it and return at once.")] = False,
) -> None:
    """Compute embeddings ahead of interactive work."""
    from geolabel.pipeline.embed import embed_tasks

    services, console = Services(), Console()
    if queue:
        payload = {"project": str(project), "tasks": task, "count": count, "model": model}
        job = services.jobs.enqueue("workers.jobs_models.embed", payload, queue="model")
        console.print(f"Queued as {job.id}; `geolabel jobs {job.id}` shows how far it is.")
        return
    found = embed_tasks(services, str(project), task_ids=task, count=count, model=model)
    console.print(f"{found['made']} embeddings of {found['model']} made, {found['there']} were there.")
    if found.get("reason"):
        console.print(f"{found['reason']}; `geolabel models pull sam2.1-tiny` brings a model that does.")
    for name, sentence in list(found["failed"].items())[:20]:
        console.print(f"Task {name} failed: {sentence}")
