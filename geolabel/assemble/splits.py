"""Train, val and test by place: groups of images that lie together go together, and none come near another split."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import shapely

from geolabel.assemble.rules import read_rules
from geolabel.core.dataset import Batch, ImageRef, Ints, SceneRef
from geolabel.core.georef import WGS84
from geolabel.core.placing import place
from geolabel.errors import InputError

_BY = ("blocks", "scenes", "regions", "dates")
_EARTH_M = 6_371_008.8  # mean radius, IUGG


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRules:
    """How images are split.

    Attributes:
        by: "blocks" (squares on the ground), "scenes", "regions" (of the scenes) or "dates" (day of the scenes).
        fractions: Share of images by split name, in the order of preference; they sum to 1.
        block_m: Edge of a block, m; 0 for eight times the median image.
        buffer_m: Images of different splits lie at least this far apart; 0 keeps them from overlapping.
        stratify: Spread every class over the splits as the images are.
        seed: Of the order in which equal groups are placed.
        fixed: Group name → split, for groups that are decided (a hold-out region).
    """

    by: Literal["blocks", "scenes", "regions", "dates"] = "blocks"
    fractions: Mapping[str, float] = field(default_factory=lambda: {"train": 0.7, "val": 0.15, "test": 0.15})
    block_m: float = 0.0
    buffer_m: float = 0.0
    stratify: bool = True
    seed: int = 0
    fixed: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.by not in _BY:
            raise InputError(f"splits.by is {self.by!r}; it must be one of {', '.join(_BY)}")
        shares = list(self.fractions.values())
        if not shares or any(s < 0 for s in shares) or abs(sum(shares) - 1.0) > 1e-6 or "" in self.fractions:
            raise InputError(f"splits.fractions are {dict(self.fractions)}; they need names and must sum to 1")
        if self.block_m < 0 or self.buffer_m < 0:
            raise InputError(f"splits.block_m={self.block_m} and buffer_m={self.buffer_m} must be 0 or more metres")
        unknown = sorted(set(self.fixed.values()) - set(self.fractions))
        if unknown:
            raise InputError(f"splits.fixed names {unknown}; splits are {', '.join(self.fractions)}")


def split_images(
    images: Sequence[ImageRef], scenes: Sequence[SceneRef], rules: Mapping[str, Any], class_counts: Ints
) -> tuple[list[str], dict[str, Any]]:
    """Give every image a split.

    Args:
        images: Images; those without a place are groups of their own.
        scenes: Scenes.
        rules: JSON of `SplitRules`.
        class_counts: (images, classes) records of each class on each image.

    Returns:
        The split of every image ("" for one left out because it lies within the buffer of another split), and what was
        done: rules, groups, images and records a split, images left out.

    Raises:
        InputError: a rule is unknown or wrong, or the scenes tell no region or date to split by.
    """
    wanted = read_rules(SplitRules, rules, "splits")
    outlines = _outlines(images)
    block_m = wanted.block_m or _default_block(outlines)
    groups = _groups(images, scenes, wanted, outlines, block_m)
    names, members = _members(groups)
    chosen = _assign(names, members, class_counts, wanted)
    splits = np.empty(len(images), dtype=object)
    for name, rows in zip(names, members, strict=True):
        splits[rows] = chosen[name]
    left_out = _keep_apart(splits, outlines, wanted)
    report = {
        "rules": {
            "by": wanted.by, "fractions": dict(wanted.fractions), "block_m": round(float(block_m), 3),
            "buffer_m": wanted.buffer_m, "stratify": wanted.stratify, "seed": wanted.seed, "fixed": dict(wanted.fixed),
        },
        "groups": {name: chosen[name] for name in sorted(chosen)},
        "left_out": left_out,
        "records": {
            s: [int(v) for v in class_counts[splits == s].sum(axis=0)]
            for s in (*wanted.fractions, *([""] * bool(left_out)))
        },
    }  # fmt: skip
    return [str(s) for s in splits.tolist()], report


def _outlines(images: Sequence[ImageRef]) -> npt.NDArray[np.object_]:
    """Return the footprint of every image in metres of a local plane (None without a place).

    The plane is equirectangular about the data's mean latitude: distances of neighbours are right to some 0.1 % within
    a degree, which is what blocks and buffers need. Longitudes are unwrapped about the data, so that the antimeridian
    does not part neighbours.
    """
    out = np.full(len(images), None, dtype=object)
    rows = [i for i, image in enumerate(images) if image.georef is not None]
    if not rows:
        return out
    corners = _corners(images, rows)
    turns = np.radians(corners[..., 0])
    middle = np.degrees(np.arctan2(np.sin(turns).mean(), np.cos(turns).mean()))
    longitude = (corners[..., 0] - middle + 180.0) % 360.0 - 180.0
    first = longitude[:, :1]
    longitude = first + (longitude - first + 180.0) % 360.0 - 180.0
    latitude = corners[..., 1]
    x = np.radians(longitude) * _EARTH_M * np.cos(np.radians(latitude.mean()))
    y = np.radians(latitude) * _EARTH_M
    out[rows] = shapely.polygons(np.stack([x, y], axis=-1))
    return out


def _corners(images: Sequence[ImageRef], rows: list[int]) -> npt.NDArray[np.float64]:
    """Return (rows, 4, 2) longitudes and latitudes of the corners of images, all in one transformation."""
    sizes = np.array([(images[i].width, images[i].height) for i in rows], dtype=np.float64)
    unit = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], dtype=np.float64)
    squares = Batch.of(shapely.polygons(unit * sizes[:, None, :]), frame=np.arange(len(rows)))
    rings = place(squares, [images[i].georef for i in rows], WGS84)
    lonlat: npt.NDArray[np.float64] = shapely.get_coordinates(rings).reshape(len(rows), 5, 2)
    return lonlat[:, :4]


def _placed(outlines: npt.NDArray[np.object_]) -> Ints:
    return np.flatnonzero([o is not None for o in outlines]).astype(np.int64)


def _default_block(outlines: npt.NDArray[np.object_]) -> float:
    rows = _placed(outlines)
    return 8.0 * float(np.median(np.sqrt(shapely.area(outlines[rows])))) if len(rows) else 1.0


def _groups(
    images: Sequence[ImageRef],
    scenes: Sequence[SceneRef],
    rules: SplitRules,
    outlines: npt.NDArray[np.object_],
    block_m: float,
) -> list[str]:
    if rules.by == "blocks":
        groups = [f"image {image.id}" for image in images]
        rows = _placed(outlines)
        if len(rows):
            centre = shapely.get_coordinates(shapely.centroid(outlines[rows]))
            for row, (column, line) in zip(rows.tolist(), np.floor(centre / block_m).astype(int).tolist(), strict=True):
                groups[row] = f"block {column} {line}"
        return groups
    keys = [_scene_key(scene, rules.by) for scene in scenes]
    if scenes and not any(keys):
        raise InputError(
            f"no scene tells its {rules.by.removesuffix('s')}; give it when registering, or split by blocks or scenes"
        )
    return [
        (keys[image.scene] or f"scene {scenes[image.scene].id}") if image.scene >= 0 else f"image {image.id}"
        for image in images
    ]


def _scene_key(scene: SceneRef, by: str) -> str:
    if by == "scenes":
        return f"scene {scene.id}"
    return (f"region {scene.region}" if scene.region else "") if by == "regions" else _day(scene.acquired)


def _day(acquired: str) -> str:
    return f"date {acquired[:10]}" if acquired else ""


def _members(groups: Sequence[str]) -> tuple[list[str], list[list[int]]]:
    found: dict[str, list[int]] = {}
    for row, name in enumerate(groups):
        found.setdefault(name, []).append(row)
    return list(found), list(found.values())


def _assign(names: list[str], members: list[list[int]], counts: Ints, rules: SplitRules) -> dict[str, str]:
    """Place groups, largest first, each where it leaves the least distance to the wanted shares.

    The distance is summed over the share of images and, when stratified, of every class that occurs: iterative
    stratification (Sechidis et al. 2011) with groups in place of examples.
    """
    splits = list(rules.fractions)
    shares = np.array([rules.fractions[s] for s in splits])
    amounts = np.array([[len(rows), *counts[rows].sum(axis=0)] for rows in members], dtype=np.float64)
    if not rules.stratify:
        amounts = amounts[:, :1]
    total = amounts.sum(axis=0)
    amounts = amounts[:, total > 0] / total[total > 0]
    weight = np.ones(amounts.shape[1])
    weight[0] = max(1.0, (amounts.shape[1] - 1) / 2)
    have = np.zeros((len(splits), amounts.shape[1]))
    chosen: dict[str, str] = {}
    order = sorted(range(len(names)), key=lambda g: (-amounts[g].sum(), _shuffled(names[g], rules.seed)))
    for g in sorted(order, key=lambda g: names[g] not in rules.fixed):
        if names[g] in rules.fixed:
            best = splits.index(rules.fixed[names[g]])
        else:
            trial = have + amounts[g]
            # Divided by the share, so that a small split is as eager for its part as a large one.
            gain = weight * ((trial - shares[:, None]) ** 2 - (have - shares[:, None]) ** 2)
            cost = np.where(shares > 0, gain.sum(axis=1) / np.maximum(shares, 1e-9), np.inf)
            best = int(np.argmin(cost))
        have[best] += amounts[g]
        chosen[names[g]] = splits[best]
    return chosen


def _shuffled(name: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}\0{name}".encode()).hexdigest()


def _keep_apart(splits: npt.NDArray[np.object_], outlines: npt.NDArray[np.object_], rules: SplitRules) -> int:
    """Empty the split of images too near to another split, taking them from the split with the largest share."""
    rows = _placed(outlines)
    if not len(rows):
        return 0
    shapes = outlines[rows]
    # Shrunk by a thousandth: chips that only touch do not overlap.
    near = shapely.buffer(shapes, rules.buffer_m, join_style="mitre") if rules.buffer_m else _shrunk(shapes)
    i, j = shapely.STRtree(shapes if rules.buffer_m else near).query(near, predicate="intersects")
    one, other = rows[i], rows[j]
    conflict = (one < other) & (splits[one] != splits[other])
    one, other = one[conflict], other[conflict]
    preference = dict(rules.fractions)
    left_out = 0
    for name in sorted(preference, key=lambda s: -preference[s]):
        open_pairs = (splits[one] != "") & (splits[other] != "")
        gone = np.union1d(one[open_pairs & (splits[one] == name)], other[open_pairs & (splits[other] == name)])
        splits[gone] = ""
        left_out += len(gone)
    return left_out


def _shrunk(shapes: npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
    edge = np.sqrt(shapely.area(shapes)) * 1e-3
    out: npt.NDArray[np.object_] = shapely.buffer(shapes, -edge, join_style="mitre")
    return out
