"""``geolabel up``."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from geolabel.cli.status import process_row
from geolabel.local.first_project import Opened, check_scenes, open_project, template_config
from geolabel.local.installation import prepare
from geolabel.local.status import STATE_FILE
from geolabel.local.supervisor import Supervisor, read_state
from geolabel.local.up import check_before, start_all
from geolabel.services import Services
from geolabel.settings import Settings

COLOURS = {"redis": "red", "label-studio": "magenta", "backend": "cyan"}


def up(
    scene: Annotated[
        list[str] | None,
        typer.Option(
            "--scene", help="Your raster: GeoTIFF, COG …, a path or an http(s):// or s3:// address. Repeatable."
        ),
    ] = None,
    template: Annotated[
        str, typer.Option("--template", help="Label template: a folder of ls_configs.")
    ] = "buildings-roads-water-trees",
    title: Annotated[str, typer.Option("--title", help="Title of the project. Default: from the scene's name.")] = "",
    once: Annotated[bool, typer.Option("--once", help="Stop again when the project is ready (for scripts).")] = False,
) -> None:
    """Start Redis, Label Studio, the ML backend and a worker; open a project; stop everything at Ctrl-C.

    Without --scene a made town is used. What runs, its data and its secrets are kept in GEOLABEL_STATE_DIR
    (.geolabel), so that the next start takes seconds. REDIS_URL, or LABEL_STUDIO_URL with LABEL_STUDIO_API_KEY, use
    servers of yours instead.
    """
    console = Console(highlight=False)

    def say(name: str, line: str) -> None:
        colour = COLOURS.get(name, "green" if name else "bold")
        console.print(f"[{colour}]{name or 'geolabel':>12}[/] │ {escape(line)}", soft_wrap=True)

    installation = prepare()
    check_before(installation)
    settings = installation.settings
    template_config(template)
    check_scenes(Services(settings), scene or [])
    supervisor = Supervisor(settings.state_dir / STATE_FILE, say)
    supervisor.facts = {"url": settings.labelstudio.url, "backend": settings.backend_url}
    supervisor.on_signals()
    try:
        supervisor.write_state()
        say("", "starting Redis, Label Studio, the ML backend and a worker")
        start_all(supervisor, installation)
        opened = open_project(Services(settings), scenes=scene or [], template=template, title=title, say=say)
        supervisor.facts["project"] = opened.url
        supervisor.write_state()
        console.print(_processes(settings))
        _welcome(console, settings, opened, own=installation.own_label_studio)
        if not once:
            supervisor.run()
    except (KeyboardInterrupt, SystemExit):
        say("", "stopping")
    finally:
        supervisor.stop()


def _processes(settings: Settings) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("process", "state", "pid", "since", "restarts", "log"):
        table.add_column(column, header_style="bold")
    state = read_state(settings.state_dir / STATE_FILE) or {"children": []}
    for row in state["children"]:
        table.add_row(*process_row(row))
    return table


def _welcome(console: Console, settings: Settings, opened: Opened, *, own: bool) -> None:
    console.print("\n[bold green]GeoLabel is ready.[/]\n")
    console.print(f"  Open    {opened.url}", soft_wrap=True)
    if own:
        console.print(f"  Login   {settings.local.email}")
        console.print(f"          {settings.local.password.get_secret_value()}")
    console.print(
        f"\n  Project {opened.project_id}, {escape(opened.title)!r}: {opened.tasks} tasks, "
        f"{opened.annotated} of them labelled.\n"
        "  1. Tick some tasks, then Tasks → Retrieve Predictions.\n"
        "  2. Open a task, correct what is wrong, press Submit. Predictions follow what you label.\n"
        f"  3. In another window: geolabel export {opened.project_id}\n"
        "\n  Ctrl-C stops everything; your work stays, and the next start takes seconds.\n",
        soft_wrap=True,
    )
