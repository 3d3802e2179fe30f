"""What labels changed between two versions: numbers per class, and a map layer."""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import shapely

from geolabel.core.dataset import Batch, Dataset, Geometries
from geolabel.core.georef import WGS84
from geolabel.core.manifest import Manifest
from geolabel.core.placing import place, scene_georefs
from geolabel.formats.geojson import decimals_for, to_rfc7946
from geolabel.pipeline.build import open_dataset
from geolabel.pipeline.versions import load_version, local_files, read_inputs
from geolabel.services import Services

CHANGES = ("added", "removed", "reshaped", "reclassified")
_GRID = 1e-3  # px; smaller differences are none


@dataclass(slots=True)
class Difference:
    """Counts of changes per class name, from version `before` to version `after`."""

    before: str
    after: str
    unchanged: int = 0
    changes: dict[str, Counter[str]] = field(default_factory=lambda: {name: Counter() for name in CHANGES})
    area_m2: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return JSON types."""
        return {
            "before": self.before, "after": self.after, "unchanged": self.unchanged,
            **{name: dict(sorted(counts.items())) for name, counts in self.changes.items()},
            "area_m2_change": {k: round(v, 2) for k, v in sorted(self.area_m2.items())},
        }  # fmt: skip


_Known = dict[bytes, tuple[bytes, int]]


def diff(services: Services, project: str, before: str, after: str, *, layer: Path | None = None) -> Difference:
    """Compare the objects of two versions, made again from their snapshots.

    Objects are the same when they come from the same regions of the same tasks; a region that was drawn anew at the
    same place counts as unchanged too.

    Args:
        services: Store.
        project: Project id.
        before: Older version or the start of it.
        after: Newer version or the start of it.
        layer: GeoJSON file to write with every changed object (property `change`), or None.
    """
    old, new = load_version(services, project, before), load_version(services, project, after)
    out = Difference(before=old.version, after=new.version)
    with tempfile.TemporaryDirectory(prefix="geolabel-diff-") as name:
        folder = Path(name)
        left, right = _open(services, old, folder / "a"), _open(services, new, folder / "b")
        known, places = _known(left)
        seen: set[bytes] = set()
        features: list[bytes] = []
        want = layer is not None
        for batch, keys, shapes in _rows(right):
            kinds = [
                _change(k, s, c, known, places, seen)
                for k, s, c in zip(keys, shapes, batch.class_id.tolist(), strict=True)
            ]
            _count(out, batch, kinds, right, +1.0)
            if want:
                features += _features(batch, kinds, right)
        for batch, keys, _ in _rows(left):
            kinds = ["removed" if key not in seen else "" for key in keys]
            _count(out, batch, kinds, left, -1.0, only=True)
            if want:
                features += _features(batch, kinds, left)
        for side, sign in ((right, 1.0), (left, -1.0)):
            _add_areas(out, side, sign)
        if layer is not None:
            layer.write_bytes(b'{"type":"FeatureCollection","features":[\n' + b",\n".join(features) + b"\n]}\n")
    return out


def _open(services: Services, manifest: Manifest, work: Path) -> Dataset:
    work.mkdir(parents=True)
    paths = [entry.path for entry in manifest.files if entry.kind == "input"]
    with local_files(services, manifest, paths) as folder:
        inputs = read_inputs(folder, manifest)
    with services.store.local_path(manifest.snapshot["key"]) as snapshot:
        return open_dataset(snapshot, inputs, work)


def _rows(dataset: Dataset) -> Iterator[tuple[Batch, list[bytes], list[bytes]]]:
    """Yield batches with a key of each object (its regions) and of its place."""
    for batch in dataset.objects():
        rounded = shapely.normalize(shapely.set_precision(batch.geometry, _GRID, mode="pointwise"))
        scenes = [dataset.scenes[f].id for f in batch.frame.tolist()]
        shapes = [_hash(s.encode() + w) for s, w in zip(scenes, shapely.to_wkb(rounded), strict=True)]
        keys = [
            _hash(_regions(s or i).encode()) for s, i in zip(batch.sources.tolist(), batch.id.tolist(), strict=True)
        ]
        yield batch, keys, shapes


def _regions(sources: str) -> str:
    # A corrected annotation may get another id; task and region stay.
    parts = (source.split(":") for source in sources.split(","))
    return ",".join(sorted(f"{p[0]}:{p[-1]}" for p in parts))


def _hash(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=10).digest()


def _known(dataset: Dataset) -> tuple[_Known, dict[bytes, tuple[bytes, int]]]:
    known: _Known = {}
    places: dict[bytes, tuple[bytes, int]] = {}
    for batch, keys, shapes in _rows(dataset):
        for key, shape, class_id in zip(keys, shapes, batch.class_id.tolist(), strict=True):
            known[key] = (shape, class_id)
            places[shape] = (key, class_id)
    return known, places


def _change(
    key: bytes, shape: bytes, class_id: int, known: _Known, places: dict[bytes, tuple[bytes, int]], seen: set[bytes]
) -> str:
    if key not in known and shape in places and places[shape][0] not in seen:
        key = places[shape][0]
    if key not in known or key in seen:
        return "added"
    seen.add(key)
    was_shape, was_class = known[key]
    if was_class != class_id:
        return "reclassified"
    return "" if was_shape == shape else "reshaped"


def _count(
    out: Difference, batch: Batch, kinds: list[str], dataset: Dataset, sign: float, *, only: bool = False
) -> None:
    del sign
    names = dataset.class_names()
    for kind, class_id in zip(kinds, batch.class_id.tolist(), strict=True):
        if kind:
            out.changes[kind][names[class_id]] += 1
        elif not only:
            out.unchanged += 1


def _add_areas(out: Difference, dataset: Dataset, sign: float) -> None:
    pixel = np.array([float(np.prod(scene.georef.gsd_m())) for scene in dataset.scenes])
    names = dataset.class_names()
    for batch in dataset.objects():
        areas = shapely.area(batch.geometry) * pixel[batch.frame]
        for class_id in np.unique(batch.class_id).tolist():
            name = names[class_id]
            out.area_m2[name] = out.area_m2.get(name, 0.0) + sign * float(areas[batch.class_id == class_id].sum())


def _features(batch: Batch, kinds: list[str], dataset: Dataset) -> list[bytes]:
    rows = np.flatnonzero(np.array([bool(k) for k in kinds], dtype=bool))
    if not len(rows):
        return []
    changed = batch.take(rows)
    lonlat: Geometries = place(changed, scene_georefs(dataset.scenes), WGS84)
    geometry, _ = to_rfc7946(lonlat, decimals_for(dataset, None))
    names = dataset.class_names()
    return [
        orjson.dumps(
            {
                "type": "Feature",
                "properties": {"change": kinds[row], "id": changed.id[i], "class": names[int(changed.class_id[i])]},
                "geometry": orjson.Fragment(text),
            }
        )
        for i, (row, text) in enumerate(zip(rows.tolist(), shapely.to_geojson(geometry), strict=True))
    ]
