"""The plan of the made scene: where its river, roads, buildings and trees are, as geometry in pixels.

Frame: px of the scene, x (columns) right, y (rows) down, (0, 0) the outer corner of the first pixel. Everything follows
from a random generator, so that the same seed gives the same town.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import shapely
from shapely import affinity
from shapely.geometry import LineString, Point, Polygon
from shapely.ops import unary_union

GSD_M = 0.3
PX_PER_M = 1.0 / GSD_M
RoofKind = Literal["gable", "hip", "flat"]
Rng = np.random.Generator


@dataclass(frozen=True, slots=True, kw_only=True)
class Wing:
    """One rectangular roof: centre px, half sizes px (a along the ridge), angle of the ridge in radians."""

    x: float
    y: float
    a: float
    b: float
    angle: float

    @property
    def polygon(self) -> Polygon:
        """Outline in px."""
        box = shapely.box(-self.a, -self.b, self.a, self.b)
        return affinity.translate(affinity.rotate(box, self.angle, origin=(0, 0), use_radians=True), self.x, self.y)


@dataclass(frozen=True, slots=True, kw_only=True)
class Building:
    """A building: its wings, the outline of all together, height in m, kind and colour of its roof."""

    wings: tuple[Wing, ...]
    outline: Polygon
    height_m: float
    roof: RoofKind
    colour: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A tree: centre px, radius of its crown px, height in m, outline px."""

    x: float
    y: float
    radius: float
    height_m: float
    outline: Polygon


