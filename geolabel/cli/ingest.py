"""``geolabel ingest``: cut rasters into chips and make tasks of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from geolabel.cli import ingest_options as shared
from geolabel.services import Services

if TYPE_CHECKING:
    from geolabel.pipeline.ingest_report import IngestOptions, IngestReport


def ingest(
    uris: Annotated[list[str], typer.Argument(help="Files, folders, patterns, STAC items, URLs (https, s3, gs, az).")],
    project: Annotated[int, typer.Option("--project", "-p", help="Project of Label Studio. 0: only register.")] = 0,
    size: Annotated[int, typer.Option("--size", help="Edge of a chip, px. 0: as in the settings.")] = 0,
    overlap: Annotated[
        float, typer.Option("--overlap", help="Share of the edge that neighbours have in common.")
    ] = -1.0,
    edge: Annotated[str, typer.Option("--edge", help="At the scene's edge: shift, pad or drop.")] = "shift",
    ground: Annotated[float, typer.Option("--ground", help="Ground size of a chip, m; pixels are resampled.")] = 0.0,
    zoom: Annotated[int, typer.Option("--zoom", help="Cut along the XYZ tiles of this zoom.")] = -1,
    aoi: Annotated[str, typer.Option("--aoi", help="Vector file: only chips that meet it.")] = "",
    around: Annotated[str, typer.Option("--around", help="Vector file: one chip around each feature.")] = "",
    sample: Annotated[int, typer.Option("--sample", help="Only so many chips, spread over the scene.")] = 0,
    render: Annotated[str, typer.Option("--render", help="Named render, bands (4,3,2) or an expression.")] = "",
    qa: Annotated[str, typer.Option("--qa", help="Kind of QA band: qa_pixel, scl, msk_classi, mask.")] = "",
    qa_source: Annotated[str, typer.Option("--qa-source", help="Band (b5) or address of the QA raster.")] = "",
    mask_predictor: Annotated[str, typer.Option("--mask-predictor", help="module:function, or brightness.")] = "",
    min_valid: Annotated[float, typer.Option("--min-valid", help="Skip chips with less data, 0 to 1.")] = 0.0,
    max_cloud: Annotated[float, typer.Option("--max-cloud", help="Skip chips with more cloud, 0 to 1.")] = 1.0,
    max_shadow: Annotated[float, typer.Option("--max-shadow", help="Skip chips with more cloud shadow.")] = 1.0,
    read: Annotated[str, typer.Option("--read", help="Read every chip to find bad ones: auto, all, none.")] = "auto",
    cog: Annotated[bool, typer.Option("--cog", help="Convert to cloud-optimised GeoTIFF in the store first.")] = False,
    compression: Annotated[str, typer.Option("--compression", help="DEFLATE, ZSTD, WEBP or LERC.")] = "DEFLATE",
    metadata: Annotated[str, typer.Option("--metadata", help="MTL.txt or MTD_MSI….xml for reflectance.")] = "",
    mosaic: Annotated[bool, typer.Option("--mosaic", help="Take all files together as one scene.")] = False,
    stack: Annotated[bool, typer.Option("--stack", help="Take the files as dates of one place.")] = False,
    prerender: Annotated[bool, typer.Option("--prerender", help="Write the pictures into the store.")] = False,
    context: Annotated[bool, typer.Option("--context", help="Give tasks a picture of their surroundings.")] = False,
    assets: shared.Assets = None,
    assign_crs: shared.AssignCrs = "",
    ignore_nodata: shared.IgnoreNodata = False,
    warp: shared.Warp = False,
    target_crs: shared.TargetCrs = "",
    resolution: shared.Resolution = 0.0,
    requester_pays: shared.RequesterPays = False,
    band_names: shared.BandNames = "",
    acquired: Annotated[str, typer.Option("--acquired", help="Date of acquisition, ISO 8601 UTC.")] = "",
    region: Annotated[str, typer.Option("--region", help="Name of the area, for splits and reports.")] = "",
    queue: Annotated[bool, typer.Option("--queue", help="Let a worker do it and return at once.")] = False,
    as_json: shared.AsJson = False,
) -> None:
    """Cut rasters into chips and make tasks of them. Doing it again adds nothing twice; a stopped ingest goes on."""
    from geolabel.pipeline.ingest_report import IngestOptions

    services = Services()
    given = dict(locals())
    asked = IngestOptions(
        open=_opening(given), plan=_plan(services, given), cog_compression=compression, assets=tuple(assets or ()),
        **{name: given[name] for name in _PLAIN},
    )  # fmt: skip
    if queue:
        payload = {"uris": [_absolute(uri) for uri in uris], "project": project or None, "options": asked.to_json()}
        job = services.jobs.enqueue("workers.jobs_ingest.ingest", payload, queue="cpu")
        typer.echo(f"Queued as {job.id}; `geolabel jobs {job.id}` shows how far it is.")
        return
    report = _run(services, uris, project or None, asked, quiet=as_json)
    _tell(report, as_json)


_PLAIN = (
    "aoi", "around", "render", "qa", "qa_source", "mask_predictor", "min_valid", "max_cloud", "max_shadow", "read",
    "cog", "metadata", "mosaic", "stack", "prerender", "context",
)  # fmt: skip


def _opening(given: dict[str, Any]) -> Any:
    from geolabel.raster.scene import OpenOptions

    return OpenOptions(
        assign_crs=given["assign_crs"], ignore_nodata=given["ignore_nodata"], warp=given["warp"],
        target_crs=given["target_crs"], resolution=given["resolution"] or None, requester_pays=given["requester_pays"],
        band_names=shared.names(given["band_names"]), acquired=given["acquired"] or None, region=given["region"],
    )  # fmt: skip


def _plan(services: Services, given: dict[str, Any]) -> Any:
    from geolabel.core.plans import PlanSpec

    settings = services.settings.chips
    return PlanSpec(
        size_px=given["size"] or settings.size_px,
        overlap=given["overlap"] if given["overlap"] >= 0 else settings.overlap,
        edge=given["edge"], ground_m=given["ground"] or None, zoom=given["zoom"] if given["zoom"] >= 0 else None,
        sample=given["sample"],
    )  # fmt: skip


def _absolute(uri: str) -> str:
    from geolabel.raster.location import normalise_uri

    return normalise_uri(uri)


def _run(
    services: Services, uris: list[str], project: int | None, asked: IngestOptions, *, quiet: bool
) -> IngestReport:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from geolabel.pipeline.ingest import ingest as run

    layout = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*layout, console=Console(stderr=True), transient=True, disable=quiet) as bars:
        bar = bars.add_task("ingesting", total=None)

        def report(done: int, total: int | None, message: str) -> None:
            bars.update(bar, completed=done, total=total, description=message)

        return run(services, uris, project, options=asked, report=report)


def _tell(report: IngestReport, as_json: bool) -> None:
    import json

    if as_json:
        typer.echo(json.dumps(report.to_json(), indent=1))
        return
    for scene in report.scenes:
        if scene.error:
            typer.echo(f"{scene.name}: refused. {scene.error}")
            continue
        skipped = "".join(f", {count} {reason}" for reason, count in scene.skipped.items())
        typer.echo(
            f"{scene.name} ({scene.scene_id}): {scene.planned} chips planned{skipped}, "
            f"{len(scene.failed)} can't be read; {scene.created} tasks made, "
            f"{scene.existing} were there, {scene.refreshed} got a new address."
        )
        for item in scene.issues:
            if item["severity"] != "info":
                typer.echo(f"  {item['severity']} {item['code']}: {item['message']}")
        for failure in scene.failed[:5]:
            typer.echo(f"  chip {failure['chip_id']} failed after {failure['tries']} tries: {failure['error']}")
