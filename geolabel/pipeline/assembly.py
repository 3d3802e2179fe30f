"""The steps between decoding and writing, over spools: choose, map classes, gate, split, join."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from geolabel.core.dataset import Batch, BatchStream, ImageRef, SceneRef
from geolabel.core.placing import image_to_scene, objects_as_drawn, placed
from geolabel.core.taxonomy import Taxonomy
from geolabel.errors import InputError
from geolabel.pipeline.decode import latest_annotations
from geolabel.pipeline.spool import Spool, spool

_MOST_ISSUES = 1000


def chooser(rules: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], Sequence[Mapping[str, Any]]]:
    """Return the function that chooses annotations of a task by the rules of a recipe."""
    if find_spec("geolabel.assemble") is None:
        return latest_annotations
    from geolabel.assemble import select_annotations

    return lambda task: select_annotations(task, rules)


def map_classes(
    parts: BatchStream, taxonomy: Taxonomy, rules: Mapping[str, Any], work: Path, report: dict[str, Any]
) -> tuple[Taxonomy, BatchStream]:
    """Map classes into another taxonomy.

    Args:
        parts: Parts with ids of `taxonomy`.
        taxonomy: The labels' own.
        rules: {"taxonomy": JSON, "map": {name: name or null}}; a class mapped to null is left out, and counted. Names
            not in the map keep theirs (or an alias) in the target. Empty for no change.
        work: For the spool.
        report: Gets "class_map": what was left out.

    Raises:
        InputError: a name has no target.
    """
    if not rules:
        return taxonomy, parts
    target = Taxonomy.from_json(rules["taxonomy"]) if rules.get("taxonomy") else taxonomy
    table = np.full(max(c.id for c in taxonomy.classes) + 1, -1, dtype=np.int64)
    mapping = rules.get("map", {})
    for c in taxonomy.classes:
        name = mapping.get(c.name, c.name)
        if name is None:
            continue
        if name not in target:
            raise InputError(
                f"class {c.name!r} has no target: {name!r} is not in taxonomy {target.name!r}; map it to one of "
                f"{', '.join(target.names())}, or to null to leave it out"
            )
        table[c.id] = target.by_name(name).id
    left_out: dict[str, int] = {}
    names = {c.id: c.name for c in taxonomy.classes}

    def mapped() -> Iterator[Batch]:
        for batch in parts():
            new = table[batch.class_id]
            for number in batch.class_id[new < 0].tolist():
                left_out[names[number]] = left_out.get(names[number], 0) + 1
            yield batch.with_columns(class_id=new).take(new >= 0)

    out = spool(work / "mapped.arrow", mapped())
    report["class_map"] = {"left_out": left_out, "taxonomy": target.name}
    return target, out


def gate(
    parts: BatchStream,
    images: Sequence[ImageRef],
    scenes: Sequence[SceneRef],
    taxonomy: Taxonomy,
    policy: Mapping[str, Any],
    work: Path,
    report: dict[str, Any],
) -> BatchStream:
    """Apply the geometry rules by policy; an empty policy applies none.

    Raises:
        InputError: the policy refuses what was found.
    """
    if not policy:
        return parts
    from geolabel.validate import gate as check

    counts: dict[str, int] = {}
    examples: list[dict[str, Any]] = []
    taken = [0, 0]

    def passed() -> Iterator[Batch]:
        for batch in parts():
            kept, issues = check(batch, images, scenes, taxonomy, policy)
            taken[0] += len(batch)
            taken[1] += len(kept)
            for issue in issues:
                counts[issue.code] = counts.get(issue.code, 0) + 1
                if len(examples) < _MOST_ISSUES:
                    examples.append(issue.to_json())
            yield kept

    out = spool(work / "gated.arrow", passed())
    report["gate"] = {"in": taken[0], "out": taken[1], "issues": dict(sorted(counts.items())), "examples": examples}
    return out


def split(
    images: Sequence[ImageRef],
    scenes: Sequence[SceneRef],
    parts: BatchStream,
    taxonomy: Taxonomy,
    rules: Mapping[str, Any],
    told: dict[str, Any],
) -> list[ImageRef]:
    """Give every image its split; empty rules give none."""
    if not rules:
        return list(images)
    from geolabel.assemble.splits import split_images

    column = {c.id: i for i, c in enumerate(taxonomy.classes)}
    counts = np.zeros((len(images), len(column)), dtype=np.int64)
    for batch in parts():
        np.add.at(counts, (batch.frame, np.array([column[c] for c in batch.class_id.tolist()], dtype=np.int64)), 1)
    names, report = split_images(images, scenes, rules, counts)
    told |= report
    told["images"] = {name: names.count(name) for name in sorted(set(names))}
    return [replace(image, split=name) for image, name in zip(images, names, strict=True)]


def join(
    parts: BatchStream,
    images: Sequence[ImageRef],
    scenes: Sequence[SceneRef],
    taxonomy: Taxonomy,
    rules: Mapping[str, Any],
    work: Path,
    report: dict[str, Any],
) -> BatchStream:
    """Put parts together to objects, scene by scene; {"join": False} takes each part as an object."""
    if not scenes:
        return lambda: iter(())
    if rules.get("join") is False or find_spec("geolabel.assemble") is None:
        return objects_as_drawn(parts, images)
    from geolabel.assemble import assemble_scene

    folder = work / "scenes"
    folder.mkdir()
    spools: dict[int, Spool] = {}
    for batch in parts():
        batch = batch.take(placed(batch, images))
        scene = np.array([images[f].scene for f in batch.frame.tolist()], dtype=np.int64)
        for number in np.unique(scene).tolist():
            if number not in spools:
                spools[number] = Spool(folder / f"{number:06d}.arrow")
            spools[number].write(batch.take(scene == number))
    out = Spool(work / "objects.arrow")
    totals: dict[str, int] = {}
    for number in sorted(spools):
        stream = spools[number].close()
        whole = Batch.concat(list(stream()))
        objects, facts = assemble_scene(image_to_scene(whole, images), whole.frame, images, rules)
        for name, value in facts.items():
            if isinstance(value, int):
                totals[name] = totals.get(name, 0) + value
        for start in range(0, len(objects), 20_000):
            out.write(objects.take(slice(start, start + 20_000)))
    shutil.rmtree(folder)
    report["assembly"] = totals
    del taxonomy
    return out.close()