@dataclass(frozen=True, slots=True, kw_only=True)
class Street:
    """A street: centre line px, width px, and whether it is the main road."""

    line: LineString
    width: float
    main: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Everything that is painted, and the geometry that is the ground truth."""

    size_px: int
    streets: tuple[Street, ...]
    roads: Any
    water: Any
    wood: Any
    town: Polygon
    buildings: tuple[Building, ...]
    trees: tuple[Tree, ...]

    def truth(self) -> Iterator[tuple[str, Polygon]]:
        """Yield (class name, polygon px) of all that is to be labelled, clipped to the scene."""
        frame = shapely.box(0, 0, self.size_px, self.size_px)
        water, canopy = self.water.difference(self.roads), unary_union([tree.outline for tree in self.trees])
        layers: list[tuple[str, Any]] = [("Building", building.outline) for building in self.buildings]
        layers += [("Road", self.roads), ("Water", water), ("Tree", canopy)]
        for name, geometry in layers:
            for part in getattr(geometry.intersection(frame), "geoms", [geometry.intersection(frame)]):
                if isinstance(part, Polygon) and part.area * GSD_M**2 >= 2.0:
                    yield name, part


TERRACOTTA, BROWN, SLATE, RED = (176.0, 96.0, 70.0), (120.0, 88.0, 72.0), (104.0, 106.0, 114.0), (150.0, 70.0, 62.0)
PALE, CONCRETE, GRAVEL = (206.0, 204.0, 198.0), (168.0, 166.0, 160.0), (140.0, 134.0, 126.0)


def plan_layout(seed: int, size_px: int) -> Layout:
    """Plan a town by a river.

    Args:
        seed: Any integer; the same one gives the same plan.
        size_px: Edge of the square scene, px.
    """
    rng = np.random.default_rng(seed)
    water = _river(rng, size_px)
    wood = _blob(rng, size_px * 0.82, size_px * 0.16, size_px * 0.13)
    pond = _blob(rng, size_px * 0.80, size_px * 0.15, size_px * 0.035)
    water = unary_union([water, pond])
    town = shapely.box(size_px * 0.36, -200, size_px + 200, size_px + 200)
    streets = tuple(_streets(rng, size_px, town, wood))
    roads = unary_union([street.line.buffer(street.width / 2, cap_style="flat") for street in streets])
    roads = roads.buffer(4, join_style="round").buffer(-4, join_style="round")
    buildings = tuple(_buildings(rng, size_px, streets, unary_union([roads, water.buffer(18), wood.buffer(6)])))
    trees = tuple(_trees(rng, size_px, roads, water, wood, town, buildings))
    return Layout(
        size_px=size_px,
        streets=streets,
        roads=roads,
        water=water,
        wood=wood,
        town=town,
        buildings=buildings,
        trees=trees,
    )


def _river(rng: Rng, size: int) -> Any:
    steps = np.linspace(-0.1, 1.1, 90)
    phase, bend = rng.uniform(0, 2 * math.pi), rng.uniform(0.035, 0.055)
    xs = size * (0.2 + bend * np.sin(steps * 5.2 + phase) + 0.02 * np.sin(steps * 13 + 2 * phase))
    widths = PX_PER_M * (26 + 6 * np.sin(steps * 9 + phase) + 4 * np.sin(steps * 23))
    points = list(zip(xs, steps * size, strict=True))
    parts = [
        LineString(pair).buffer(width / 2) for pair, width in zip(itertools.pairwise(points), widths, strict=False)
    ]
    return unary_union(parts).simplify(0.4)


def _blob(rng: Rng, x: float, y: float, radius: float, points: int = 48, rough: float = 0.16) -> Polygon:
    angles = np.linspace(0, 2 * math.pi, points, endpoint=False)
    radii = np.full(points, radius)
    for harmonic in range(2, 6):
        radii += radius * rough / harmonic * np.sin(harmonic * angles + rng.uniform(0, 2 * math.pi))
    return Polygon(np.column_stack([x + radii * np.cos(angles), y + radii * np.sin(angles)]))


def _warp(xy: npt.NDArray[np.float64], size: int) -> npt.NDArray[np.float64]:
    """Bend straight streets a little: towns are not drawn with a ruler."""
    x, y = xy[:, 0], xy[:, 1]
    return np.column_stack(
        [x + 22 * np.sin(y / size * 5.1) + 8 * np.sin(y / size * 11), y + 26 * np.sin(x / size * 4.3 + 0.7)]
    )


def _streets(rng: Rng, size: int, town: Polygon, wood: Polygon) -> Iterator[Street]:
    angle = math.radians(rng.uniform(6, 13))
    centre = np.array([size * 0.66, size * 0.5])
    along, across = np.array([math.cos(angle), math.sin(angle)]), np.array([-math.sin(angle), math.cos(angle)])
    reach = np.linspace(-size * 1.1, size * 1.1, 160)

    def line(origin: npt.NDArray[np.float64], direction: npt.NDArray[np.float64]) -> LineString:
        return LineString(_warp(origin + reach[:, None] * direction, size))

    yield Street(line=line(centre, along), width=9.5 * PX_PER_M, main=True)
    # A country lane on the other bank, so that there is a road among fields as well.
    lane = line(np.array([size * 0.05, size * 0.5]), across)
    yield Street(line=lane, width=4.5 * PX_PER_M, main=False)
    blocked = wood.buffer(10)
    for direction, other, spacing in ((along, across, (78.0, 96.0)), (across, along, (120.0, 165.0))):
        for side in (-1, 1):
            offset = 0.0 if direction is along else rng.uniform(-40, 10) * side
            while offset < size * GSD_M:
                offset += rng.uniform(*spacing)
                whole = (
                    line(centre + side * offset * PX_PER_M * other, direction).intersection(town).difference(blocked)
                )
                for part in getattr(whole, "geoms", [whole]):
                    if part.length > 60 * PX_PER_M and rng.random() > 0.06:
                        yield Street(line=part, width=rng.uniform(5.6, 6.8) * PX_PER_M, main=False)


def _buildings(rng: Rng, size: int, streets: tuple[Street, ...], blocked: Any) -> Iterator[Building]:
    shapely.prepare(blocked)
    frame = shapely.box(12, 12, size - 12, size - 12)
    placed: list[Polygon] = []
    centres: list[tuple[float, float]] = []
    for street in sorted(streets, key=lambda one: not one.main):
        country = street.width < 5 * PX_PER_M
        position = rng.uniform(5, 14) * PX_PER_M
        while position < street.line.length:
            for side in (-1, 1):
                if rng.random() < (0.9 if country else 0.1):
                    continue
                made = _building_at(rng, street, position, side)
                near = [
                    other
                    for other, (x, y) in zip(placed, centres, strict=True)
                    if math.hypot(x - made.outline.centroid.x, y - made.outline.centroid.y) < 80 * PX_PER_M
                ]
                room = made.outline.buffer(2.2 * PX_PER_M)
                if not frame.contains(made.outline) or blocked.intersects(room):
                    continue
                if any(room.intersects(other) for other in near):
                    continue
                placed.append(made.outline)
                centres.append((made.outline.centroid.x, made.outline.centroid.y))
                yield made
            position += rng.uniform(15.5, 24) * PX_PER_M


def _building_at(rng: Rng, street: Street, position: float, side: int) -> Building:
    here, ahead = street.line.interpolate(position), street.line.interpolate(position + 4)
    angle = math.atan2(ahead.y - here.y, ahead.x - here.x)
    large = (street.main and rng.random() < 0.5) or rng.random() < 0.05
    length_m = rng.uniform(22, 40) if large else rng.uniform(9, 14.5)
    depth_m = rng.uniform(14, 20) if large else rng.uniform(7.5, 10.5)
    back = side * (street.width / 2 + (rng.uniform(5, 9) + depth_m / 2) * PX_PER_M)
    x, y = here.x - math.sin(angle) * back, here.y + math.cos(angle) * back
    turned = angle + rng.normal(0, 0.02) + (math.pi / 2 if not large and rng.random() < 0.25 else 0.0)
    main_wing = Wing(x=x, y=y, a=length_m / 2 * PX_PER_M, b=depth_m / 2 * PX_PER_M, angle=turned)
    wings = [main_wing]
    if rng.random() < 0.34:
        shift, reach = main_wing.a * rng.choice([-0.45, 0.45]), main_wing.b * rng.uniform(0.75, 1.0) * side
        wx = x + math.cos(turned) * shift - math.sin(turned) * reach
        wy = y + math.sin(turned) * shift + math.cos(turned) * reach
        wings.append(
            Wing(x=wx, y=wy, a=main_wing.b * 0.9, b=main_wing.a * rng.uniform(0.3, 0.42), angle=turned + math.pi / 2)
        )
    outline = unary_union([wing.polygon for wing in wings])
    roof: RoofKind = "flat" if large or rng.random() < 0.1 else ("gable" if rng.random() < 0.65 else "hip")
    palette = [PALE, CONCRETE, GRAVEL] if roof == "flat" else [TERRACOTTA, TERRACOTTA, BROWN, SLATE, RED]
    base = np.array(palette[int(rng.integers(len(palette)))]) * rng.uniform(0.86, 1.1) + rng.normal(0, 4, 3)
    return Building(
        wings=tuple(wings),
        outline=outline,
        height_m=rng.uniform(6, 12) if large else rng.uniform(3.8, 7),
        roof=roof,
        colour=(float(base[0]), float(base[1]), float(base[2])),
    )


def _trees(
    rng: Rng, size: int, roads: Any, water: Any, wood: Polygon, town: Polygon, buildings: tuple[Building, ...]
) -> Iterator[Tree]:
    taken = unary_union([roads, water, *(building.outline for building in buildings)])
    shapely.prepare(taken)
    banks = water.buffer(11 * PX_PER_M).difference(water.buffer(1.5 * PX_PER_M))
    scale = (size / 2560) ** 2
    wanted = ((wood, 620 * scale, 1.0), (banks, 330 * scale, 0.9), (town, 900 * scale, 0.75))
    for area, count, grown in wanted:
        min_x, min_y, max_x, max_y = area.intersection(shapely.box(0, 0, size, size)).bounds
        shapely.prepare(area)
        found = 0
        for _ in range(int(count * 12)):
            if found >= count:
                break
            x, y = rng.uniform(min_x, max_x), rng.uniform(min_y, max_y)
            radius = grown * rng.uniform(1.5, 4.3) * PX_PER_M
            if not area.contains(Point(x, y)) or taken.distance(Point(x, y)) < radius + 1.5:
                continue
            found += 1
            outline = _blob(rng, x, y, radius, points=22, rough=0.3)
            yield Tree(x=x, y=y, radius=radius, height_m=3 + radius * GSD_M * 1.5, outline=outline)
