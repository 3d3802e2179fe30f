"""Replay a labelled data set against samplers: many seeds, several processes, resumable; curves as JSON and PNG."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from geolabel.core.ids import digest, digest_bytes
from geolabel.errors import GeoLabelError, InputError, StoreError
from geolabel.plugins import boundary
from geolabel.sample.curves import summarise
from geolabel.sample.registry import SAMPLERS
from geolabel.sample.replay import LabelledTable, Replay, ReplayOptions, replay

Report = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """What was run and what came of it.

    Attributes:
        replays: Finished curves.
        resumed: Of them, found in the folder from an earlier run.
        failed: Sentence by "sampler, seed".
        summary: Per sampler, see `geolabel.sample.curves.summarise`.
        json_path, png_path: Files written.
    """

    replays: tuple[Replay, ...]
    resumed: int
    failed: dict[str, str]
    summary: dict[str, Any]
    json_path: Path
    png_path: Path


def simulate(
    table: LabelledTable,
    folder: Path,
    samplers: Sequence[str],
    *,
    seeds: int = 10,
    options: ReplayOptions | None = None,
    processes: int = 0,
    report: Report | None = None,
) -> Simulation:
    """Run every sampler with every seed and write learning curves.

    Every finished curve is written to ``folder/runs`` at once, under a name computed from table, sampler, seed and
    options: a run that was stopped goes on where it was, and another table or option never takes an old curve.

    Args:
        table: Labelled chips.
        folder: Where results go.
        samplers: Names; unknown ones are refused before anything runs.
        seeds: How many; 10 or more, since with three a good sampler can look bad by chance.
        options: Of the replays.
        processes: At once; 0: one per core.
        report: Called with (done, total, sentence).

    Raises:
        InputError: nothing to run, or the table is too small for blocks.
        NotFoundError: there is no sampler of a name.
        StoreError: the folder can't be written.
    """
    if not samplers or seeds < 1:
        raise InputError(f"{len(samplers)} samplers and {seeds} seeds make no simulation; give at least one of each")
    chosen = options or ReplayOptions()
    for name in samplers:
        SAMPLERS.get(name)
    runs, table_path = _prepare(folder, table)
    identity = table_identity(table)
    wanted = [(name, seed, _run_path(runs, identity, name, seed, chosen)) for seed in range(seeds) for name in samplers]
    found = [item for path in (p for _, _, p in wanted) if (item := _read_run(path)) is not None]
    todo = [item for item in wanted if _read_run(item[2]) is None]
    failed = _run_all(todo, table_path, chosen, processes, report, len(found), len(wanted))
    replays = [item for _, _, path in wanted if (item := _read_run(path)) is not None]
    summary = summarise(replays)
    value = {
        "data": table.name,
        "chips": len(table),
        "classes": list(table.class_names),
        "table": identity,
        "seeds": seeds,
        "options": chosen.to_json(),
        "samplers": summary,
        "failed": failed,
    }
    json_path, png_path = _write_results(folder, value, chosen.target)
    return Simulation(
        replays=tuple(replays), resumed=len(found), failed=failed, summary=summary, json_path=json_path,
        png_path=png_path,
    )  # fmt: skip


def _prepare(folder: Path, table: LabelledTable) -> tuple[Path, Path]:
    runs, table_path = folder / "runs", folder / "table.npz"
    try:
        runs.mkdir(parents=True, exist_ok=True)
        write_table(table, table_path)
    except OSError as error:
        raise StoreError(f"results can't be written to {folder}: {error.strerror or error}") from error
    return runs, table_path


def _write_results(folder: Path, value: dict[str, Any], target: float) -> tuple[Path, Path]:
    json_path, png_path = folder / "curves.json", folder / "curves.png"
    try:
        json_path.write_text(json.dumps(value, indent=1) + "\n", "utf-8")
        png_path.write_bytes(plot_curves(value["samplers"], value["data"], target))
    except OSError as error:
        raise StoreError(f"results can't be written to {folder}: {error.strerror or error}") from error
    return json_path, png_path


def _run_all(
    todo: Sequence[tuple[str, int, Path]],
    table_path: Path,
    options: ReplayOptions,
    processes: int,
    report: Report | None,
    done: int,
    total: int,
) -> dict[str, str]:
    failed: dict[str, str] = {}
    count = min(processes or os.cpu_count() or 1, max(1, len(todo)))
    for name, seed, sentence in _outcomes(todo, table_path, options, count):
        done += 1
        if sentence:
            failed[f"{name}, seed {seed}"] = sentence
        if report is not None:
            report(done, total, f"{name}, seed {seed}" + (f" failed: {sentence}" if sentence else ""))
    return failed


def _outcomes(
    todo: Sequence[tuple[str, int, Path]], table_path: Path, options: ReplayOptions, count: int
) -> Iterator[tuple[str, int, str]]:
    if count <= 1:
        for name, seed, path in todo:
            yield name, seed, _run_one(str(table_path), name, seed, options.to_json(), str(path))
        return
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        waiting = {
            pool.submit(_run_one, str(table_path), name, seed, options.to_json(), str(path)): (name, seed)
            for name, seed, path in todo
        }
        for future in as_completed(waiting):
            name, seed = waiting[future]
            try:
                yield name, seed, future.result()
            except (OSError, RuntimeError) as error:  # the process was killed, for example for memory
                yield name, seed, f"{type(error).__name__}: {error}"


def _run_one(table_path: str, name: str, seed: int, options: dict[str, Any], path: str) -> str:
    """Run one replay and write it; return "" or why it failed (the body of a process)."""
    from threadpoolctl import threadpool_limits

    try:
        with threadpool_limits(1), boundary("sampler", name):
            found = replay(read_table(Path(table_path)), name, SAMPLERS.get(name), seed, ReplayOptions(**options))
    except GeoLabelError as error:
        return error.message
    part = Path(path).with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(found.to_json()), "utf-8")
    part.replace(path)
    return ""


def _run_path(folder: Path, table: str, name: str, seed: int, options: ReplayOptions) -> Path:
    return folder / f"{name}-{seed:03d}-{digest(table, name, seed, options.to_json())[:10]}.json"


def _read_run(path: Path) -> Replay | None:
    try:
        return Replay.from_json(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def table_identity(table: LabelledTable) -> str:
    """Return the identity of a table's content."""
    arrays = (table.features, table.labels, table.xy_m)
    head = json.dumps([table.spacing_m, list(table.class_names)]).encode()
    return digest_bytes([head, *(np.ascontiguousarray(array).tobytes() for array in arrays)])[:20]


