"""``geolabel status``."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from geolabel.local.status import Status, look
from geolabel.settings import Settings, load_settings


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what runs, what the queues hold, and how far each project is."""
    settings = load_settings()
    seen = look(settings)
    if as_json:
        typer.echo(json.dumps(seen.to_json(), indent=1))
        return
    console = Console()
    for table in _tables(settings, seen):
        console.print(table)
    if seen.queues is not None:
        from geolabel.pipeline.progress import queue_report, report_lines
        from geolabel.services import Services

        for line in report_lines(queue_report(Services(settings))):
            console.print(line, highlight=False)


def _tables(settings: Settings, seen: Status) -> list[Table]:
    tables = []
    if seen.supervisor is None:
        tables.append(_table("Processes", ["`geolabel up` does not run in this folder"], []))
    else:
        columns = ["process", "state", "pid", "since", "restarts", "log"]
        tables.append(_table("Processes", columns, [process_row(row) for row in seen.supervisor["children"]]))
    answers = "answers" if seen.label_studio else "does not answer"
    tables.append(_table("", ["Label Studio", settings.labelstudio.url, answers], []))
    if seen.queues is None:
        tables.append(_table("Queues", ["Redis does not answer"], []))
    else:
        rows = [[name, *map(str, counts.values())] for name, counts in sorted(seen.queues.items())]
        tables.append(_table("Queues", ["queue", "waiting", "running", "failed"], rows))
    columns = ["id", "project", "tasks", "finished", "predictions"]
    tables.append(_table("Projects", columns, [[str(value) for value in row.values()] for row in seen.projects]))
    if seen.ingests:
        heads = ["scenes", "project", "state", "chips", "tasks", "skipped", "failed", "updated"]
        tables.append(_table("Ingests", heads,
                             [ingest_row(record) for record in seen.ingests]))  # fmt: skip
        failures = [f for record in seen.ingests for scene in record["scenes"] for f in scene["failed"]][:10]
        if failures:
            rows = [[f["chip_id"], str(f["tries"]), str(f["error"])[:160]] for f in failures]
            tables.append(_table("Chips that can't be read", ["chip", "tries", "why"], rows))
    return tables


def ingest_row(record: dict[str, Any]) -> list[str]:
    """Turn the record of an ingest into cells."""
    names = ", ".join(scene["name"] for scene in record["scenes"])[:60]
    tasks = record["created"] + record["existing"]
    values = [record["project"], record["state"], record["planned"], tasks, record["skipped"], record["failed"]]
    return [names, *map(str, values), record["updated"]]


def process_row(row: dict[str, Any]) -> list[str]:
    """Turn one child of the state file into cells."""
    since = time.strftime("%H:%M:%S", time.localtime(row["started"]))
    return [row["name"], row["state"], str(row["pid"] or ""), since, str(row["restarts"]), row["log"]]


def _table(title: str, columns: list[str], rows: list[list[str]]) -> Table:
    table = Table(title=title or None, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, header_style="bold")
    for row in rows:
        table.add_row(*row)
    return table
