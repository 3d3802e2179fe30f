"""``geolabel chips``: list and render chips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from geolabel.cli import ingest_options as shared
from geolabel.services import Services

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)


@app.command("ls")
def ls(
    scene: Annotated[str, typer.Argument(help="Scene: id, its start, or name. Default: all plans.")] = "",
    limit: Annotated[int, typer.Option("--limit", help="Chips to print of each plan; 0: only the plans.")] = 0,
    as_json: shared.AsJson = False,
) -> None:
    """List plans, and chips of a scene with --limit."""
    from itertools import islice

    from geolabel.pipeline.chip_index import index_key, list_indexes, read_plan, read_rows
    from geolabel.pipeline.scenes import find_scene

    services = Services()
    wanted = find_scene(services, scene).id if scene else ""
    out = []
    for scene_id, plan_id in list_indexes(services, wanted):
        record = read_plan(services, scene_id, plan_id)
        rows = list(islice(read_rows(services, scene_id, plan_id), limit))
        out.append({**record, "index": f"{services.store.uri}/{index_key(scene_id, plan_id)}", "chips": rows})
    if as_json:
        typer.echo(json.dumps(out, indent=1))
        return
    for record in out:
        left = "".join(f", {count} {reason}" for reason, count in record["left_out"].items())
        typer.echo(f"{record['scene']}  plan {record['plan']}  {record['rows']} chips{left}  {record['index']}")
        for row in record["chips"]:
            valid = "" if row["valid_fraction"] is None else f"  {row['valid_fraction']:.0%} data"
            typer.echo(f"  {row['chip_id']}  {row['col']},{row['row']}  {row['state']} {row['reason']}{valid}")


@app.command("render")
def render(
    scene: Annotated[str, typer.Argument(help="Scene: id, its start, or name.")],
    chip: Annotated[str, typer.Argument(help="Id of the chip.")],
    out: Annotated[Path, typer.Argument(help="File to write: .jpg, .png or .webp.")],
) -> None:
    """Write the picture of a chip."""
    from geolabel.core.scene import RenderSpec
    from geolabel.errors import NotFoundError
    from geolabel.pipeline.chip_index import chip_of_row, list_indexes, read_plan, read_rows
    from geolabel.pipeline.scenes import find_scene
    from geolabel.raster.render import render_bytes

    services = Services()
    found = find_scene(services, scene)
    for scene_id, plan_id in list_indexes(services, found.id):
        spec = RenderSpec.from_json(read_plan(services, scene_id, plan_id)["render"])
        for row in read_rows(services, scene_id, plan_id):
            if row["chip_id"] == chip:
                chosen = chip_of_row(row, found, spec)
                out.write_bytes(render_bytes(found, chosen, out.suffix.removeprefix(".").lower()))
                typer.echo(f"{out} written")
                return
    raise NotFoundError(
        f"no plan of {found.name} has a chip {chip!r}; `geolabel chips ls {scene} --limit 50` lists them"
    )


@app.command("prerender")
def prerender(
    scene: Annotated[str, typer.Argument(help="Scene: id, its start, or name.")],
    processes: Annotated[int, typer.Option("--processes", help="Side by side.")] = 2,
) -> None:
    """Write the pictures of all plans of a scene into the store."""
    from geolabel.pipeline.chip_index import list_indexes
    from geolabel.pipeline.prerender import prerender as run
    from geolabel.pipeline.scenes import find_scene

    services = Services()
    found = find_scene(services, scene)

    def report(done: int, total: int | None, message: str) -> None:
        typer.echo(f"{message}: {done} of {total}", err=True)

    for scene_id, plan_id in list_indexes(services, found.id):
        counts = run(services, scene_id, plan_id, report, processes=processes)
        typer.echo(f"plan {plan_id}: {counts['written']} written, {counts['existing']} were there, "
                   f"{len(counts['failed'])} can't be read")  # fmt: skip
