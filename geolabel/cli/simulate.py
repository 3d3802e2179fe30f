"""``geolabel simulate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def simulate(
    project: Annotated[int, typer.Option("--project", help="Use this project's annotated chips.")] = 0,
    raster: Annotated[Path | None, typer.Option("--raster", help="Use this raster, with --labels.")] = None,
    labels: Annotated[Path | None, typer.Option("--labels", help="Polygons of the raster.")] = None,
    field: Annotated[str, typer.Option("--field", help="Column of the polygons that names their class.")] = "",
    chip_px: Annotated[int, typer.Option("--chip", help="Edge of the chips cut from the raster, px.")] = 64,
    table: Annotated[Path | None, typer.Option("--table", help="Use a table.npz of an earlier run.")] = None,
    samplers: Annotated[str, typer.Option("--samplers", help="Names with commas. Default: all.")] = "",
    seeds: Annotated[int, typer.Option("--seeds", help="Runs of every sampler.")] = 10,
    budget: Annotated[int, typer.Option("--budget", help="Most chips that are labelled in a run.")] = 400,
    block: Annotated[float, typer.Option("--block", help="Width of the blocks that judge, in chips.")] = 5.0,
    processes: Annotated[int, typer.Option("--processes", help="Runs at once. 0: one per core.")] = 0,
    out: Annotated[Path, typer.Option("--out", help="Folder of the results.")] = Path("simulation"),
) -> None:
    """Replay labelled data against samplers: tells whether a sampler saves labels on your data.

    Stop it at any time; the same command goes on where it was.
    """
    from geolabel.errors import InputError
    from geolabel.pipeline.labelled_tables import table_from_project, table_from_raster
    from geolabel.pipeline.simulate import read_table
    from geolabel.pipeline.simulate import simulate as run
    from geolabel.sample.registry import SAMPLERS
    from geolabel.sample.replay import ReplayOptions
    from geolabel.services import Services

    if table is not None:
        data = read_table(table)
    elif raster is not None and labels is not None:
        data = table_from_raster(raster, labels, field=field, size_px=chip_px)
    elif project:
        data = table_from_project(Services(), str(project))
    else:
        raise InputError("there is nothing to replay; give --project, --raster with --labels, or --table")
    names = [name.strip() for name in samplers.split(",") if name.strip()] or SAMPLERS.names()
    result = run(
        data, out, names, seeds=seeds, options=ReplayOptions(budget=budget, block_chips=block), processes=processes,
        report=lambda done, total, what: typer.echo(f"{done}/{total} {what}", err=True),
    )  # fmt: skip
    typer.echo(
        f"{data.name}: {len(data)} chips; labels to 95 % of the all-labels score, 95 % interval over {seeds} seeds"
    )
    for name, item in sorted(result.summary.items(), key=lambda pair: (pair[1]["labels_to_target"] or [1e9])[0]):
        mean, low, high = item["labels_to_target"] or (float("nan"),) * 3
        ratio = item["ratio_to_random"]
        missed = f"; {item['not_reached']} runs never reached it" if item["not_reached"] else ""
        against = f"{ratio[0]:.2f} of random's ({ratio[1]:.2f} to {ratio[2]:.2f})" if ratio else ""
        typer.echo(f"  {name:<17}{mean:7.1f} ({low:.0f} to {high:.0f})  {against}{missed}")
    for what, sentence in result.failed.items():
        typer.echo(f"  failed: {what}: {sentence}")
    typer.echo(f"{result.json_path}\n{result.png_path}")
