"""One object per thing: predictions of overlapping chips joined in the scene's frame, then cut back per chip.

Near its edge a chip sees only half of a thing, so what it says there counts less. In the overlap of two chips each
place is taken from the chip whose edge is farther away; the seam runs where both are equally far.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import shapely

from geolabel.core.ids import region_id
from geolabel.core.labels import Region
from geolabel.core.scene import Chip
from geolabel.core.shapes import Mask, MultiPolygon, Polygon, from_shapely, to_shapely
from geolabel.predict.geometry import clean_polygon, rasterised, snap_to_edge

_TOUCH_PX = 2.0
_SAME_SHARE = 0.3
_SAME_THING = 0.5
_KEEP_SHARE = 0.6
_MIN_PART_PX = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneObject:
    """One thing on a scene.

    Attributes:
        id: Computed from its members.
        geometry: In scene px.
        label: Class that the members, weighted by area and distance to the edge, voted for.
        score: Weighted mean of the members' scores.
        members: (chip id, region id) of every prediction it was made from.
    """

    id: str
    geometry: shapely.Polygon | shapely.MultiPolygon
    label: str
    score: float
    members: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    chip: Chip
    region: Region
    geometry: shapely.Geometry
    weight: float
    cut: bool = field(default=False)


def merge_chips(
    predicted: Mapping[str, Sequence[Region]], chips: Mapping[str, Chip]
) -> tuple[dict[str, tuple[Region, ...]], list[SceneObject]]:
    """Join the areal regions of overlapping chips and cut the objects back per chip.

    Args:
        predicted: Regions in chip px by chip id.
        chips: The chips by id; chips of several scenes or of differing pixel size may be mixed.

    Returns:
        Regions in chip px by chip id (lines, points and boxes pass as they are), and all objects in scene px.
    """
    passing: dict[str, list[Region]] = {chip_id: [] for chip_id in predicted}
    by_scene: dict[str, list[_Part]] = defaultdict(list)
    for chip_id, regions in predicted.items():
        chip = chips[chip_id]
        for region in regions:
            if isinstance(region.shape, Polygon | MultiPolygon | Mask):
                by_scene[chip.scene_id].append(_part(chip, region))
            else:
                passing[chip_id].append(region)
    objects: list[SceneObject] = []
    out = {chip_id: list(regions) for chip_id, regions in passing.items()}
    masks = {chip_id: any(isinstance(r.shape, Mask) for r in regions) for chip_id, regions in predicted.items()}
    for scene_id, parts in by_scene.items():
        windows = [chips[chip_id] for chip_id in predicted if chips[chip_id].scene_id == scene_id]
        found = _merge_scene(parts, windows)
        objects += [item for item, _ in found]
        for item, sources in found:
            for chip, region in _cut_back(item, sources, windows, masks):
                out[chip.id].append(region)
    return {
        chip_id: tuple(sorted(regions, key=lambda region: -(region.score or 0.0))) for chip_id, regions in out.items()
    }, objects


def _part(chip: Chip, region: Region) -> _Part:
    outline = clean_polygon(to_shapely(region.shape))
    width, height = chip.georef.width, chip.georef.height
    xmin, ymin, xmax, ymax = outline.bounds if not outline.is_empty else (0.0,) * 4
    edge = min(xmin, ymin, width - xmax, height - ymax)
    centre = outline.centroid if not outline.is_empty else shapely.Point(0, 0)
    depth = min(centre.x, centre.y, width - centre.x, height - centre.y) / (min(width, height) / 2)
    return _Part(
        chip=chip,
        region=region,
        geometry=_to_scene(chip, outline),
        weight=max(outline.area, 1e-6) * max(depth, 0.05),
        cut=edge <= _TOUCH_PX,
    )


def _scale(chip: Chip) -> npt.NDArray[np.float64]:
    return np.array([chip.window.width / chip.georef.width, chip.window.height / chip.georef.height])


def _to_scene(chip: Chip, geometry: shapely.Geometry) -> shapely.Geometry:
    scale, offset = _scale(chip), np.array([chip.window.col, chip.window.row], dtype=np.float64)
    return shapely.transform(geometry, lambda xy: xy * scale + offset)


def _to_chip(chip: Chip, geometry: shapely.Geometry) -> shapely.Geometry:
    scale, offset = _scale(chip), np.array([chip.window.col, chip.window.row], dtype=np.float64)
    return shapely.transform(geometry, lambda xy: (xy - offset) / scale)


def _box(chip: Chip) -> shapely.Polygon:
    window = chip.window
    return shapely.box(window.col, window.row, window.col + window.width, window.row + window.height)


def _merge_scene(parts: list[_Part], windows: Sequence[Chip]) -> list[tuple[SceneObject, list[_Part]]]:
    groups = _groups(parts)
    cells = _cells(windows)
    found = []
    for members in groups:
        chosen = [parts[i] for i in members]
        geometry = _joined(chosen, cells)
        if geometry.is_empty:
            continue
        votes: dict[str, float] = defaultdict(float)
        for part in chosen:
            votes[part.region.label] += part.weight * max(part.region.score or 0.0, 0.05)
        label = max(votes, key=lambda name: (votes[name], name))
        total = sum(part.weight for part in chosen)
        score = sum(part.weight * (part.region.score or 0.0) for part in chosen) / total
        origin = tuple(sorted((part.chip.id, part.region.id) for part in chosen))
        key = region_id("object", *(value for pair in origin for value in pair))
        found.append((SceneObject(id=key, geometry=geometry, label=label, score=score, members=origin), chosen))
    return found


def _groups(parts: list[_Part]) -> list[list[int]]:
    parent = list(range(len(parts)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    tree = shapely.STRtree([part.geometry for part in parts])
    left, right = tree.query([part.geometry for part in parts], predicate="intersects")
    for i, j in zip(left.tolist(), right.tolist(), strict=True):
        if i < j and parts[i].chip.id != parts[j].chip.id and _same_thing(parts[i], parts[j]):
            parent[root(i)] = root(j)
    groups: dict[int, list[int]] = defaultdict(list)
    for i in range(len(parts)):
        groups[root(i)].append(i)
    return list(groups.values())


def _same_thing(a: _Part, b: _Part) -> bool:
    """Tell whether two regions of two chips show the same thing, judged where both chips look."""
    common = _box(a.chip).intersection(_box(b.chip))
    if common.area <= 0:
        # Chips that only touch: the halves of a thing share a piece of the edge.
        return a.region.label == b.region.label and a.geometry.intersection(b.geometry).length > _TOUCH_PX
    here_a, here_b = a.geometry.intersection(common), b.geometry.intersection(common)
    overlap = here_a.intersection(here_b).area
    smaller = min(here_a.area, here_b.area)
    if smaller <= 0:
        return False
    if a.region.label == b.region.label:
        return bool(overlap / smaller >= _SAME_SHARE)
    union = here_a.area + here_b.area - overlap
    return bool(overlap / union >= _SAME_THING)


def _cells(windows: Sequence[Chip]) -> dict[str, shapely.Geometry]:
    """Return, per chip, the places that lie deeper in it than in any neighbour: windows shrunk by half the overlap."""
    boxes = [_box(chip) for chip in windows]
    tree = shapely.STRtree(boxes)
    cells: dict[str, shapely.Geometry] = {}
    for i, chip in enumerate(windows):
        xmin, ymin, xmax, ymax = boxes[i].bounds
        left, top, right, bottom = xmin, ymin, xmax, ymax
        for j in tree.query(boxes[i], predicate="intersects"):
            if j == i:
                continue
            oxmin, oymin, oxmax, oymax = boxes[j].bounds
            if min(ymax, oymax) - max(ymin, oymin) > 0.5 * (ymax - ymin):
                if oxmin > xmin and oxmin < xmax:
                    right = min(right, (oxmin + xmax) / 2)
                elif oxmax < xmax and oxmax > xmin:
                    left = max(left, (oxmax + xmin) / 2)
            if min(xmax, oxmax) - max(xmin, oxmin) > 0.5 * (xmax - xmin):
                if oymin > ymin and oymin < ymax:
                    bottom = min(bottom, (oymin + ymax) / 2)
                elif oymax < ymax and oymax > ymin:
                    top = max(top, (oymax + ymin) / 2)
        cells[chip.id] = shapely.box(left, top, max(right, left), max(bottom, top))
    return cells


def _joined(chosen: list[_Part], cells: Mapping[str, shapely.Geometry]) -> shapely.Polygon | shapely.MultiPolygon:
    if len(chosen) == 1:
        return clean_polygon(chosen[0].geometry)
    everything = clean_polygon(shapely.union_all([part.geometry for part in chosen]))
    inner = [part.geometry.intersection(cells[part.chip.id]) for part in chosen]
    along = clean_polygon(shapely.union_all(inner, grid_size=1e-3))
    whole = len(shapely.get_parts(along)) <= len(shapely.get_parts(everything))
    return along if whole and along.area >= _KEEP_SHARE * everything.area else everything


def _cut_back(
    item: SceneObject, sources: list[_Part], windows: Sequence[Chip], masks: Mapping[str, bool]
) -> list[tuple[Chip, Region]]:
    template = max(sources, key=lambda part: part.weight).region
    own = {part.chip.id: part.region for part in sources}
    out = []
    for chip in windows:
        if len(sources) == 1 and chip.id not in own:
            continue
        box = _box(chip)
        if not box.intersects(item.geometry):
            continue
        width, height = chip.georef.width, chip.georef.height
        here = clean_polygon(_to_chip(chip, item.geometry.intersection(box)))
        here = clean_polygon(snap_to_edge(here, width, height, 1.0))
        if len(sources) == 1:
            out.append((chip, replace(own[chip.id], attributes=_attributes(own[chip.id], item))))
            continue
        for number, part in enumerate(shapely.get_parts(here)):
            if part.area < _MIN_PART_PX:
                continue
            shape = rasterised(part, width, height) if masks[chip.id] else from_shapely(part)
            key = region_id(item.id, chip.id, number)
            region = replace(
                template,
                id=key,
                shape=shape,
                label=item.label,
                score=item.score,
                attributes=_attributes(template, item),
            )
            out.append((chip, region))
    return out


def _attributes(region: Region, item: SceneObject) -> dict[str, object]:
    return {**region.attributes, "object": item.id} if len(item.members) > 1 else dict(region.attributes)
