"""``geolabel prelabel``: predict the tasks of a project and import the predictions."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from geolabel.errors import InputError
from geolabel.services import Services


def prelabel(
    project: Annotated[int, typer.Argument(help="Number of the project in Label Studio.")],
    task: Annotated[list[int] | None, typer.Option(help="Task to predict; again for more. Default: all.")] = None,
    queue: Annotated[bool, typer.Option("--queue", help="Let a worker do it and return at once.")] = False,
    refit: Annotated[bool, typer.Option("--refit", help="Learn from the newest labels first.")] = False,
    columns: Annotated[bool, typer.Option(help="Write route and reason into the tasks.")] = True,
    chain: Annotated[
        str, typer.Option(help="Predictors in order, e.g. text,fewshot; kept for the project. Default: as it is.")
    ] = "",
) -> None:
    """Predict tasks and import the predictions."""
    from geolabel.pipeline.chain import ChainStep, set_chain

    services = Services()
    console = Console()
    project_id = str(project)
    if chain:
        names = [name.strip() for name in chain.split(",") if name.strip()]
        if not names:
            raise InputError(f"--chain is {chain!r}; name at least one predictor, e.g. fewshot")
        set_chain(services, project_id, [ChainStep(name=name) for name in names])
    if queue:
        payload = {"project": project_id, "tasks": task or None, "refit": refit, "columns": columns}
        job = services.jobs.enqueue("workers.jobs_predict.prelabel", payload, queue="model")
        console.print(f"Queued as {job.id}; `geolabel jobs {job.id}` shows how far it is.")
        return
    _run(services, console, project_id, task, refit=refit, columns=columns)


def _run(
    services: Services, console: Console, project_id: str, task: list[int] | None, *, refit: bool, columns: bool
) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from geolabel.pipeline.prelabel import prelabel as run

    layout = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*layout, console=console, transient=True) as bars:
        bar = bars.add_task("predicting", total=len(task) if task else None)

        def report(done: int, total: int | None, message: str) -> None:
            bars.update(bar, completed=done, total=total, description=message)

        result = run(services, project_id, task, refit=refit, columns=columns, report=report)
    if result.reason:
        console.print(f"Nothing predicted: {result.reason}.")
        return
    routes = ", ".join(f"{count} {name}" for name, count in sorted(result.routes.items())) or "none"
    console.print(
        f"{result.imported} predictions of {result.version} stored with {result.regions} regions; "
        f"{result.skipped} tasks had one or are being answered. Routes: {routes}."
    )
    if result.losses:
        console.print(f"{result.losses} regions were changed or left out by the label config.")
    for name, sentence in list(result.failed.items())[:20]:
        console.print(f"Task {name} failed: {sentence}")
    if len(result.failed) > 20:
        console.print(f"… and {len(result.failed) - 20} more failed.")
