"""``geolabel select``."""

from __future__ import annotations

from typing import Annotated

import typer


def select(
    project: Annotated[int, typer.Argument(help="Number of the project in Label Studio.")] = 0,
    sampler: Annotated[str, typer.Option("--sampler", help="Name; default: the setting GEOLABEL_LOOP__SAMPLER.")] = "",
    show: Annotated[int, typer.Option("--show", help="Tasks to list.")] = 10,
    names: Annotated[bool, typer.Option("--list", help="List samplers and stop.")] = False,
) -> None:
    """Order the queue of a project: Label Studio serves the most useful task next."""
    from geolabel.errors import InputError
    from geolabel.sample.registry import SAMPLERS

    if names:
        for name in SAMPLERS.names():
            typer.echo(f"{name:<18}{(SAMPLERS.get(name).__doc__ or '').splitlines()[0]}")
        return
    if project <= 0:
        raise InputError("name the project by its number, as in `geolabel select 3`")
    from geolabel.pipeline.loop_state import LoopState
    from geolabel.pipeline.select import rank_project
    from geolabel.services import Services

    services = Services()
    with LoopState(services, str(project)).alone():
        result = rank_project(services, str(project), sampler=sampler)
    typer.echo(f"{len(result.order)} tasks ranked by {result.sampler}, {result.written} scores written.")
    if result.waiting:
        typer.echo(f"{len(result.waiting)} tasks have no prediction yet and come last; `geolabel prelabel {project}`.")
    if result.reason:
        typer.echo(result.reason)
    for place, task_id in enumerate(result.order[:show], start=1):
        typer.echo(f"{place:>4}. task {task_id}: {result.reasons.get(task_id, '')}")
