"""`geolabel import`: labels of other programs back to the map, or into Label Studio as predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from geolabel.errors import InputError


def import_(
    path: Annotated[Path, typer.Argument(help="File, or folder of a folder format.")],
    form: Annotated[str, typer.Option("--format", "-f", help="Its format; left out: told by the suffix.")] = "",
    project: Annotated[int | None, typer.Option(help="Bring it into this project as predictions.")] = None,
    model_version: Annotated[str, typer.Option(help="Name of the predictions in Label Studio.")] = "imported",
    to: Annotated[str, typer.Option(help="Map format to write: geojson, gpkg, geoparquet, …")] = "geojson",
    out: Annotated[Path | None, typer.Option(help="New folder for the map.")] = None,
    crs: Annotated[str, typer.Option(help="CRS of the map: scene or a code.")] = "scene",
) -> None:
    """Map labels or predictions in any of our formats back to the Earth, or load them into a project."""
    from geolabel.pipeline.import_labels import to_map, to_project

    if (project is None) == (out is None):
        raise InputError("give --project to load predictions, or --out to write a map; one of the two")
    if project is not None:
        from geolabel.services import Services

        found = to_project(Services(), project, path, form, model_version=model_version)
        typer.echo(json.dumps(found.to_json(), indent=1, ensure_ascii=False))
    elif out is not None:
        written = to_map(path, form, to, out, crs=crs)
        typer.echo(f"{sum(written.records.values())} records: {', '.join(str(out / f) for f in written.files)}")
        for loss in written.losses:
            typer.echo(loss.message)
