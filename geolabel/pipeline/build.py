"""Snapshot and recipe → the files of a dataset version in a local folder; the same inputs give the same bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from geolabel.core.dataset import Batch, BatchStream, Dataset, SceneRef
from geolabel.core.georef import WGS84, Georeference, transformer
from geolabel.core.manifest import FileEntry, FileKind, Recipe
from geolabel.core.placing import crs_of
from geolabel.core.taxonomy import LabelClass, Taxonomy
from geolabel.errors import AdapterError, InputError
from geolabel.formats.contract import Format, PixelSource, WriteOptions, count_classes
from geolabel.formats.registry import get_formats
from geolabel.formats.traits import Traits, losses, measure
from geolabel.pipeline import assembly
from geolabel.pipeline.decode import Decoder, Decoding, refuse_empty
from geolabel.pipeline.readback import read_back
from geolabel.pipeline.snapshot import read_snapshot
from geolabel.pipeline.spool import Spool, spool

Progress = Callable[[int, int | None, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Everything a version is made from, besides the snapshot.

    Attributes:
        project: Id of the project, or "file-…".
        title: For people.
        config: Label config XML, or "".
        taxonomy: Classes of the labels.
        recipe: What to write.
        scenes: Facts of scenes by id (name, acquired, region, georeference), as known when the version was made.
    """

    project: str
    title: str
    config: str
    taxonomy: Taxonomy
    recipe: Recipe
    scenes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(slots=True)
class Built:
    """What was made.

    Attributes:
        counts: Records in and out, and what was left out and why.
        losses: By format.
        report: All of it, for `report.json`.
        splits: Images per split.
        crs: CRS operations.
        scenes: Facts of the scenes, for the inputs of the version.
        taxonomy: Of the records.
        dataset: What was written; its streams last as long as the folder of spools.
        by_scene: Objects by scene index and class id.
    """

    counts: dict[str, Any] = field(default_factory=dict)
    losses: dict[str, Any] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)
    splits: dict[str, Any] = field(default_factory=dict)
    crs: list[dict[str, Any]] = field(default_factory=list)
    scenes: dict[str, Any] = field(default_factory=dict)
    taxonomy: Taxonomy | None = None
    dataset: Dataset | None = None
    by_scene: dict[int, dict[int, int]] = field(default_factory=dict)


def build(
    snapshot: Path,
    inputs: Inputs,
    folder: Path,
    work: Path,
    *,
    scene_facts: Callable[[str], Mapping[str, Any] | None] | None = None,
    pixels: PixelSource | None = None,
    progress: Progress | None = None,
    verify: bool = True,
) -> Built:
    """Write the data files of a version below `folder`/data.

    Args:
        snapshot: Local snapshot file.
        inputs: Recipe and classes.
        folder: Where files go; must be empty.
        work: Folder for spools.
        scene_facts: Looks up what the store knows of a scene that `inputs.scenes` does not tell.
        pixels: Gives images, when the recipe wants any.
        progress: Told done, total, message.
        verify: Read every file back and compare.

    Raises:
        InputError: nothing can be read, a format is unknown, a file does not hold what went in.
        AdapterError: the disk is full.
    """
    say = progress or (lambda done, total, message: None)
    recipe = inputs.recipe
    formats = get_formats(recipe.formats)
    built = Built(taxonomy=inputs.taxonomy)
    try:
        say(0, len(formats) + 1, "decoding")
        dataset = _dataset(snapshot, inputs, work, scene_facts, built)
        parts, objects = measure(dataset)
        built.counts |= {"parts": parts.to_json(), "objects": objects.to_json()}
        for number, form in enumerate(formats, 1):
            say(number, len(formats) + 1, f"writing {form.spec.name}")
            _write(form, dataset, folder / "data" / form.spec.name, recipe, pixels, built, (parts, objects), verify)
    except OSError as error:
        raise AdapterError(f"a file of the export could not be written: {error}") from error
    built.dataset = dataset
    built.by_scene = _by_scene(dataset)
    built.crs = crs_operations(dataset, recipe, formats)
    built.report = {
        "counts": built.counts,
        "losses": built.losses,
        "splits": built.splits,
        "classes": class_balance(dataset, parts, objects),
    } | built.report
    return built


