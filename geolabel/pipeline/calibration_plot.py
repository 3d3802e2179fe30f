"""The reliability curves of a project as a picture."""

from __future__ import annotations

from pathlib import Path

from geolabel.errors import InputError
from geolabel.pipeline.calibrate import CalibrationReport

_KINDS = (".png", ".svg", ".pdf")


def plot_reliability(report: CalibrationReport, path: Path) -> None:
    """Draw one panel per predictor and class: score against share kept, before and after, with counts.

    Raises:
        InputError: the file's ending is no picture that can be written.
    """
    if path.suffix.lower() not in _KINDS:
        raise InputError(f"{path} can't be written as a picture; use one of {', '.join(_KINDS)}")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = max(1, len(report.classes))
    columns = min(3, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(4.2 * columns, 4.0 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for number, item in enumerate(report.classes, start=1):
        axes = figure.add_subplot(rows, columns, number)
        axes.plot([0, 1], [0, 1], color="0.7", linewidth=1, linestyle="--")
        for curve, name, colour in ((item.before, "raw", "#c44e52"), (item.after, "calibrated", "#4c72b0")):
            if curve:
                axes.plot([b.mean_score for b in curve], [b.kept_share for b in curve], "o-", color=colour, label=name)
                sizes = [8 + 120 * b.count / max(1, item.count) for b in curve]
                axes.scatter([b.mean_score for b in curve], [b.kept_share for b in curve], s=sizes, color=colour)
        if item.threshold is not None:
            axes.axvline(item.threshold, color="0.3", linewidth=1, linestyle=":")
            axes.text(item.threshold, 0.02, f" {report.precision:g} kept from {item.threshold:.2f}", fontsize=8)
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="score", ylabel="share that reviewers kept")
        axes.set_title(f"{item.predictor} / {item.label} ({item.count})", fontsize=10)
        axes.legend(loc="upper left", fontsize=8)
    figure.savefig(path, dpi=130)
