"""Paint the planned scene: fields, water, streets, shadows, roofs and crowns, as an aerial camera sees them."""

from __future__ import annotations

import itertools
import math
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
import shapely

from geolabel.local.synthetic_layout import GSD_M, PX_PER_M, Building, Layout, Rng, Street, Tree, Wing

Image: TypeAlias = npt.NDArray[Any]  # (row, col, 3) float32, red green blue, 0 to 255
Mask: TypeAlias = npt.NDArray[Any]  # (row, col) float32, 0 to 1

#: Unit vector in px towards the sun's foot point (south-east), and metres of shadow per metre of height (sun at 42°).
SUN = np.array([0.62, 0.785])
SHADOW_PER_M = 1.0 / math.tan(math.radians(42))
SHADOW_TINT = np.array([0.40, 0.46, 0.56], dtype=np.float32)
_SHIFT = 4


def paint(layout: Layout, seed: int) -> npt.NDArray[np.uint8]:
    """Paint a layout.

    Returns:
        (row, col, 3) uint8, red, green, blue.
    """
    rng = np.random.default_rng(seed + 1)
    image: Image = _ground(layout, rng)
    _paint_gardens(image, layout, rng)
    _paint_water(image, layout, rng)
    _paint_streets(image, layout, rng)
    _paint_cars(image, layout, rng)
    _paint_shadows(image, layout)
    for building in layout.buildings:
        _paint_building(image, building, rng)
    for tree in sorted(layout.trees, key=lambda one: one.radius):
        _paint_tree(image, tree, rng)
    image = cv2.GaussianBlur(image, (0, 0), 0.65)
    haze = np.array([7.0, 9.0, 13.0], dtype=np.float32)
    image = image * 0.96 + haze + rng.normal(0, 2.0, image.shape).astype(np.float32)
    # A little less colour than the palette has: the air between does that to every aerial photograph.
    grey = image.mean(axis=2, keepdims=True)
    painted: npt.NDArray[np.uint8] = np.clip(grey + 0.84 * (image - grey), 1, 254).astype(np.uint8)
    return painted


def _noise(rng: Rng, size: int, cell_px: float, octaves: int = 4) -> Mask:
    """Smooth noise of mean 0 and deviation near 1 whose largest features measure ``cell_px``."""
    total = np.zeros((size, size), np.float32)
    weight = 1.0
    for octave in range(octaves):
        count = max(2, int(size / (cell_px / 2**octave)) + 2)
        grid = rng.standard_normal((count, count)).astype(np.float32)
        total += weight * cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC)
        weight *= 0.55
    return total / np.float32(total.std() + 1e-6)


def _fill(mask: npt.NDArray[np.uint8], geometry: Any, origin: tuple[float, float] = (0.0, 0.0)) -> None:
    """Fill polygons with smooth edges; a pixel's centre lies at half coordinates, OpenCV's at whole ones."""
    for part in getattr(geometry, "geoms", [geometry]):
        if part.geom_type != "Polygon" or part.is_empty:
            continue
        rings = [part.exterior, *part.interiors]
        points = [
            np.round((np.asarray(ring.coords)[:, :2] - origin - 0.5) * (1 << _SHIFT)).astype(np.int32) for ring in rings
        ]
        cv2.fillPoly(mask, points, 255, lineType=cv2.LINE_AA, shift=_SHIFT)


def _mask(size: int, geometry: Any) -> Mask:
    mask = np.zeros((size, size), np.uint8)
    _fill(mask, geometry)
    return mask.astype(np.float32) / 255


def _blend(image: Image, mask: Mask, colour: Any) -> None:
    image += mask[..., None] * (np.asarray(colour, np.float32) - image)


def _ground(layout: Layout, rng: Rng) -> Image:
    """Meadow everywhere, and fields with rows on the far bank."""
    size = layout.size_px
    dry = np.clip(0.5 + 0.28 * _noise(rng, size, 420), 0, 1)[..., None]
    image = dry * np.array([138, 134, 92], np.float32) + (1 - dry) * np.array([92, 112, 62], np.float32)
    image += 5.0 * _noise(rng, size, 40)[..., None] + rng.normal(0, 5, (size, size, 1)).astype(np.float32)
    crops = [(166, 150, 100), (104, 128, 66), (142, 118, 92), (124, 140, 80), (178, 164, 118), (88, 112, 60)]
    west = layout.size_px * 0.36
    edges = np.linspace(-0.02, 1.02, 8) * size
    for top, bottom in itertools.pairwise(edges):
        split = rng.uniform(0.35, 0.65) * west
        for left, right in ((-10.0, split), (split, west)):
            tilt = rng.uniform(-30, 30)
            ring = [(left, top + tilt), (right, top - tilt), (right, bottom - tilt), (left, bottom + tilt)]
            colour = np.array(crops[int(rng.integers(len(crops)))], np.float32) + rng.normal(0, 5)
            _paint_field(image, shapely.Polygon(ring).buffer(-4), colour, rng)
    ground: Image = image.astype(np.float32)
    return ground


