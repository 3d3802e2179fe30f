"""Export a project or a Label Studio file: snapshot, build, check, publish as an immutable version."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from geolabel import __version__
from geolabel.core.dataset import ImageRef, SceneRef
from geolabel.core.ids import canonical_json, digest
from geolabel.core.manifest import Manifest, Recipe
from geolabel.core.scene import Chip, Scene
from geolabel.core.taxonomy import LabelClass, Taxonomy
from geolabel.errors import AdapterError, InputError, NotFoundError
from geolabel.formats.contract import PixelSource
from geolabel.labelstudio.config import LabelConfig
from geolabel.pipeline import versions
from geolabel.pipeline.build import Built, Inputs, Progress, build, list_files, stable_taxonomy, write_json
from geolabel.pipeline.catalogue import croissant, stac_collection, stac_item
from geolabel.pipeline.snapshot import Snapshot, keep_snapshot, snapshot_of_file, take_snapshot
from geolabel.services import Services

LIBRARIES = (
    "shapely",
    "pyproj",
    "pyogrio",
    "pyarrow",
    "numpy",
    "rasterio",
    "pycocotools",
    "orjson",
    "label-studio-sdk",
)
#: Packages whose code decides the bytes of data files.
_DATA_CODE = (
    "core",
    "labelstudio",
    "assemble",
    "validate",
    "formats",
    "pipeline/decode.py",
    "pipeline/build.py",
    "pipeline/assembly.py",
    "pipeline/spool.py",
    "pipeline/snapshot.py",
)


def export_project(
    services: Services, project_id: int, recipe: Recipe, *, progress: Progress | None = None, wait_s: float = 300.0
) -> Manifest:
    """Export a project of Label Studio.

    Args:
        services: Label Studio and store.
        project_id: Project.
        recipe: What to write and how.
        progress: Told done, total, message.
        wait_s: How long to wait for Label Studio when it goes away in the middle.

    Returns:
        The manifest of the version; one that exists already when nothing changed.
    """
    project = services.labelstudio.project(project_id)
    name = str(project_id)
    folder = services.settings.state_dir / "snapshots" / name
    snapshot = take_snapshot(services, project_id, folder, progress=progress, wait_s=wait_s)
    try:
        config = str(project.get("label_config") or "")
        parsed = LabelConfig.parse(config)
        taxonomy = _taxonomy(services, name, parsed.taxonomy(str(project.get("title") or name)))
        inputs = Inputs(
            project=name, title=str(project.get("title") or ""), config=config, taxonomy=taxonomy, recipe=recipe
        )
        return make_version(services, snapshot, inputs, progress=progress)
    finally:
        snapshot.path.unlink(missing_ok=True)


def export_file(
    services: Services,
    path: Path,
    recipe: Recipe,
    *,
    config: str = "",
    taxonomy: Taxonomy | None = None,
    name: str = "",
    progress: Progress | None = None,
) -> Manifest:
    """Export a Label Studio JSON export that lies in a file.

    Args:
        services: Store.
        path: The file.
        recipe: What to write and how.
        config: Label config XML that it was made with, or "" to take every label that occurs.
        taxonomy: Classes, when the config does not tell them.
        name: Name of the dataset, or "" for that of the file.
        progress: Told done, total, message.

    Raises:
        InputError: the file is no export of Label Studio, or nothing in it can be read.
    """
    if not path.is_file():
        raise NotFoundError(f"there is no file {path}")
    project = "file-" + (re.sub(r"[^A-Za-z0-9]+", "-", name or path.stem).strip("-") or "export")
    with versions.staging(services) as folder:
        snapshot = snapshot_of_file(path, folder)
        found = taxonomy or (LabelConfig.parse(config).taxonomy(project) if config else _labels(snapshot, project))
        inputs = Inputs(
            project=project,
            title=name or path.stem,
            config=config,
            taxonomy=found if taxonomy else _taxonomy(services, project, found),
            recipe=recipe,
        )
        return make_version(services, snapshot, inputs, progress=progress)


def _labels(snapshot: Snapshot, name: str) -> Taxonomy:
    if not snapshot.labels:
        raise InputError("no result has a label, so there is nothing to export; regions need a class")
    classes = tuple(LabelClass(id=i, name=label) for i, label in enumerate(snapshot.labels, 1))
    return Taxonomy(name=name, version="found", classes=classes)


def _taxonomy(services: Services, project: str, taxonomy: Taxonomy) -> Taxonomy:
    """Keep the ids that classes had in the newest version of the project."""
    try:
        before = versions.load_version(services, project)
    except NotFoundError:
        return taxonomy
    key = f"{versions.prefix(project, before.version)}/inputs/taxonomy.json"
    return stable_taxonomy(taxonomy, Taxonomy.from_json(services.store.get_json(key)))


def make_version(
    services: Services, snapshot: Snapshot, inputs: Inputs, *, progress: Progress | None = None
) -> Manifest:
    """Build a version from a snapshot and publish it; the same inputs give the version that exists."""
    version = digest("version", snapshot.sha256, inputs.recipe.to_json(), inputs.taxonomy.to_json(), inputs.config)[:12]
    try:
        return versions.load_version(services, inputs.project, version)
    except NotFoundError:
        pass
    before = versions.list_versions(services, inputs.project)[-1:]
    with versions.staging(services) as stage:
        folder, work = stage / "version", stage / "work"
        folder.mkdir()
        work.mkdir()
        built = build(
            snapshot.path,
            inputs,
            folder,
            work,
            scene_facts=_scene_lookup(services),
            pixels=pixel_source(services, inputs.recipe),
            progress=progress,
        )
        try:
            versions.write_inputs(folder, _with_scenes(inputs, built.scenes))
            write_json(folder / "report.json", built.report)
            key = keep_snapshot(services, snapshot, inputs.project)
            manifest = Manifest(
                project=inputs.project,
                version=version,
                title=inputs.title,
                snapshot_time=snapshot.taken,
                recipe=inputs.recipe.to_json(),
                taxonomy=(built.taxonomy or inputs.taxonomy).to_json(),
                snapshot={
                    "key": key,
                    "sha256": snapshot.sha256,
                    "tasks": snapshot.tasks,
                    "annotations": snapshot.annotations,
                    "predictions": snapshot.predictions,
                },
                config_sha256=hashlib.sha256(inputs.config.encode()).hexdigest(),
                code=code_facts(),
                crs=built.crs,
                counts=built.counts,
                losses=built.losses,
                splits=built.splits,
                parents=tuple(m.version for m in before),
                files=(),
                number=before[-1].number + 1 if before else 1,
            )
            _catalogues(folder, versions.with_files(manifest, list_files(folder, versions.KINDS)), built)
            manifest = versions.with_files(manifest, list_files(folder, versions.KINDS))
        except OSError as error:
            raise AdapterError(f"a file of the export could not be written: {error}") from error
        shutil.rmtree(work)
        return versions.publish(services, folder, manifest)


def _with_scenes(inputs: Inputs, scenes: Mapping[str, Any]) -> Inputs:
    return Inputs(
        project=inputs.project,
        title=inputs.title,
        config=inputs.config,
        taxonomy=inputs.taxonomy,
        recipe=inputs.recipe,
        scenes=scenes,
    )


def _catalogues(folder: Path, manifest: Manifest, built: Built) -> None:
    """Write STAC and Croissant beside the data."""
    dataset = built.dataset
    if dataset is None:
        return
    data = [entry for entry in manifest.files if entry.kind == "data"]
    scenes: list[SceneRef | None] = [*dataset.scenes] or [None]
    items = [
        stac_item(scene, dataset, manifest, data, built.by_scene.get(number, {})) for number, scene in enumerate(scenes)
    ]
    for item in items:
        write_json(folder / "stac" / f"{item['id']}.json", item)
    write_json(folder / "stac" / "collection.json", stac_collection(dataset, manifest, items))
    write_json(folder / "croissant.json", croissant(dataset, manifest))


def _scene_lookup(services: Services) -> Callable[[str], Mapping[str, Any] | None]:
    from geolabel.pipeline.scenes import load_scene

    def facts(scene_id: str) -> Mapping[str, Any] | None:
        try:
            scene = load_scene(services, scene_id)
        except NotFoundError:
            return None
        return {
            "name": scene.name,
            "acquired": scene.acquired,
            "region": scene.region,
            "georef": scene.georef.to_json(),
            "sensor": scene.sensor,
            "etag": scene.etag,
            "uri": scene.uri,
        }

    return facts


class ScenePixels:
    """Pixels of chips from their registered scenes.

    Args:
        services: Store.
        raw: All bands as stored; else 8 bit as people saw it.
    """

    def __init__(self, services: Services, *, raw: bool) -> None:
        self._services = services
        self._raw = raw
        self._scenes: dict[str, Scene] = {}

    def read(self, image: ImageRef) -> npt.NDArray[Any] | None:
        """Return (band, row, col) raw or (row, col, 3) uint8 pixels, or None for an image that is no chip."""
        from geolabel.pipeline.scenes import load_scene
        from geolabel.raster.read import read_chip
        from geolabel.raster.render import render_chip

        if not image.geo:
            return None
        chip = Chip.from_geo(orjson.loads(image.geo))
        if chip.scene_id not in self._scenes:
            self._scenes[chip.scene_id] = load_scene(self._services, chip.scene_id)
        scene = self._scenes[chip.scene_id]
        if self._raw:
            return np.asarray(read_chip(scene, chip).array)
        return np.ascontiguousarray(render_chip(scene, chip)[:, :, :3])


def pixel_source(services: Services, recipe: Recipe) -> PixelSource | None:
    """Return where a recipe's images come from, or None when it wants none."""
    return None if recipe.images == "none" else ScenePixels(services, raw=recipe.images == "raw")


