"""``geolabel scenes``: list and show registered scenes."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from geolabel.cli import ingest_options as shared
from geolabel.services import Services

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)


@app.command("ls")
def ls(as_json: shared.AsJson = False) -> None:
    """List registered scenes."""
    from geolabel.core.records import scene_to_json
    from geolabel.pipeline.scenes import list_scenes

    scenes = list(list_scenes(Services()))
    if as_json:
        typer.echo(json.dumps([scene_to_json(scene) for scene in scenes], indent=1))
        return
    for scene in scenes:
        size = f"{scene.georef.width} × {scene.georef.height}"
        when = scene.acquired or "no date"
        typer.echo(f"{scene.id}  {scene.name}  {size} px  {scene.georef.crs[:40]}  {when}  {scene.uri}")
    typer.echo(f"{len(scenes)} scenes")


@app.command("show")
def show(
    scene: Annotated[str, typer.Argument(help="Id, its start, or the name.")],
    stac: Annotated[bool, typer.Option("--stac", help="Print the STAC Item.")] = False,
) -> None:
    """Print the record of a scene as JSON, with the signed address of its tiles."""
    from geolabel.core.records import scene_to_json
    from geolabel.pipeline.chip_urls import UrlSigner
    from geolabel.pipeline.scenes import find_scene, stac_item

    services = Services()
    found = find_scene(services, scene)
    if stac:
        typer.echo(json.dumps(stac_item(found), indent=1))
        return
    typer.echo(json.dumps({**scene_to_json(found), "tiles": UrlSigner(services.settings).tiles(found.id)}, indent=1))