def _paint_field(image: Image, field: Any, colour: Any, rng: Rng) -> None:
    """Paint one field with rows of a direction and distance of its own."""
    window = _window(image, field)
    if window is None:
        return
    patch, mask, (x0, y0) = window
    ys, xs = np.mgrid[0 : mask.shape[0], 0 : mask.shape[1]].astype(np.float32)
    angle, period = rng.uniform(0, math.pi), rng.uniform(6, 13)
    rows = np.sin(((xs + x0) * math.cos(angle) + (ys + y0) * math.sin(angle)) * (2 * math.pi / period))
    texture = colour + (4.5 * rows + rng.normal(0, 4, mask.shape))[..., None]
    patch += mask[..., None] * (texture.astype(np.float32) - patch)


def _paint_gardens(image: Image, layout: Layout, rng: Rng) -> None:
    """Give the ground around every house a tint of its own, and pave the yards of large ones."""
    size = layout.size_px
    if not layout.buildings:
        return
    seeds = np.full((size, size), 255, np.uint8)
    for building in layout.buildings:
        centre = building.outline.centroid
        seeds[min(size - 1, int(centre.y)), min(size - 1, int(centre.x))] = 0
    distance, labels = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    tints = rng.normal(0, 1, (int(labels.max()) + 1, 1)) * np.array([13.0, 9.0, 8.0])
    near = np.clip(1.4 - distance / (22 * PX_PER_M), 0, 1).astype(np.float32)
    image += near[..., None] * tints[labels].astype(np.float32)
    for building in layout.buildings:
        if building.roof == "flat" and building.outline.area > 300 * PX_PER_M**2:
            yard = building.outline.minimum_rotated_rectangle.buffer(6 * PX_PER_M, join_style="mitre")
            _paint_patch(image, yard.difference(layout.water), (142, 138, 132), rng, rough=5.0)


def _paint_patch(image: Image, geometry: Any, colour: Any, rng: Rng, rough: float) -> None:
    window = _window(image, geometry)
    if window is None:
        return
    patch, mask, _ = window
    texture = np.asarray(colour, np.float32) + rng.normal(0, rough, (*mask.shape, 1)).astype(np.float32)
    patch += mask[..., None] * (texture - patch)


def _window(image: Image, geometry: Any) -> tuple[Image, Mask, tuple[int, int]] | None:
    """Return the part of the image around a geometry, its mask there and the part's origin (x, y)."""
    if geometry.is_empty:
        return None
    left, top, right, bottom = geometry.bounds
    x0, y0 = max(0, math.floor(left) - 1), max(0, math.floor(top) - 1)
    x1, y1 = min(image.shape[1], math.ceil(right) + 1), min(image.shape[0], math.ceil(bottom) + 1)
    if x1 <= x0 or y1 <= y0:
        return None
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    _fill(mask, geometry, (x0, y0))
    return image[y0:y1, x0:x1], mask.astype(np.float32) / 255, (x0, y0)


def _paint_water(image: Image, layout: Layout, rng: Rng) -> None:
    size = layout.size_px
    bank = _mask(size, layout.water.buffer(2.4 * PX_PER_M).difference(layout.water))
    _blend(image, 0.65 * cv2.GaussianBlur(bank, (0, 0), 2), (112, 104, 78))
    water = _mask(size, layout.water)
    depth = cv2.GaussianBlur(water, (0, 0), 22)[..., None]
    colour = (1 - depth) * np.array([88, 104, 92], np.float32) + depth * np.array([44, 72, 78], np.float32)
    colour += 2.4 * _noise(rng, size, 26, 3)[..., None] + 3.0 * _noise(rng, size, 300, 2)[..., None]
    image += water[..., None] * (colour.astype(np.float32) - image)