@lru_cache(maxsize=1)
def _source_digest() -> str:
    root = Path(__file__).resolve().parents[1]
    state = hashlib.sha256()
    for part in _DATA_CODE:
        path = root / part
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path] if path.is_file() else []:
            state.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes())
    return state.hexdigest()[:20]


def code_facts() -> dict[str, Any]:
    """Return the code and libraries that make data files."""
    import rasterio
    from pyogrio import __gdal_version__

    libraries = {name: library_version(name) for name in LIBRARIES}
    libraries["gdal (vectors)"] = ".".join(str(v) for v in __gdal_version__)
    libraries["gdal (rasters)"] = rasterio.__gdal_version__
    return {"geolabel": __version__, "source": _source_digest(), "libraries": libraries}


def summary(manifest: Manifest) -> dict[str, Any]:
    """Return what a person or a job's result needs of a manifest."""
    return {
        "project": manifest.project,
        "version": manifest.version,
        "snapshot_time": manifest.snapshot_time,
        "counts": dict(manifest.counts),
        "losses": dict(manifest.losses),
        "files": len(manifest.files),
        "bytes": sum(f.bytes for f in manifest.files),
        "parents": list(manifest.parents),
        "digest": hashlib.sha256(canonical_json(manifest.to_json()).encode()).hexdigest(),
    }
