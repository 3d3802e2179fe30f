"""The contract of formats: dataset → files → dataset, equal up to what the format says it loses.

A third-party exporter tests itself with `check_round_trip(MyFormat(), sample_dataset(seed=0), tmp_path)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
import shapely.affinity

from geolabel.core.dataset import KIND_INDEX, Batch, Dataset, ImageRef, SceneRef, stream
from geolabel.core.georef import Georeference, Window
from geolabel.core.ids import canonical_json
from geolabel.core.placing import as_objects, place, scene_georefs, unplace
from geolabel.core.scene import Chip, RenderSpec, chip_id
from geolabel.core.taxonomy import LabelClass, Taxonomy
from geolabel.formats.contract import Format, FormatSpec, WriteOptions, Written

TOLERANCE_PX = 0.01
UTM = Georeference(crs="EPSG:32636", transform=(0.3, 0.0, 450_000.0, 0.0, -0.3, 5_000_000.0), width=1024, height=768)
TAXONOMY = Taxonomy(
    name="contract",
    version="1",
    classes=(
        LabelClass(id=1, name="building", colour="#d62728", shapes=("polygon", "box", "rotated_box", "mask")),
        LabelClass(id=3, name="water body", colour="#1f77b4", shapes=("polygon", "multipolygon", "ellipse")),
        LabelClass(id=7, name="road & path", colour="#ff7f0e", shapes=("line",)),
        LabelClass(id=8, name="tree", colour="#2ca02c", shapes=("point",)),
    ),
)


def _images(georef: Georeference, size_px: int) -> tuple[ImageRef, ...]:
    images = []
    render = RenderSpec(bands=(1, 2, 3), rescale=((0, 255),) * 3)
    for number, (col, row) in enumerate(((0, 0), (size_px, 0), (0, size_px))):
        window = Window(col=col, row=row, width=size_px, height=size_px)
        plane = georef.window(window)
        name = chip_id("scene-1", window, (size_px, size_px), render.digest())
        chip = Chip(id=name, scene_id="scene-1", window=window, georef=plane, render=render)
        images.append(
            ImageRef(
                id=name, task_id=101 + number, width=size_px, height=size_px, georef=plane, scene=0, window=window,
                split=("train", "val", "test")[number], geo=canonical_json(chip.to_geo()),
            )
        )  # fmt: skip
    return tuple(images)


def _shape(random: np.random.Generator, kind: str, size_px: int) -> tuple[shapely.Geometry, int]:
    cx, cy = random.uniform(30, size_px - 30, 2)
    r = random.uniform(8, 22)
    circle = np.linspace(0, 2 * np.pi, 9)[:-1]
    match kind:
        case "box":
            return shapely.box(cx - r, cy - r / 2, cx + r, cy + r / 2), 1
        case "rotated_box":
            turned = shapely.affinity.rotate(shapely.box(cx - r, cy - r / 3, cx + r, cy + r / 3), 33.0)
            return turned, 1
        case "ellipse":
            turn = np.linspace(0, 2 * np.pi, 65)[:-1]
            return shapely.Polygon(np.column_stack([cx + r * np.cos(turn), cy + r / 2 * np.sin(turn)])), 3
        case "mask":
            c, w = np.floor([cx, cy]), int(r)
            return shapely.box(c[0], c[1], c[0] + w, c[1] + w).union(shapely.box(c[0], c[1], c[0] + 2, c[1] + w + 3)), 1
        case "multipolygon":
            left = shapely.Point(cx - r / 2 - 1, cy).buffer(r / 2 - 1, quad_segs=3)
            return shapely.MultiPolygon([left, shapely.affinity.translate(left, r + 2, 0)]), 3
        case "line":
            return shapely.LineString([(cx - r, cy - r), (cx, cy + r), (cx + r, cy)]), 7
        case "point":
            return shapely.Point(cx, cy), 8
        case "hole":
            shell = np.column_stack([cx + r * np.cos(circle), cy + r * np.sin(circle)])
            return shapely.Polygon(shell, [0.4 * (shell - [cx, cy]) + [cx, cy]]), 3
        case _:
            radii = r * random.uniform(0.6, 1.0, 8)
            return shapely.Polygon(np.column_stack([cx + radii * np.cos(circle), cy + radii * np.sin(circle)])), 1


def sample_dataset(
    seed: int = 0,
    *,
    per_image: int = 9,
    georef: Georeference = UTM,
    kinds: Sequence[str] | None = None,
    size_px: int = 256,
) -> Dataset:
    """Return a dataset of three chips with shapes of every kind, scores, attributes, times and annotators."""
    random = np.random.default_rng(seed)
    all_kinds = kinds or (
        "polygon", "box", "rotated_box", "ellipse", "mask", "multipolygon", "line", "point", "hole",
    )  # fmt: skip
    images = _images(georef, size_px)
    batches = []
    for frame, image in enumerate(images[:2]):  # the third image stays empty on purpose
        picked = [all_kinds[(i + seed) % len(all_kinds)] for i in range(per_image)]
        made = [_shape(random, kind, size_px) for kind in picked]
        n = len(made)
        batches.append(
            Batch.of(
                [shape for shape, _ in made],
                id=np.array([f"region{frame}{i:06d}" for i in range(n)], dtype=object),
                frame=frame,
                kind=np.array([KIND_INDEX["polygon" if k == "hole" else k] for k in picked], dtype=np.int64),
                class_id=np.array([c for _, c in made], dtype=np.int64),
                score=np.where(np.arange(n) % 3 == 0, np.round(random.uniform(0, 1, n), 4), np.nan),
                origin=np.arange(n, dtype=np.int64) % 3,
                predicted=np.arange(n) % 4 == 3,
                task_id=image.task_id,
                annotation_id=9000 + frame,
                annotator=np.array([("ann@example.org", "böb & co", "")[i % 3] for i in range(n)], dtype=object),
                created="2026-01-02T03:04:05Z",
                updated=np.array(["2026-01-02T03:04:05Z" if i % 2 else "" for i in range(n)], dtype=object),
                attributes=[{"height": 3.5 + i, "floors": i, "roof": "flat, <tin>"} if i % 2 else {} for i in range(n)],
            )
        )
    parts = stream(*batches)
    scene = SceneRef(id="scene-1", georef=georef, name="scene one", acquired="2026-01-01T00:00:00Z", region="north")
    objects = stream(*(as_objects(batch, images) for batch in batches))
    return Dataset(
        name="contract", taxonomy=TAXONOMY, images=images, scenes=(scene,), parts=parts, objects=objects,
        attributes={"floors": "int", "height": "real", "roof": "text"},
    )  # fmt: skip


def check_round_trip(
    form: Format, dataset: Dataset, folder: Path, options: WriteOptions | None = None
) -> tuple[Dataset, Written]:
    """Write, read and compare; AssertionError tells the first difference that the format does not declare."""
    folder.mkdir(parents=True, exist_ok=True)
    written = form.write(dataset, folder, options or WriteOptions())
    on_disk = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    check(on_disk == sorted(written.files), f"files on disk {on_disk} are not those told {written.files}")
    back = form.read(folder, dataset.taxonomy)
    expected = expected_records(form.spec, dataset)
    found = found_records(form.spec, dataset, back)
    if {"overlaps", "instances"} <= form.spec.keeps:
        compare(form.spec, expected, found)
    else:
        compare_painted(form.spec, expected, found)
    counts = {int(c): int(n) for c, n in zip(*np.unique(expected.class_id, return_counts=True), strict=True)}
    check(dict(written.records) == counts, f"counts told {dict(written.records)}, expected {counts}")
    return back, written


def check(condition: bool, message: str) -> None:
    """Raise AssertionError unless the condition holds."""
    if not condition:
        raise AssertionError(message)


def expected_records(spec: FormatSpec, dataset: Dataset) -> Batch:
    """Return the records of a dataset as a format of this spec should give them back."""
    batch = Batch.concat(list(dataset.parts() if spec.stream == "parts" else dataset.objects()))
    types = shapely.get_type_id(batch.geometry)
    keep = np.ones(len(batch), dtype=bool)
    if "lines" not in spec.keeps:
        keep &= ~np.isin(types, (1, 2, 5))
    if "points" not in spec.keeps:
        keep &= ~np.isin(types, (0, 4))
    batch = batch.take(keep)
    geometry = batch.geometry
    if "multipart" not in spec.keeps:
        parts, owner = shapely.get_parts(geometry, return_index=True)
        batch = batch.take(owner).with_columns(geometry=parts)
        geometry = parts
    if "holes" not in spec.keeps:
        geometry = filled(geometry)
    return batch.with_columns(geometry=geometry)


def filled(geometry: npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
    """Return polygons without their holes; other geometries as they are."""
    out = geometry.copy()
    for i in np.flatnonzero(shapely.get_type_id(geometry) == 3).tolist():
        out[i] = shapely.Polygon(geometry[i].exterior)
    return out


def found_records(spec: FormatSpec, dataset: Dataset, back: Dataset) -> Batch:
    """Return what was read, in the frames of the dataset."""
    if spec.stream == "parts":
        batch = Batch.concat(list(back.parts()))
        places = {image.id: i for i, image in enumerate(dataset.images)}
        frames = np.array([places[back.images[f].id] for f in batch.frame.tolist()], dtype=np.int64)
        for image in back.images:
            _check_image(image, dataset.images[places[image.id]], spec)
        return batch.with_columns(frame=frames)
    batch = Batch.concat(list(back.objects()))
    georefs = scene_georefs(back.scenes)
    frame = np.zeros(len(batch), dtype=np.int64)
    crs = georefs[0].crs
    return batch.with_columns(
        geometry=unplace(place(batch, georefs), frame, scene_georefs(dataset.scenes), crs), frame=frame
    )


def _check_image(found: ImageRef, right: ImageRef, spec: FormatSpec) -> None:
    check((found.width, found.height) == (right.width, right.height), f"size of image {right.id}")
    if right.georef is not None:
        check(found.georef is not None, f"{spec.name}: image {right.id} lost its place on the Earth")
        check(found.georef == right.georef, f"{spec.name}: georeference {found.georef} is not {right.georef}")
    check(found.split == right.split, f"{spec.name}: split {found.split!r} is not {right.split!r}")


def compare(spec: FormatSpec, right: Batch, found: Batch) -> None:
    """Compare records; AssertionError names the first difference."""
    check(len(found) == len(right), f"{spec.name}: {len(found)} records came back, {len(right)} were written")
    if "ids" in spec.keeps:
        keys = [f"{i}/{f}/{t}" for i, f, t in zip(right.id, right.frame, right.task_id, strict=True)]
        back = [f"{i}/{f}/{t}" for i, f, t in zip(found.id, found.frame, found.task_id, strict=True)]
        check(sorted(keys) == sorted(back), f"{spec.name}: ids differ: {sorted(set(keys) ^ set(back))[:4]}")
        right, found = right.take(np.argsort(keys, kind="stable")), found.take(np.argsort(back, kind="stable"))
    check(np.array_equal(right.frame, found.frame), f"{spec.name}: frames differ")
    check(np.array_equal(right.class_id, found.class_id), f"{spec.name}: classes differ")
    for what, names in (
        ("score", ("score",)), ("predicted", ("predicted",)), ("annotator", ("annotator",)),
        ("times", ("created", "updated")), ("sources", ("sources",)), ("drawn", ("kind",)),
    ):  # fmt: skip
        for name in names if what in spec.keeps else ():
            same = _equal(getattr(right, name), getattr(found, name))
            check(same, f"{spec.name}: column {name}: {getattr(found, name)[:9]} is not {getattr(right, name)[:9]}")
    if "attributes" in spec.keeps:
        for i in range(len(right)):
            check(
                dict(right.attribute(i)) == dict(found.attribute(i)),
                f"{spec.name}: attributes {found.attribute(i)} are not {right.attribute(i)}",
            )
    for i, (a, b) in enumerate(zip(right.geometry, found.geometry, strict=True)):
        _compare_geometry(spec, i, a, b, rotated=bool(right.kind[i] == KIND_INDEX["rotated_box"]))


def _equal(right: npt.NDArray[Any], found: npt.NDArray[Any]) -> bool:
    if right.dtype == np.float64:
        return bool(np.allclose(right, found, atol=1e-6, equal_nan=True))
    return bool(np.array_equal(right, found))


def _compare_geometry(
    spec: FormatSpec, i: int, right: shapely.Geometry, found: shapely.Geometry, *, rotated: bool
) -> None:
    polygonal = right.geom_type in ("Polygon", "MultiPolygon")
    if polygonal and "outline" not in spec.keeps and not (rotated and "rotation" in spec.keeps):
        if "rotation" in spec.keeps:  # every outline becomes its smallest rotated box
            right = shapely.minimum_rotated_rectangle(right)
        else:
            right = shapely.box(*right.bounds)
    holed = any(part.interiors for part in shapely.get_parts(right) if part.geom_type == "Polygon")
    masked = (holed and "holes" in spec.whole_pixels_for) or (
        right.geom_type == "MultiPolygon" and "multipart" in spec.whole_pixels_for
    )
    if polygonal and ("subpixel" not in spec.keeps or masked):
        right, found = burn(right), burn(found)
        check(
            bool(np.array_equal(right, found)),
            f"{spec.name}: record {i} differs in {np.count_nonzero(right != found)} px",
        )
        return
    edges = (shapely.boundary(right), shapely.boundary(found)) if polygonal else (right, found)
    distance = shapely.hausdorff_distance(*edges)
    check(distance < TOLERANCE_PX, f"{spec.name}: record {i} is off by {distance:.4f} px: {found} is not {right}")


def compare_painted(spec: FormatSpec, right: Batch, found: Batch) -> None:
    """Compare the class of every pixel, for formats where later records lie on earlier ones or touching ones merge."""
    for frame in np.unique(right.frame).tolist():
        own = right.take(right.frame == frame)
        a, b = (_painted(batch.take(batch.frame == frame)) for batch in (right, found))
        rows, cols = np.nonzero(a != b)
        edges = shapely.union_all(shapely.boundary(own.geometry))
        centres = shapely.points(cols + 0.5, rows + 0.5)
        # A pixel whose centre lies on an edge may fall to either side.
        wrong = int((shapely.distance(centres, edges) > 1e-6).sum()) if len(rows) else 0
        check(wrong == 0, f"{spec.name}: {wrong} pixels of image {frame} have another class")


def _painted(batch: Batch) -> npt.NDArray[np.int64]:
    out = np.zeros((256, 256), dtype=np.int64)
    for geometry, class_id in zip(batch.geometry, batch.class_id.tolist(), strict=True):
        out[burn(geometry)] = class_id
    return out


def burn(geometry: shapely.Geometry, size_px: int = 256) -> npt.NDArray[np.bool_]:
    """Return the pixels whose centre lies inside, (row, col)."""
    out = np.zeros((size_px, size_px), dtype=bool)
    xmin, ymin, xmax, ymax = (int(v) for v in np.clip(np.floor(geometry.bounds), 0, size_px - 1))
    cols, rows = np.meshgrid(np.arange(xmin, xmax + 1) + 0.5, np.arange(ymin, ymax + 1) + 0.5)
    out[ymin : ymax + 1, xmin : xmax + 1] = shapely.contains_xy(geometry, cols, rows)
    return out