def _paint_streets(image: Image, layout: Layout, rng: Rng) -> None:
    size = layout.size_px
    pavement = _mask(size, layout.roads.buffer(1.7 * PX_PER_M).difference(layout.water))
    town = _mask(size, layout.town)
    _blend(image, 0.85 * pavement * town, (158, 154, 148))
    roads = _mask(size, layout.roads)
    wear = 4.5 * _noise(rng, size, 90, 4) + rng.normal(0, 3.2, (size, size)).astype(np.float32)
    asphalt = np.array([112, 112, 114], np.float32) + wear[..., None]
    image += roads[..., None] * (asphalt.astype(np.float32) - image)
    lines = np.zeros((size, size), np.uint8)
    for street in layout.streets:
        _mark_street(lines, street)
    _blend(image, 0.72 * roads * lines.astype(np.float32) / 255, (216, 214, 204))


def _mark_street(lines: npt.NDArray[np.uint8], street: Street) -> None:
    """Draw edge lines and centre dashes of the main road, centre dashes of wider streets."""
    if street.main:
        for offset in (-0.44, 0.44):
            edge = street.line.offset_curve(offset * street.width)
            _fill(lines, edge.buffer(0.35, cap_style="flat"))
    elif street.width < 6.2 * PX_PER_M:
        return
    position = 0.0
    while position < street.line.length:
        dash = shapely.ops.substring(street.line, position, position + 3 * PX_PER_M)
        _fill(lines, dash.buffer(0.35, cap_style="flat"))
        position += 9 * PX_PER_M


def _paint_cars(image: Image, layout: Layout, rng: Rng) -> None:
    colours = [(226, 226, 228), (52, 54, 60), (150, 30, 32), (40, 66, 128), (176, 178, 182), (96, 98, 102)]
    for street in layout.streets:
        position = rng.uniform(5, 40) * PX_PER_M
        while position < street.line.length - 10:
            here, ahead = street.line.interpolate(position), street.line.interpolate(position + 3)
            angle = math.atan2(ahead.y - here.y, ahead.x - here.x)
            side = (0.25 if street.main else 0.34) * street.width * (1 if rng.random() < 0.5 else -1)
            car = Wing(
                x=here.x - math.sin(angle) * side,
                y=here.y + math.cos(angle) * side,
                a=2.2 * PX_PER_M,
                b=0.9 * PX_PER_M,
                angle=angle,
            )
            colour = colours[int(rng.integers(len(colours)))]
            _paint_patch(image, shapely.affinity.translate(car.polygon, *(-SUN * 2.2)), (62, 64, 68), rng, rough=1.0)
            _paint_patch(image, car.polygon, colour, rng, rough=2.0)
            glass = Wing(x=car.x, y=car.y, a=car.a * 0.42, b=car.b * 0.8, angle=angle)
            _paint_patch(image, glass.polygon, np.array(colour) * 0.45 + 20, rng, rough=1.0)
            position += rng.exponential(38 if street.main else 60) * PX_PER_M + 8 * PX_PER_M


def _paint_shadows(image: Image, layout: Layout) -> None:
    mask = np.zeros(image.shape[:2], np.uint8)
    for building in layout.buildings:
        dx, dy = -SUN * building.height_m * SHADOW_PER_M * PX_PER_M
        for wing in building.wings:
            outline = wing.polygon
            _fill(mask, shapely.union(outline, shapely.affinity.translate(outline, dx, dy)).convex_hull)
    for tree in layout.trees:
        dx, dy = -SUN * tree.height_m * 0.75 * SHADOW_PER_M * PX_PER_M
        _fill(mask, shapely.affinity.translate(tree.outline, dx, dy))
    shade = cv2.GaussianBlur(mask, (0, 0), 0.9).astype(np.float32)[..., None] / 255
    image *= 1 - shade * (1 - SHADOW_TINT)


def _paint_building(image: Image, building: Building, rng: Rng) -> None:
    for wing in reversed(building.wings):
        window = _window(image, wing.polygon)
        if window is None:
            continue
        patch, mask, (x0, y0) = window
        ys, xs = np.mgrid[0 : mask.shape[0], 0 : mask.shape[1]].astype(np.float32)
        dx, dy = xs + x0 + 0.5 - wing.x, ys + y0 + 0.5 - wing.y
        cos, sin = math.cos(wing.angle), math.sin(wing.angle)
        u, v = (dx * cos + dy * sin) / wing.a, (-dx * sin + dy * cos) / wing.b
        shade, texture = _roof_shade(building.roof, u, v, wing, (cos, sin))
        texture = texture + rng.normal(0, 2.6, mask.shape).astype(np.float32) + 3.5 * rng.normal()
        roof = np.array(building.colour, np.float32) * shade[..., None] + texture[..., None]
        patch += mask[..., None] * (roof - patch)
        if building.roof == "flat":
            _paint_roof_units(image, wing, rng)
        elif rng.random() < 0.6:
            _paint_chimney(image, wing, rng)