def write_table(table: LabelledTable, path: Path) -> None:
    """Write a table as npz, through a file beside it, so that a reader never sees half of it."""
    out = io.BytesIO()
    head = {"name": table.name, "spacing_m": table.spacing_m, "class_names": list(table.class_names)}
    np.savez(
        out, head=np.frombuffer(json.dumps(head).encode(), dtype=np.uint8), features=table.features,
        labels=table.labels, xy_m=table.xy_m,
    )  # fmt: skip
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_bytes(out.getvalue())
    part.replace(path)


def read_table(path: Path) -> LabelledTable:
    """Read a table of labelled chips.

    Raises:
        InputError: the file is absent or holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            head = json.loads(bytes(file["head"]))
            return LabelledTable(
                name=str(head["name"]), features=file["features"], labels=file["labels"], xy_m=file["xy_m"],
                spacing_m=float(head["spacing_m"]), class_names=tuple(head["class_names"]),
            )  # fmt: skip
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise InputError(
            f"{path} is no table of labelled chips ({type(error).__name__}: {error}); `geolabel simulate` writes them "
            "as table.npz"
        ) from error


def plot_curves(summary: dict[str, Any], title: str, target: float) -> bytes:
    """Draw the learning curves of all samplers as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    strong = {"mix": "#c0392b", "random": "black"}
    for number, (name, item) in enumerate(summary.items()):
        curve, lead = item["curve"], name in strong
        style = "-" if lead or number % 2 else "--"
        axes.plot(curve["labels"], curve["mean"], label=name, lw=2.4 if lead else 1.0, ls=style, color=strong.get(name))
        # Twelve bands would hide each other; the JSON has them all.
        if lead:
            axes.fill_between(curve["labels"], curve["low"], curve["high"], alpha=0.15, color=strong[name])
    axes.axhline(target, color="grey", lw=0.8, ls=":")
    axes.set(xscale="log", xlabel="labelled chips", ylabel="mean IoU / mean IoU with all labels", title=title)
    axes.legend(fontsize=8, ncols=2)
    axes.grid(alpha=0.25)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()
