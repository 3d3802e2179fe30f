"""Dataset versions in the store: exports/{project}/{version}/, complete or not there at all, never changed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from geolabel.core.manifest import FileEntry, FileKind, Manifest, Recipe
from geolabel.core.taxonomy import Taxonomy
from geolabel.errors import AdapterError, InputError, NotFoundError
from geolabel.pipeline.build import Inputs, Progress, build, hash_file, list_files, write_json
from geolabel.services import Services

KINDS: Mapping[str, FileKind] = {"data": "data", "inputs": "input"}


def prefix(project: str, version: str = "") -> str:
    """Return the key of a project's versions, or of one."""
    for name in (project, version):
        if not name.replace("-", "").replace("_", "").replace(".", "").isalnum() and name != "":
            raise NotFoundError(f"there is no dataset {name!r}; `geolabel dataset ls` lists those that exist")
    return f"exports/{project}/{version}".rstrip("/")


def list_versions(services: Services, project: str = "") -> list[Manifest]:
    """Return all complete versions (of a project), oldest first."""
    keys = services.store.list(prefix(project) if project else "exports")
    complete = [k for k in keys if k.endswith("/manifest.json") and k.count("/") == 3 and "/." not in k]
    found = [Manifest.from_json(services.store.get_json(key)) for key in complete]
    return sorted(found, key=lambda m: (m.project, m.number, m.snapshot_time, m.version))


def load_version(services: Services, project: str, version: str = "") -> Manifest:
    """Return the manifest of a version by its name or the start of it; "" or "latest" for the newest.

    Raises:
        NotFoundError: there is none, or the start fits several.
    """
    versions = list_versions(services, project)
    if not versions:
        raise NotFoundError(f"project {project} has no dataset version; `geolabel export {project}` makes one")
    if version in ("", "latest"):
        return versions[-1]
    fitting = [m for m in versions if m.version.startswith(version)]
    exact = [m for m in fitting if m.version == version]
    if len(exact or fitting) != 1:
        names = ", ".join(m.version for m in versions)
        raise NotFoundError(f"{len(fitting)} versions of project {project} start with {version!r}; it has {names}")
    return (exact or fitting)[0]


def publish(services: Services, folder: Path, manifest: Manifest) -> Manifest:
    """Make a version visible at once: a rename in a local store, the manifest as last object in a bucket.

    Raises:
        StoreError, AdapterError: the store does not take it; nothing of it stays visible.
    """
    key = prefix(manifest.project, manifest.version)
    write_json(folder / "manifest.json", manifest.to_json())
    target = services.store.folder(key)
    if target is not None:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists() and not (target / "manifest.json").is_file():
                shutil.rmtree(target)  # what an interrupted copy into a bucket-like folder left
            folder.rename(target)
        except OSError as error:
            if (target / "manifest.json").is_file():
                return load_version(services, manifest.project, manifest.version)
            raise AdapterError(f"the version could not be put at {target}: {error}") from error
        return manifest
    for entry in manifest.files:
        services.store.put_file(f"{key}/{entry.path}", folder / entry.path)
    services.store.put_file(f"{key}/manifest.json", folder / "manifest.json")
    return manifest