def _roof_shade(
    kind: str, u: Mask, v: Mask, wing: Wing, axis: tuple[float, float]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Brightness by how each face looks at the sun, and the texture of tiles.

    Args:
        kind: Kind of roof.
        u, v: Position along and across the ridge, -1 to 1 within the roof.
        wing: The roof's rectangle.
        axis: Cosine and sine of the ridge's angle.
    """
    cos, sin = axis
    towards_v, towards_u = float(SUN @ (-sin, cos)), float(SUN @ (cos, sin))
    if kind == "flat":
        rim = np.maximum(np.abs(u) * wing.a - wing.a, np.abs(v) * wing.b - wing.b) > -1.6
        inner = (u * np.sign(towards_u) * wing.a > wing.a - 4.5) | (v * np.sign(towards_v) * wing.b > wing.b - 4.5)
        shade = np.where(rim, 1.12, np.where(inner, 0.86, 1.0))
        return shade.astype(np.float32), np.zeros_like(u)
    slope_v = np.sign(v) * towards_v
    shade = 1 + 0.27 * slope_v
    if kind == "hip":
        end = (1 - np.abs(u)) * wing.a < (1 - np.abs(v)) * wing.b
        shade = np.where(end, 1 + 0.27 * np.sign(u) * towards_u, shade)
    ridge = np.abs(v) * wing.b < 0.7
    shade = np.where(ridge & (kind == "gable"), 1.16, shade)
    tiles = 3.2 * np.sin(v * wing.b * (2 * math.pi / 2.6)) + 1.6 * np.sin(u * wing.a * (2 * math.pi / 3.4))
    return shade.astype(np.float32), tiles.astype(np.float32)


def _on_roof(wing: Wing, u: float, v: float, a: float, b: float) -> Wing:
    cos, sin = math.cos(wing.angle), math.sin(wing.angle)
    x = wing.x + cos * u * wing.a - sin * v * wing.b
    y = wing.y + sin * u * wing.a + cos * v * wing.b
    return Wing(x=x, y=y, a=a, b=b, angle=wing.angle)


def _paint_roof_units(image: Image, wing: Wing, rng: Rng) -> None:
    """Put machines and skylights with their shadows on a flat roof."""
    for _ in range(int(rng.integers(1, 3 + int(wing.a * wing.b * GSD_M**2 / 40)))):
        unit = _on_roof(
            wing, rng.uniform(-0.75, 0.75), rng.uniform(-0.65, 0.65), rng.uniform(2.2, 4.5), rng.uniform(2, 3.4)
        )
        shadow = shapely.affinity.translate(unit.polygon, *(-SUN * 3.2))
        _paint_patch(image, shadow, (92, 94, 100), rng, rough=2.0)
        _paint_patch(image, unit.polygon, (196, 198, 200) if rng.random() < 0.7 else (120, 128, 138), rng, rough=3.0)


def _paint_chimney(image: Image, wing: Wing, rng: Rng) -> None:
    chimney = _on_roof(wing, rng.uniform(-0.6, 0.6), rng.uniform(-0.3, 0.3), 1.3, 1.1)
    _paint_patch(image, shapely.affinity.translate(chimney.polygon, *(-SUN * 2.6)), (66, 58, 56), rng, rough=2.0)
    _paint_patch(image, chimney.polygon, (150, 120, 108), rng, rough=3.0)


def _paint_tree(image: Image, tree: Tree, rng: Rng) -> None:
    window = _window(image, tree.outline)
    if window is None:
        return
    patch, mask, (x0, y0) = window
    ys, xs = np.mgrid[0 : mask.shape[0], 0 : mask.shape[1]].astype(np.float32)
    dx, dy = (xs + x0 + 0.5 - tree.x) / tree.radius, (ys + y0 + 0.5 - tree.y) / tree.radius
    lit = np.clip(0.5 + 0.55 * (dx * SUN[0] + dy * SUN[1]), 0, 1.15)
    leaves = rng.normal(0, 1, mask.shape).astype(np.float32)
    leaves = cv2.GaussianBlur(leaves, (0, 0), 1.3) * 2.6
    kind = np.array([62, 88, 44] if rng.random() < 0.75 else [86, 96, 48], np.float32) * rng.uniform(0.82, 1.18)
    colour = kind * (0.5 + 0.78 * lit[..., None]) + 9.0 * leaves[..., None]
    patch += mask[..., None] * (colour.astype(np.float32) - patch)