def _dataset(
    snapshot: Path,
    inputs: Inputs,
    work: Path,
    scene_facts: Callable[[str], Mapping[str, Any] | None] | None,
    built: Built,
) -> Dataset:
    recipe = inputs.recipe
    with_geo = recipe.images != "none" or "labelstudio" in recipe.formats
    decoder = Decoder(
        inputs.taxonomy, assembly.chooser(recipe.select), image_key=_image_key(inputs.config), with_geo=with_geo
    )
    parts = spool(work / "parts.arrow", decoder.run(read_snapshot(snapshot)))
    found = decoder.found
    refuse_empty(found)
    scenes = _scenes(found, inputs, scene_facts, built)
    taxonomy, parts = assembly.map_classes(parts, inputs.taxonomy, recipe.classes, work, built.report)
    built.taxonomy = taxonomy
    parts = assembly.gate(parts, found.images, scenes, taxonomy, recipe.gate, work, built.report)
    images = assembly.split(found.images, scenes, parts, taxonomy, recipe.splits, built.splits)
    objects = assembly.join(parts, images, scenes, taxonomy, recipe.assemble, work, built.report)
    built.counts["decoded"] = {
        "annotations": found.annotations,
        "regions": found.regions,
        "images": len(images),
        "scenes": len(scenes),
        "lost": dict(sorted(found.lost.items())),
    }
    built.report["lost_examples"] = found.examples
    return Dataset(
        name=inputs.title or inputs.project,
        taxonomy=taxonomy,
        images=images,
        scenes=scenes,
        parts=parts,
        objects=objects,
        attributes=found.attributes,
    )


def open_dataset(snapshot: Path, inputs: Inputs, work: Path) -> Dataset:
    """Return the dataset of a snapshot and inputs, its streams kept below `work`; nothing is written elsewhere."""
    return _dataset(snapshot, inputs, work, None, Built(taxonomy=inputs.taxonomy))


def _image_key(config: str) -> str:
    if not config:
        return ""
    from geolabel.labelstudio.config import LabelConfig

    return LabelConfig.parse(config).image_key


def _scenes(
    found: Decoding,
    inputs: Inputs,
    scene_facts: Callable[[str], Mapping[str, Any] | None] | None,
    built: Built,
) -> list[SceneRef]:
    scenes = []
    for scene in found.scenes:
        facts = inputs.scenes.get(scene.id) or (scene_facts(scene.id) if scene_facts else None) or {}
        if facts:
            built.scenes[scene.id] = dict(facts)
            georef = Georeference.from_json(facts["georef"]) if facts.get("georef") else scene.georef
            scene = replace(
                scene,
                name=str(facts.get("name", "")),
                acquired=str(facts.get("acquired") or ""),
                region=str(facts.get("region", "")),
                georef=georef if georef.crs == scene.georef.crs else scene.georef,
            )
        scenes.append(scene)
    return scenes


def _write(
    form: Format,
    dataset: Dataset,
    folder: Path,
    recipe: Recipe,
    pixels: PixelSource | None,
    built: Built,
    traits: tuple[Traits, Traits],
    verify: bool,
) -> None:
    name = form.spec.name
    told = losses(form.spec, *traits)
    if form.spec.stream == "objects" and not dataset.scenes:
        raise InputError(
            f"format {name!r} draws maps, and no image of this export has a place on the Earth; "
            "ask for coco, yolo-segment, voc or labelstudio"
        )
    folder.mkdir(parents=True)
    options = WriteOptions(
        crs=recipe.crs,
        decimals=recipe.decimals,
        images=recipe.images if form.spec.images != "no" else "none",
        pixels=pixels,
        extra=recipe.options.get(name, {}),
    )
    written = form.write(dataset, folder, options)
    built.losses[name] = [loss.to_json() for loss in (*told, *written.losses)]
    out = {str(k): v for k, v in sorted(written.records.items())}
    built.counts.setdefault("written", {})[name] = out
    if verify:
        checked = read_back(form, dataset, folder, written)
        built.report.setdefault("read_back", {})[name] = checked.to_json()
        if checked.problems:
            raise InputError(f"what was written differs from what went in: {'; '.join(checked.problems)}")


