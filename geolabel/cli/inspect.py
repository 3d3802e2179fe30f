"""``geolabel inspect``: look at a raster and report problems before any work starts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geolabel.cli import ingest_options as shared
from geolabel.services import Services

if TYPE_CHECKING:
    from geolabel.raster.scene import Opened


def inspect(
    uri: Annotated[str, typer.Argument(help="File, folder, pattern, STAC item, https://, s3://, gs:// or az://.")],
    assets: shared.Assets = None,
    assign_crs: shared.AssignCrs = "",
    ignore_nodata: shared.IgnoreNodata = False,
    warp: shared.Warp = False,
    target_crs: shared.TargetCrs = "",
    resolution: shared.Resolution = 0.0,
    requester_pays: shared.RequesterPays = False,
    band_names: shared.BandNames = "",
    as_json: shared.AsJson = False,
) -> None:
    """Print what a raster is and what is wrong with it. Exit status 2 when it can't be ingested as it is."""
    from geolabel.pipeline.ingest_report import IngestOptions
    from geolabel.pipeline.sources import open_sources
    from geolabel.raster.scene import OpenOptions

    opening = OpenOptions(
        assign_crs=assign_crs, ignore_nodata=ignore_nodata, warp=warp, target_crs=target_crs,
        resolution=resolution or None, requester_pays=requester_pays, band_names=shared.names(band_names),
    )  # fmt: skip
    asked = IngestOptions(open=opening, assets=tuple(assets or ()))
    seen = [(source.name, source.found) for source in open_sources(Services(), [uri], asked)]
    if as_json:
        typer.echo(json.dumps([_json(name, found) for name, found in seen], indent=1))
    else:
        for name, found in seen:
            _print(name, found)
    if any(found.errors for _, found in seen):
        raise typer.Exit(2)


def _json(name: str, found: Opened) -> dict[str, Any]:
    from geolabel.core.records import scene_to_json

    return {
        "name": name,
        "usable": not found.errors,
        "header": dict(found.header),
        "issues": [issue.to_json() for issue in found.issues],
        "scene": None if found.scene is None else scene_to_json(found.scene),
    }


def _print(name: str, found: Opened) -> None:
    typer.echo(name)
    header = found.header
    if header:
        size = " × ".join(str(v) for v in header.get("size", []))
        typer.echo(f"  {size} px, {header.get('dtype')}, CRS {str(header.get('crs'))[:60]}, mask: {header.get('mask')}")
    if found.scene is not None:
        scene = found.scene
        across, down = scene.georef.gsd_m()
        typer.echo(f"  scene {scene.id}, pixel {across:.4g} × {down:.4g} m")
        for band in scene.bands:
            wave = f", {band.wavelength_nm:g} nm" if band.wavelength_nm else ""
            scale = f", × {band.scale:g} + {band.offset:g}" if (band.scale, band.offset) != (1.0, 0.0) else ""
            typer.echo(f"  band {band.index} {band.name}{wave}{scale}")
        if scene.render is not None:
            typer.echo(
                f"  shown as {scene.render.name}, bands {list(scene.render.bands)}, {list(scene.render.rescale)}"
            )
        log = scene.crs_log
        accuracy = "unknown" if log.get("accuracy_m") is None else f"{log['accuracy_m']:g} m"
        typer.echo(
            f"  to WGS 84 by {log.get('operation')}; accuracy {accuracy} (PROJ {log['proj']}, EPSG {log['epsg']})"
        )
    for issue in found.issues:
        typer.echo(f"  {issue.severity.value} {issue.code}: {issue.message}")
        if issue.fix is not None and issue.fix.summary:
            typer.echo(f"    mend: {issue.fix.summary}")
    if not found.issues:
        typer.echo("  nothing is wrong with it")
