"""``geolabel train``."""

from __future__ import annotations

from typing import Annotated

import typer


def train(
    project: Annotated[int, typer.Argument(help="Number of the project in Label Studio.")],
    use: Annotated[str, typer.Option("--use", help="Let this older version predict again, instead of learning.")] = "",
    versions: Annotated[bool, typer.Option("--versions", help="List versions and stop.")] = False,
    refresh: Annotated[bool, typer.Option("--refresh/--no-refresh", help="Predict and rank open tasks after.")] = True,
) -> None:
    """Learn from a project's annotations; the result predicts only if it is not worse than what predicts now."""
    from geolabel.pipeline.loop_state import LoopState
    from geolabel.pipeline.models import active_version, list_versions
    from geolabel.pipeline.refresh import refresh_project
    from geolabel.pipeline.train import train_project, use_version
    from geolabel.services import Services

    services, number = Services(), str(project)
    if versions:
        active = active_version(services, number)
        for item in list_versions(services, number):
            mark = "*" if active is not None and item.version == active.version else " "
            holdout = (item.metrics.get("holdout") or {}).get("mean_iou")
            judged = "not judged" if holdout is None else f"mean IoU {holdout:.3f}"
            typer.echo(f"{mark} {item.version}  {item.created}  {item.chips} chips  {judged}")
        return
    if use:
        use_version(services, number, use)
        typer.echo(f"{use} predicts from now on; open tasks are predicted and ranked anew by a worker.")
        return
    with LoopState(services, number).alone():
        result = train_project(services, number)
        typer.echo(f"{result.decision}: {result.reason}. Active: {result.active or 'none'}.")
        if refresh:
            predicted, ranked = refresh_project(services, number)
            typer.echo(f"{predicted.get('imported', 0)} tasks predicted, {len(ranked.order)} ranked.")
