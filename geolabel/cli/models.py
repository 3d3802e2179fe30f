"""``geolabel models``: which models there are, bring one, check them."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from geolabel.errors import ModelError
from geolabel.services import Services

models = typer.Typer(no_args_is_help=True, help="List, fetch and check model weights.")


@models.command("ls")
def ls() -> None:
    """List the models of the catalog and of the store, and the predictors that can be chained."""
    from geolabel.predict import catalog
    from geolabel.predict.registry import EXTRACTORS, PREDICTORS

    services, console = Services(), Console()
    there = set(catalog.present(services.store))
    table = Table("model", "kind", "here", "licence", "from", "note")
    for item in catalog.CATALOG:
        source = item.url or f"hub:{item.hub_id}"
        table.add_row(item.name, item.kind, "yes" if item.name in there else "no", item.licence, source, item.note)
    for name in sorted(there - {item.name for item in catalog.CATALOG}):
        noted = catalog.record(services.store, name) or {}
        table.add_row(name, "own", "yes", "", str(noted.get("source", "")), "")
    console.print(table)
    console.print(f"Predictors: {', '.join(sorted(PREDICTORS.names()))}.")
    console.print(f"Features: {', '.join(sorted(EXTRACTORS.names()))}.")


@models.command("pull")
def pull(
    name: Annotated[str, typer.Argument(help="Name in the catalog, or a new name with --from.")],
    source: Annotated[str, typer.Option("--from", help="Address, local file or folder, or hub:owner/name.")] = "",
    sha256: Annotated[str, typer.Option(help="Expected sha256 of a single file.")] = "",
) -> None:
    """Bring a model into the store; a download that was cut short goes on where it stopped."""
    from geolabel.pipeline.embed import cache_dir
    from geolabel.predict import catalog

    services, console = Services(), Console()
    noted = catalog.pull(services.store, name, cache_dir(services), source=source, sha256=sha256)
    size = sum(int(item["bytes"]) for item in noted["files"].values())
    console.print(f"{name}: {len(noted['files'])} files, {size / 1e6:.1f} MB, in the store {services.store.uri}.")


@models.command("check")
def check(name: Annotated[str, typer.Argument(help="One model. Default: all in the store.")] = "") -> None:
    """Compare the weights in the store with their checksums; exit 5 when one is damaged."""
    from geolabel.predict import catalog

    services, console = Services(), Console()
    found = [catalog.check(services.store, item) for item in ([name] if name else catalog.present(services.store))]
    for item in found:
        console.print(f"{item.name}: {item.state} – {item.detail}")
    if not found:
        console.print("The store holds no models; `geolabel models pull sam2.1-tiny` brings one.")
    if any(item.state in ("damaged", "other") for item in found) or (name and found[0].state == "absent"):
        raise ModelError("not all models are right; pull the ones named above again")
