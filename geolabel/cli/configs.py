"""`geolabel configs`: label templates."""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True, help="List, build and check label templates.")


@app.command("ls")
def list_templates() -> None:
    """List the templates and their classes."""
    from geolabel.pipeline.templates import template_names, template_taxonomy

    for name in template_names():
        typer.echo(f"{name}: {', '.join(template_taxonomy(name).names())}")


@app.command()
def build() -> None:
    """Write config.xml of every template from its taxonomy."""
    from geolabel.pipeline.templates import build_templates

    changed = build_templates()
    typer.echo(f"written: {', '.join(changed)}" if changed else "all are up to date")


@app.command()
def check() -> None:
    """Tell whether every config.xml agrees with its taxonomy; exit status 1 when one does not."""
    from geolabel.pipeline.templates import check_templates

    wrong = check_templates()
    for sentence in wrong:
        typer.echo(sentence, err=True)
    if wrong:
        raise typer.Exit(1)
    typer.echo("all agree")
