"""`geolabel export`: write a project's labels, or those of a Label Studio file, as a dataset version."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from geolabel.core.manifest import Manifest, Recipe
from geolabel.errors import InputError


def export(
    project: Annotated[int | None, typer.Argument(help="Project of Label Studio.")] = None,
    formats: Annotated[
        list[str] | None, typer.Option("--format", "-f", help="Format, again for more; `geolabel formats` lists them.")
    ] = None,
    crs: Annotated[
        list[str] | None, typer.Option(help="CRS of map formats: scene, EPSG:4326, …; again for more.")
    ] = None,
    decimals: Annotated[int | None, typer.Option(help="Decimals of degrees; left out: as many as pixels need.")] = None,
    images: Annotated[str, typer.Option(help="Images in image formats: none, rendered, raw.")] = "none",
    recipe: Annotated[Path | None, typer.Option(help="Recipe (JSON or YAML); options are laid over it.")] = None,
    from_file: Annotated[Path | None, typer.Option(help="Label Studio JSON export instead of a project.")] = None,
    config: Annotated[Path | None, typer.Option(help="Label config XML of that file.")] = None,
    name: Annotated[str, typer.Option(help="Name of a dataset made from a file.")] = "",
    predictions: Annotated[bool, typer.Option(help="Take predictions of tasks without annotation as well.")] = False,
    join: Annotated[bool, typer.Option(help="Join objects that chip borders cut.")] = True,
    gate: Annotated[str, typer.Option(help="Geometry rules: none, refuse, exclude or fix.")] = "none",
    split: Annotated[str, typer.Option(help="Splits: none, blocks, scenes, regions or dates.")] = "none",
    out: Annotated[Path | None, typer.Option(help="Copy the version's files into this folder.")] = None,
    wait: Annotated[bool, typer.Option(help="Do it here; --no-wait hands it to a worker.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Write labels, georeferenced, as an immutable version under exports/PROJECT/VERSION of the store."""
    from geolabel.services import Services

    if (project is None) == (from_file is None):
        raise InputError("give a project or --from-file, one of the two")
    overrides: dict[str, Any] = {
        "formats": formats, "crs": crs, "decimals": decimals, "images": None if images == "none" else images,
        "select": {"predictions": True} if predictions else None, "assemble": None if join else {"join": False},
        "gate": None if gate == "none" else {"policy": gate}, "splits": None if split == "none" else {"by": split},
    }  # fmt: skip
    wanted = read_recipe(recipe, {k: v for k, v in overrides.items() if v is not None})
    services = Services()
    if not wait:
        _enqueue(services, project, from_file, wanted)
        return
    try:
        manifest = _run(services, project, from_file, wanted, config, name)
    finally:
        if project is not None:
            services.labelstudio.close()
    if out is not None:
        _copy_out(services, manifest, out)
    _tell(services, manifest, as_json=as_json)


def read_recipe(path: Path | None, overrides: dict[str, Any]) -> Recipe:
    """Return a recipe from a file with options laid over it.

    Raises:
        InputError: the file can't be read or a field is wrong.
    """
    value: Any = {}
    if path is not None:
        import yaml

        try:
            value = yaml.safe_load(path.read_text("utf-8")) or {}
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise InputError(f"the recipe {path} can't be read: {error}") from error
        if not isinstance(value, dict):
            raise InputError(f"the recipe {path} must be an object; got {type(value).__name__}")
    return Recipe.from_json({**value, **overrides})


def _run(
    services: Any, project: int | None, from_file: Path | None, recipe: Recipe, config: Path | None, name: str
) -> Manifest:
    from rich.progress import Progress

    from geolabel.pipeline.export import export_file, export_project

    with Progress(transient=True) as bar:
        line = bar.add_task("export", total=None)

        def say(done: int, total: int | None, message: str) -> None:
            bar.update(line, completed=done, total=total, description=message)

        if project is not None:
            return export_project(services, project, recipe, progress=say)
        if from_file is None:
            raise InputError("give a project or --from-file")
        xml = ""
        if config is not None:
            try:
                xml = config.read_text("utf-8")
            except OSError as error:
                raise InputError(f"the label config {config} can't be read: {error}") from error
        return export_file(services, from_file, recipe, config=xml, name=name, progress=say)


def _enqueue(services: Any, project: int | None, from_file: Path | None, recipe: Recipe) -> None:
    payload: dict[str, Any] = {"project": project, "recipe": recipe.to_json()}
    if from_file is not None:
        payload = {"file": str(from_file.absolute()), "recipe": recipe.to_json()}
    status = services.jobs.enqueue("workers.jobs_export.export", payload, queue="export")
    typer.echo(f"Job {status.id} is {status.state}; `geolabel jobs {status.id}` watches it.")


def _copy_out(services: Any, manifest: Manifest, out: Path) -> None:
    from geolabel.pipeline.versions import local_files

    with local_files(services, manifest, [entry.path for entry in manifest.files]) as folder:
        try:
            shutil.copytree(folder, out, dirs_exist_ok=True)
        except OSError as error:
            raise InputError(f"the files could not be copied to {out}: {error}") from error


def _tell(services: Any, manifest: Manifest, *, as_json: bool) -> None:
    from geolabel.pipeline.export import summary
    from geolabel.pipeline.versions import prefix

    if as_json:
        typer.echo(json.dumps(summary(manifest), indent=1, ensure_ascii=False))
        return
    decoded = manifest.counts.get("decoded", {})
    lost = sum(decoded.get("lost", {}).values())
    typer.echo(
        f"{decoded.get('regions', 0)} regions of {decoded.get('annotations', 0)} annotations in"
        + (f", {lost} could not be read" if lost else "")
    )
    for form, counts in manifest.counts.get("written", {}).items():
        typer.echo(f"  {form:<15}{sum(counts.values())} records out")
        for loss in manifest.losses.get(form, ()):
            typer.echo(f"                 {loss['message']}")
    for code, number in sorted(decoded.get("lost", {}).items()):
        typer.echo(f"  not read       {number} × {code}; report.json says why")
    place = f"{services.store.uri}/{prefix(manifest.project, manifest.version)}"
    typer.echo(f"Version {manifest.version} of {manifest.project}: {place}")
