"""``geolabel calibrate``: fit confidences to what reviewers kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table


def calibrate(
    project: Annotated[int, typer.Argument(help="Number of the project in Label Studio.")],
    precision: Annotated[float, typer.Option(min=0.01, max=1.0, help="Share of shown regions to be kept.")] = 0.9,
    plot: Annotated[Path | None, typer.Option(help="Write the reliability curves to this .png, .svg or .pdf.")] = None,
    out: Annotated[Path | None, typer.Option("--json", help="Write the report to this file.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report only; scores stay as they are.")] = False,
) -> None:
    """Compare predictions with annotations, fit one curve per class, and say which threshold meets a precision."""
    from geolabel.pipeline.calibrate import calibrate_project
    from geolabel.services import Services

    report = calibrate_project(Services(), str(project), precision=precision, save=not dry_run)
    console = Console()
    if not report.classes:
        console.print("No predicted region has been reviewed yet: annotate some pre-labelled tasks first.")
        return
    table = Table(title=f"Project {project}: {report.reviewed} reviewed regions")
    titles = (
        "predictor",
        "class",
        "reviewed",
        "kept",
        "fit",
        "error before",
        "error after",
        f"score for {precision:g}",
    )
    for title in titles:
        table.add_column(title, justify="left" if title in ("predictor", "class", "fit") else "right")
    for item in report.classes:
        table.add_row(
            item.predictor,
            item.label,
            str(item.count),
            str(item.kept),
            item.method if item.method != "none" else "uncalibrated",
            f"{item.error_before:.3f}",
            "–" if item.error_after is None else f"{item.error_after:.3f}",
            "not reached" if item.threshold is None else f"{item.threshold:.3f}",
        )
    console.print(table)
    for item in report.classes:
        console.print(f"\n{item.predictor} / {item.label}: score → share kept (regions)")
        for row in item.after or item.before:
            bar = "█" * round(row.kept_share * 30)
            console.print(f"  {row.mean_score:.2f} → {row.kept_share:.2f} {bar:<30} ({row.count})", highlight=False)
    if plot is not None:
        from geolabel.pipeline.calibration_plot import plot_reliability

        plot_reliability(report, plot)
        console.print(f"\nReliability curves are in {plot}.")
    if out is not None:
        out.write_text(json.dumps(report.to_json(), indent=1) + "\n", "utf-8")