def _by_scene(dataset: Dataset) -> dict[int, dict[int, int]]:
    out: dict[int, dict[int, int]] = {}
    for batch in dataset.objects():
        for frame in np.unique(batch.frame).tolist():
            count_classes(out.setdefault(frame, {}), batch.class_id[batch.frame == frame])
    return out


def class_balance(dataset: Dataset, parts: Traits, objects: Traits) -> list[dict[str, Any]]:
    """Return a row per class: parts, objects, share of objects, area on the ground in m²."""
    area = _areas_m2(dataset)
    total = max(1, objects.records or parts.records)
    rows = []
    for c in dataset.taxonomy.classes:
        n = objects.by_class.get(c.id, 0) if objects.records else parts.by_class.get(c.id, 0)
        rows.append(
            {
                "id": c.id,
                "class": c.name,
                "parts": parts.by_class.get(c.id, 0),
                "objects": objects.by_class.get(c.id, 0),
                "share": round(n / total, 6),
                "area_m2": round(area.get(c.id, 0.0), 2),
            }
        )
    return rows


def _areas_m2(dataset: Dataset) -> dict[int, float]:
    """Sum areas per class with the ground size of each scene's centre pixel."""
    pixel = np.array([float(np.prod(scene.georef.gsd_m())) for scene in dataset.scenes])
    out: dict[int, float] = {}
    for batch in dataset.objects():
        areas = shapely.area(batch.geometry) * pixel[batch.frame]
        for class_id in np.unique(batch.class_id).tolist():
            out[class_id] = out.get(class_id, 0.0) + float(areas[batch.class_id == class_id].sum())
    return out


def crs_operations(dataset: Dataset, recipe: Recipe, formats: Sequence[Format]) -> list[dict[str, Any]]:
    """Return every CRS operation that the formats of a recipe use."""
    import pyproj

    targets: set[str] = set()
    for form in formats:
        if form.spec.stream == "objects":
            targets |= {WGS84} if form.spec.crs == "wgs84" else {c for c in recipe.crs if c != "scene"}
    out = []
    for source in crs_of([scene.georef for scene in dataset.scenes]):
        for target in sorted(targets - {source}):
            change = transformer(source, target)
            out.append(
                {
                    "source": source,
                    "target": target,
                    "operation": change.description,
                    "definition": change.definition,
                    "accuracy_m": change.accuracy if change.accuracy >= 0 else None,
                    "proj": pyproj.proj_version_str,
                }
            )
    return out


def list_files(folder: Path, kinds: Mapping[str, FileKind]) -> list[FileEntry]:
    """Return an entry for every file below a folder; its kind is that of its first path part, else "record"."""
    entries = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if name != "manifest.json":
            kind = kinds.get(name.split("/", 1)[0], "record")
            entries.append(FileEntry(path=name, sha256=hash_file(path), bytes=path.stat().st_size, kind=kind))
    return entries


def hash_file(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys, so that equal values are equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, sort_keys=True, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def stable_taxonomy(taxonomy: Taxonomy, before: Taxonomy | None) -> Taxonomy:
    """Return the taxonomy with the ids that its classes had before; new classes get ids never used yet."""
    if before is None:
        return taxonomy
    known = {c.name: c.id for c in before.classes}
    free = max([0, *known.values()])
    classes: list[LabelClass] = []
    for c in taxonomy.classes:
        number = known.get(c.name)
        if number is None:
            free += 1
            number = free
        classes.append(replace(c, id=number))
    return replace(taxonomy, classes=tuple(classes))


def empty_stream() -> BatchStream:
    """Return a stream of nothing."""

    def start() -> Iterator[Batch]:
        return iter(())

    return start


def work_spool(work: Path, name: str) -> Spool:
    """Return a new spool of this name."""
    return Spool(work / f"{name}.arrow")