@contextmanager
def staging(services: Services) -> Iterator[Path]:
    """Give a folder on the file system of a local store (so that a rename publishes it), removed afterwards."""
    local = services.store.folder("exports/.staging")
    try:
        if local is not None:
            local.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="export-", dir=local))
    except OSError as error:
        raise AdapterError(f"no folder for the export can be made: {error}") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def local_files(services: Services, manifest: Manifest, paths: list[str]) -> Iterator[Path]:
    """Give files of a version as a local folder; a local store's own is given as it is."""
    key = prefix(manifest.project, manifest.version)
    local = services.store.folder(key)
    if local is not None:
        yield local
        return
    with tempfile.TemporaryDirectory(prefix="geolabel-") as name:
        for path in paths:
            target = Path(name) / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with services.store.local_path(f"{key}/{path}") as source:
                shutil.copyfile(source, target)
        yield Path(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What `verify` or `rebuild` found.

    Attributes:
        version: Version looked at.
        same: Files whose content is that of the manifest.
        missing, changed, extra: Paths that are not.
        made_again: Files that were made again from the snapshot (rebuild).
        kept: Records and inputs that were taken over as they are (rebuild).
        causes: Why files may differ: code or libraries that changed since.
    """

    version: str
    same: int
    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    made_again: int = 0
    kept: int = 0
    causes: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        """Whether everything is as the manifest says."""
        return not (self.missing or self.changed or self.extra)

    def to_json(self) -> dict[str, Any]:
        """Return JSON types."""
        lists = {name: list(getattr(self, name)) for name in ("missing", "changed", "extra", "causes")}
        numbers = {name: getattr(self, name) for name in ("version", "same", "made_again", "kept", "good")}
        return {**numbers, **lists}


def verify(services: Services, project: str, version: str = "") -> Verdict:
    """Compare every file of a version with its manifest."""
    manifest = load_version(services, project, version)
    key = prefix(manifest.project, manifest.version)
    present = {k.removeprefix(key + "/") for k in services.store.list(key)} - {"manifest.json"}
    listed = {entry.path: entry for entry in manifest.files}
    changed = []
    for path in sorted(present & set(listed)):
        with services.store.local_path(f"{key}/{path}") as file:
            if hash_file(file) != listed[path].sha256:
                changed.append(path)
    snapshot = manifest.snapshot["key"]
    missing = sorted(set(listed) - present) + ([] if services.store.exists(snapshot) else [snapshot])
    return Verdict(
        version=manifest.version,
        same=len(present & set(listed)) - len(changed),
        missing=tuple(missing),
        changed=tuple(changed),
        extra=tuple(sorted(present - set(listed))),
    )


def rebuild(
    services: Services, project: str, version: str = "", *, into: Path | None = None, progress: Progress | None = None
) -> Verdict:
    """Make the data files of a version again from its stored snapshot and inputs, and compare them with the manifest.

    Data files are made by today's code. Records (report, catalogues) tell what happened when the version was made; they
    and the inputs are taken over, and checked, so that a code that words reports differently changes no hash.

    Args:
        services: Store.
        project: Project id.
        version: Version or the start of it.
        into: Folder for the rebuilt version (must not exist), or None to compare only.
        progress: Told done, total, message.

    Raises:
        NotFoundError: the snapshot or an input is gone.
    """
    from geolabel.pipeline.export import code_facts, pixel_source

    manifest = load_version(services, project, version)
    key = prefix(manifest.project, manifest.version)
    if into is not None and into.exists():
        raise InputError(f"{into} exists already; give a folder that does not")
    with staging(services) as folder:
        target, work = folder / "version", folder / "work"
        target.mkdir()
        work.mkdir()
        kept = [entry for entry in manifest.files if entry.kind != "data"]
        for entry in kept:
            path = target / entry.path
            path.parent.mkdir(parents=True, exist_ok=True)
            with services.store.local_path(f"{key}/{entry.path}") as source:
                shutil.copyfile(source, path)
        inputs = read_inputs(target, manifest)
        with services.store.local_path(manifest.snapshot["key"]) as snapshot:
            pixels = pixel_source(services, inputs.recipe)
            build(snapshot, inputs, target, work, pixels=pixels, progress=progress, verify=False)
        found = {entry.path: entry for entry in list_files(target, KINDS)}
        write_json(target / "manifest.json", manifest.to_json())
        if into is not None:
            into.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(target, into)
    listed = {entry.path: entry for entry in manifest.files}
    changed = tuple(sorted(p for p in found.keys() & listed.keys() if found[p].sha256 != listed[p].sha256))
    return Verdict(
        version=manifest.version,
        same=len(found.keys() & listed.keys()) - len(changed),
        missing=tuple(sorted(listed.keys() - found.keys())),
        extra=tuple(sorted(found.keys() - listed.keys())),
        changed=changed,
        made_again=len(listed) - len(kept),
        kept=len(kept),
        causes=_causes(manifest.code, code_facts()) if changed else (),
    )


def _causes(then: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    out = []
    if then.get("source") != now.get("source"):
        out.append(f"the code that makes data changed since (geolabel {then.get('geolabel')} → {now.get('geolabel')})")
    libraries = then.get("libraries", {})
    for name, number in now["libraries"].items():
        if libraries.get(name) != number:
            out.append(f"{name} {libraries.get(name)} → {number}")
    return tuple(out) or ("neither code nor libraries differ; the files depend on something that is not recorded",)


def read_inputs(folder: Path, manifest: Manifest) -> Inputs:
    """Return the inputs of a version from its own files."""
    import json

    def load(name: str) -> Any:
        return json.loads((folder / "inputs" / name).read_text("utf-8"))

    return Inputs(
        project=manifest.project,
        title=manifest.title,
        config=(folder / "inputs/config.xml").read_text("utf-8"),
        taxonomy=Taxonomy.from_json(load("taxonomy.json")),
        recipe=Recipe.from_json(load("recipe.json")),
        scenes=load("scenes.json"),
    )


def write_inputs(folder: Path, inputs: Inputs) -> None:
    """Write the inputs of a version into its folder."""
    write_json(folder / "inputs/recipe.json", inputs.recipe.to_json())
    write_json(folder / "inputs/taxonomy.json", inputs.taxonomy.to_json())
    write_json(folder / "inputs/scenes.json", inputs.scenes)
    (folder / "inputs/config.xml").write_text(inputs.config, encoding="utf-8")


def with_files(manifest: Manifest, files: list[FileEntry]) -> Manifest:
    """Return a manifest with these files."""
    return replace(manifest, files=tuple(files))
