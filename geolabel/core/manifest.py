"""Recipes and manifests: from what a dataset version was made, and every file of it by content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeAlias

from geolabel.errors import InputError

MANIFEST_SCHEMA = "geolabel.manifest/1"
#: data: made from the snapshot by the recipe, made again by `rebuild`. record: says what happened when the version was
#: made; kept, never made again. input: what the version was made from.
FileKind: TypeAlias = Literal["data", "record", "input"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What to export and how; the same recipe on the same snapshot gives the same bytes.

    Attributes:
        formats: Names of formats.
        crs: Target CRSs of map formats, "scene" for that of the scenes.
        decimals: Of degrees, or None for enough.
        images: "none", "rendered" or "raw".
        select: Which annotations; see `geolabel.assemble`.
        assemble: How parts become objects; see `geolabel.assemble`.
        gate: Policy of the geometry rules; see `geolabel.validate`.
        splits: Rules of train, val and test; empty for none.
        classes: Target taxonomy and mapping (JSON), empty for the project's own classes.
        options: Further options by format name.
    """

    formats: tuple[str, ...] = ("geojson", "gpkg")
    crs: tuple[str, ...] = ("scene", "EPSG:4326")
    decimals: int | None = None
    images: Literal["none", "rendered", "raw"] = "none"
    select: Mapping[str, Any] = field(default_factory=dict)
    assemble: Mapping[str, Any] = field(default_factory=dict)
    gate: Mapping[str, Any] = field(default_factory=dict)
    splits: Mapping[str, Any] = field(default_factory=dict)
    classes: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return JSON types."""
        value = asdict(self)
        return {**value, "formats": list(self.formats), "crs": list(self.crs)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Recipe:
        """Build from JSON; missing fields take their defaults.

        Raises:
            InputError: a field is unknown or of the wrong kind.
        """
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(value) - known)
        if unknown:
            raise InputError(f"a recipe has no fields {unknown}; it has {', '.join(sorted(known))}")
        given = dict(value)
        for name in ("formats", "crs"):
            if name in given:
                if isinstance(given[name], str) or not given[name]:
                    raise InputError(f"{name} of a recipe must be a list of names; got {given[name]!r}")
                given[name] = tuple(str(v) for v in given[name])
        if given.get("images", "none") not in ("none", "rendered", "raw"):
            raise InputError(f"images of a recipe is {given['images']!r}; it must be none, rendered or raw")
        return cls(**given)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One file of a version: path in it, content, size, and what it is."""

    path: str
    sha256: str
    bytes: int
    kind: FileKind

    def to_json(self) -> dict[str, Any]:
        """Return JSON types."""
        return {"path": self.path, "sha256": self.sha256, "bytes": self.bytes, "kind": self.kind}


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One dataset version.

    Attributes:
        project: Id of the project, or "file-…" for an export of a file.
        number: 1 for the first version of the project, and so on.
        version: Computed from snapshot, recipe and taxonomy.
        snapshot_time: ISO 8601 UTC, when the snapshot was complete.
        files: Every file but the manifest itself, by path.
        recipe, taxonomy: JSON.
        snapshot: {"key", "sha256", "tasks", "annotations"}.
        config_sha256: Of the label config.
        code: {"geolabel": version, "source": digest of the code that makes data, "libraries": {name: version}}.
        crs: CRS operations used, one object each.
        counts: Records in and out per class, and what was left out and why.
        losses: By format.
        splits: Images per split and the rules, or empty.
        parents: Versions that this one follows.
    """

    project: str
    version: str
    snapshot_time: str
    files: Sequence[FileEntry]
    recipe: Mapping[str, Any]
    taxonomy: Mapping[str, Any]
    snapshot: Mapping[str, Any]
    number: int = 1
    config_sha256: str = ""
    title: str = ""
    code: Mapping[str, Any] = field(default_factory=dict)
    crs: Sequence[Mapping[str, Any]] = ()
    counts: Mapping[str, Any] = field(default_factory=dict)
    losses: Mapping[str, Any] = field(default_factory=dict)
    splits: Mapping[str, Any] = field(default_factory=dict)
    parents: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """Return JSON types, files by path."""
        value = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "files"}
        listed = [entry.to_json() for entry in sorted(self.files, key=lambda e: e.path)]
        return {"schema": MANIFEST_SCHEMA, **value, "parents": list(self.parents), "files": listed}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Manifest:
        """Rebuild from `to_json`.

        Raises:
            InputError: the schema is not ours or a field is missing.
        """
        if value.get("schema") != MANIFEST_SCHEMA:
            raise InputError(f"manifest has schema {value.get('schema')!r}; this version reads {MANIFEST_SCHEMA!r}")
        try:
            given = {f.name: value[f.name] for f in fields(cls)}
            given["files"] = tuple(FileEntry(**entry) for entry in value["files"])
        except (KeyError, TypeError) as error:
            raise InputError(f"the manifest lacks or garbles a field: {error!r}") from error
        return cls(**given)

    def entry(self, path: str) -> FileEntry:
        """Return the entry of a path.

        Raises:
            InputError: there is none.
        """
        for entry in self.files:
            if entry.path == path:
                return entry
        raise InputError(f"version {self.version} has no file {path!r}")
