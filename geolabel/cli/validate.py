"""``geolabel validate``: check annotations of a project, or a file; for people and for CI."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from geolabel.errors import InputError


def validate(
    subject: Annotated[str | None, typer.Argument(help="Project of Label Studio, or a file.")] = None,
    policy: Annotated[Path | None, typer.Option(help="Rules and limits (JSON or YAML), as `gate` of a recipe.")] = None,
    errors_only: Annotated[bool, typer.Option(help="Warnings alone do not count as findings.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    rules: Annotated[bool, typer.Option(help="List the rules and limits, and do nothing else.")] = False,
) -> None:
    """Exit status: 0 nothing found, 1 something found, 2 the input can't be read, 3 there is no such project."""
    if rules:
        _list_rules()
        return
    if subject is None:
        raise InputError("name a project or a file; `geolabel validate --rules` lists the rules")
    from geolabel.pipeline.validate import validate_file, validate_project

    wanted = _policy(policy)
    if subject.isdigit() and not Path(subject).exists():
        from geolabel.services import Services

        verdict = validate_project(Services(), int(subject), wanted)
    else:
        verdict = validate_file(Path(subject), wanted)
    if as_json:
        typer.echo(json.dumps(verdict.to_json(), indent=1, ensure_ascii=False))
    else:
        for issue in verdict.issues:
            place = f" at {issue.where[0]:.6f}, {issue.where[1]:.6f}" if issue.where else ""
            record = f" {issue.chip_id} {issue.region_id}" if issue.region_id else ""
            typer.echo(f"{issue.severity.value:<8}{issue.code}{record}{place}: {issue.message}")
        found = ", ".join(f"{n} × {code}" for code, n in sorted(verdict.counts.items())) or "nothing wrong"
        typer.echo(f"{verdict.subject}: {verdict.records} records, {found}")
    raise typer.Exit(verdict.exit_code(errors_only=errors_only))


def _policy(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    import yaml

    try:
        value = yaml.safe_load(path.read_text("utf-8")) or {}
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"the policy {path} can't be read: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"the policy {path} must be an object; got {type(value).__name__}")
    return value


def _list_rules() -> None:
    from geolabel.validate.options import OPTIONS
    from geolabel.validate.registry import all_rules

    for rule in all_rules():
        spec = rule.spec
        fix = f"; fix {spec.fix}" if spec.fix else ""
        typer.echo(
            f"{spec.code}  {spec.name:<18}{spec.severity.value:<9}{spec.title}{fix}{'' if spec.on else ' (off)'}"
        )
    for name, option in OPTIONS.items():
        typer.echo(f"{name:<18}{option.value:<9g}{option.meaning}")
