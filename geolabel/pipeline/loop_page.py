"""The loop report as one HTML page that needs nothing else: plots are inside."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from datetime import datetime
from importlib.resources import files
from typing import Any

from geolabel.pipeline.agreement import KINDS


def render_page(report: Mapping[str, Any]) -> str:
    """Return the page of a report made by `report_project`."""
    from jinja2 import Environment, select_autoescape
    from markupsafe import Markup

    plots = {name: Markup(f'<img alt="{name}" src="data:image/png;base64,{data}">') if data else "" for name, data in
             _plots(report).items()}  # fmt: skip
    last = next((m for m in reversed(report["models"]) if m.get("holdout")), None)
    regions = (last or {}).get("holdout", {}).get("region_classes", {}) if last else {}
    means = (last or {}).get("holdout", {}).get("regions", {}) if last else {}
    classes = sorted({name for row in regions.values() for name in row})
    page = files("geolabel.pipeline").joinpath("loop_page.html").read_text("utf-8")
    template = Environment(autoescape=select_autoescape(default=True, default_for_string=True)).from_string(page)
    return template.render(r=report, plot=plots, regions=regions, classes=classes, means=means)


def _plots(report: Mapping[str, Any]) -> dict[str, str]:
    draw = {
        "labels": _draw_labels,
        "holdout": _draw_holdout,
        "calibration": _draw_calibration,
        "queue": _draw_queue,
        "agreement": _draw_agreement,
        "saved": _draw_saved,
    }
    out = {}
    for name, function in draw.items():
        figure, axes = _figure()
        out[name] = _png(figure) if function(axes, report) else ""
    return out


def _figure() -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 3.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.grid(alpha=0.25)
    return figure, axes


def _png(figure: Any) -> str:
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return base64.b64encode(out.getvalue()).decode()


def _draw_labels(axes: Any, report: Mapping[str, Any]) -> bool:
    times = [datetime.fromisoformat(t.replace("Z", "+00:00")) for t in report["labels"]["times"] if t]
    if not times:
        return False
    axes.step(times, range(1, len(times) + 1), where="post")
    for item in report["trainings"]:
        if item.get("at"):
            axes.axvline(
                datetime.fromisoformat(item["at"]), ls=":", lw=1, color="#2a7" if item["decision"] == "kept" else "#c44"
            )
    axes.set(ylabel="annotations", title="dotted: a model was kept (green) or rejected (red)")
    axes.figure.autofmt_xdate()
    return True


def _draw_holdout(axes: Any, report: Mapping[str, Any]) -> bool:
    judged = [m for m in report["models"] if m.get("holdout") and m["holdout"].get("classes")]
    if not judged:
        return False
    names = sorted({name for m in judged for name in m["holdout"]["classes"]})
    at = range(len(judged))
    for name in names:
        axes.plot(at, [m["holdout"]["classes"].get(name) for m in judged], marker="o", lw=1, label=name)
    axes.plot(at, [m["holdout"]["mean_iou"] for m in judged], marker="s", color="black", label="mean")
    axes.set(ylim=(0, 1), ylabel="IoU on the hold-out", xticks=list(at))
    axes.set_xticklabels([m["version"][-6:] for m in judged], fontsize=7)
    axes.legend(fontsize=8)
    return True


def _draw_calibration(axes: Any, report: Mapping[str, Any]) -> bool:
    classes = report["calibration"].get("classes") or []
    drawn = False
    for item in classes:
        points = [(b["mean_score"], b["kept_share"]) for b in item["before"]]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", lw=1, label=f"{item['label']} ({item['count']})")
            drawn = True
    axes.plot([0, 1], [0, 1], color="grey", lw=0.8, ls=":")
    axes.set(xlabel="score", ylabel="share kept by reviewers", xlim=(0, 1), ylim=(0, 1))
    if drawn:
        axes.legend(fontsize=8)
    return drawn


def _draw_queue(axes: Any, report: Mapping[str, Any]) -> bool:
    reasons = report["queue"].get("reasons") or {}
    if not reasons:
        return False
    items = sorted(reasons.items(), key=lambda pair: pair[1])
    axes.barh([name for name, _ in items], [count for _, count in items], color="#4477aa")
    axes.set(xlabel="open tasks, by why they are where they are")
    return True


def _draw_agreement(axes: Any, report: Mapping[str, Any]) -> bool:
    classes = report["agreement"]["classes"]
    if not classes:
        return False
    names = list(classes)
    left = [0] * len(names)
    for kind, colour in zip(KINDS, ("#2a9d5c", "#e9b949", "#c8553d", "#8a94a6"), strict=True):
        values = [classes[name][kind] for name in names]
        axes.barh(names, values, left=left, label=kind, color=colour)
        left = [a + b for a, b in zip(left, values, strict=True)]
    axes.set(xlabel="regions")
    axes.legend(fontsize=8, ncols=4)
    return True


def _draw_saved(axes: Any, report: Mapping[str, Any]) -> bool:
    curves = report["saved"].get("curves") or {}
    for name, curve in curves.items():
        line = axes.plot(curve["labels"], curve["mean"], label=name, color="black" if name == "random" else None)
        axes.fill_between(curve["labels"], curve["low"], curve["high"], alpha=0.15, color=line[0].get_color())
    if curves:
        axes.axhline(report["saved"]["target"], color="grey", lw=0.8, ls=":")
        axes.set(xlabel="labelled chips", ylabel="share of the all-labels score")
        axes.legend(fontsize=8)
    return bool(curves)
