"""Options that `ingest`, `inspect` and `chips plan` share, as typer annotations, and what becomes of them."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

AssignCrs: TypeAlias = Annotated[str, typer.Option("--assign-crs", help="CRS of a raster that states none: EPSG:….")]
IgnoreNodata: TypeAlias = Annotated[bool, typer.Option("--ignore-nodata", help="Take every pixel as data.")]
Warp: TypeAlias = Annotated[bool, typer.Option("--warp", help="Place a raster by its control points or RPCs.")]
TargetCrs: TypeAlias = Annotated[str, typer.Option("--target-crs", help="Reproject virtually to this CRS.")]
Resolution: TypeAlias = Annotated[float, typer.Option("--resolution", help="Pixel size in units of the target CRS.")]
RequesterPays: TypeAlias = Annotated[bool, typer.Option("--requester-pays", help="Pay for reading from the bucket.")]
BandNames: TypeAlias = Annotated[str, typer.Option("--band-names", help="Names of the bands in order: red,green,…")]
Assets: TypeAlias = Annotated[
    list[str] | None, typer.Option("--assets", help="STAC assets by name, role or band. Repeatable.")
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def names(text: str) -> tuple[str, ...]:
    """Split "a,b" into names."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
