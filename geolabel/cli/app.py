"""The program ``geolabel``: verbs by name, loaded lazily, and errors as sentences."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from geolabel import __version__
from geolabel.errors import GeoLabelError

#: verb -> ("module:attribute", one line for --help). The attribute is a ``typer.Typer`` or a plain function with typer
#: annotations. A verb whose module is absent is left out, so that lines may be listed in any order of work.
VERBS: dict[str, tuple[str, str]] = {
    "up": ("geolabel.cli.up:up", "Start everything on this machine and open a project."),
    "setup": ("geolabel.cli.setup:setup", "Connect a project of a running Label Studio, or load the sample."),
    "status": ("geolabel.cli.status:status", "Show what runs and what the queues hold."),
    "doctor": (
        "geolabel.cli.doctor:doctor",
        "Check dependencies, ports, credentials and settings; say how to mend them.",
    ),
    "ingest": ("geolabel.cli.ingest:ingest", "Cut rasters into chips and make tasks of them."),
    "inspect": ("geolabel.cli.inspect:inspect", "Look at a raster and report problems before any work starts."),
    "scenes": ("geolabel.cli.scenes:app", "List and show registered scenes."),
    "chips": ("geolabel.cli.chips:app", "Plan, list and render chips."),
    "prelabel": ("geolabel.cli.prelabel:prelabel", "Predict tasks and import the predictions."),
    "calibrate": ("geolabel.cli.calibrate:calibrate", "Fit confidences to what reviewers kept."),
    "models": ("geolabel.cli.models:models", "List models and what each needs."),
    "embed": ("geolabel.cli.embed:embed", "Compute embeddings ahead of interactive work."),
    "select": ("geolabel.cli.select:select", "Order the queue: what to label next."),
    "train": ("geolabel.cli.train:train", "Train on a project's annotations."),
    "reconcile": ("geolabel.cli.reconcile:reconcile", "Find annotations that no webhook told of."),
    "loop": ("geolabel.cli.loop:loop", "Report what the learning loop has gained."),
    "simulate": ("geolabel.cli.simulate:simulate", "Simulate active learning on labelled data."),
    "validate": ("geolabel.cli.validate:validate", "Check annotations; send issues back to their tasks."),
    "split": ("geolabel.cli.split:split", "Split a data set by place."),
    "export": ("geolabel.cli.export:export", "Write a project's labels, georeferenced."),
    "import": ("geolabel.cli.import_:import_", "Bring existing labels in as predictions or annotations."),
    "formats": ("geolabel.cli.formats:formats", "List export formats and what each can carry."),
    "dataset": ("geolabel.cli.dataset:app", "List, compare, verify and rebuild dataset versions."),
    "jobs": ("geolabel.cli.jobs:jobs", "List jobs and watch one."),
    "configs": ("geolabel.cli.configs:app", "List, build and check label templates."),
    "serve": ("geolabel.cli.serve:serve", "Run the ML backend's server."),
    "work": ("geolabel.cli.work:work", "Run workers."),
}


class LazyGroup(TyperGroup):
    """A group that imports a verb's module when the verb is called, not to list it."""

    def list_commands(self, ctx: Any) -> list[str]:
        """List the verbs whose module exists."""
        return [verb for verb, (target, _) in VERBS.items() if _exists(target.partition(":")[0])]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import a verb and return its command, or None where there is no such verb."""
        if cmd_name not in VERBS:
            return None
        module, _, attribute = VERBS[cmd_name][0].partition(":")
        if not _exists(module):
            return None
        loaded = getattr(importlib.import_module(module), attribute)
        if not isinstance(loaded, typer.Typer):
            app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            app.command(name=cmd_name)(loaded)
            loaded = app
        command = get_command(loaded)
        command.name = cmd_name
        return command

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help text, importing no verb."""
        typer.echo("Usage: geolabel [--debug] VERB [options]; `geolabel VERB --help` tells a verb's options.\n")
        typer.echo((self.help or "") + "\n")
        for verb in self.list_commands(ctx):
            typer.echo(f"  {verb:<11}{VERBS[verb][1]}")


def _exists(module: str) -> bool:
    return find_spec(module) is not None


cli = typer.Typer(cls=LazyGroup, add_completion=False, pretty_exceptions_enable=False)


@cli.callback(
    invoke_without_command=True,
    help="Georeferenced rasters in, validated georeferenced labels out, by way of Label Studio.",
)
def _options(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    if version:
        typer.echo(f"geolabel {__version__}")
    elif ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status.

    0: done. 2: the input or a setting is wrong. 3: something named does not exist. 4: the outside world failed (Label
    Studio, Redis, a store, a raster). 5: a model, a plugin or GeoLabel itself failed. 130: stopped by Ctrl-C.
    """
    debug = "--debug" in arguments
    words = [word for word in arguments if word != "--debug"]
    try:
        result = get_command(cli).main(args=words, prog_name="geolabel", standalone_mode=False)
    except GeoLabelError as error:
        if debug:
            traceback.print_exc()
        _say(error.message + (f" {error.hint}" if error.hint else ""))
        return error.exit_code
    except typer.Exit as error:
        return int(error.exit_code)
    except typer.Abort:
        _say("Stopped.")
        return 130
    except typer.TyperException as error:
        _say(str(getattr(error, "message", error)))
        return 2
    except KeyboardInterrupt:
        _say("Stopped.")
        return 130
    except BrokenPipeError:
        return 0
    except Exception as error:  # noqa: BLE001 - the command line is the last border; nobody above could answer it
        if debug:
            traceback.print_exc()
        _say(f"Unexpected {type(error).__name__}: {error}. `geolabel --debug ...` shows where.")
        return 5
    return result if isinstance(result, int) else 0


def _say(sentence: str) -> None:
    typer.echo(f"geolabel: {sentence}", err=True)


def main() -> None:
    """Run the program."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
