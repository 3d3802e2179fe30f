"""From low-resolution logits or a mask to the outline of the one object that a prompt shows."""

from __future__ import annotations

import math
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
import shapely
from shapely import affinity

from geolabel.predict.geometry import clean_polygon, label_polygons
from geolabel.predict.prompts import Prompt

_MARGIN = 2
#: Holes smaller than this share of the object are noise of a mask, not courtyards.
_HOLE_SHARE = 0.03
Outline: TypeAlias = shapely.Polygon | shapely.MultiPolygon


def outline_of_logits(logits: npt.NDArray[np.float32], size: tuple[int, int], prompt: Prompt) -> Outline:
    """Return the outline of the object, chip px; empty when there is none.

    Only the parts that the prompt points at are brought to chip resolution, so that the time follows the object's size.

    Args:
        logits: (h, w) over the whole chip, above 0 inside.
        size: (width, height) of the chip, px.
        prompt: In chip px.
    """
    width, height = size
    rows, cols = logits.shape
    fx, fy = cols / width, rows / height
    parts = _pointed_at(logits > 0, prompt, (fx, fy))
    if parts is None:
        return shapely.Polygon()
    row_on, col_on = np.flatnonzero(parts.any(axis=1)), np.flatnonzero(parts.any(axis=0))
    top, bottom = max(int(row_on[0]) - _MARGIN, 0), min(int(row_on[-1]) + _MARGIN + 1, rows)
    left, right = max(int(col_on[0]) - _MARGIN, 0), min(int(col_on[-1]) + _MARGIN + 1, cols)
    # Neighbouring parts that were not meant must not grow back in the interpolation.
    others = (logits > 0) & ~parts
    crop = np.where(others, np.float32(-1e-3), logits)[top:bottom, left:right]
    x0, y0 = math.floor(left / fx), math.floor(top / fy)
    x1, y1 = min(math.ceil(right / fx), width), min(math.ceil(bottom / fy), height)
    # Pixel centres: chip (x + 0.5)·f − 0.5 = logit; the same rule as torch's align_corners=False.
    matrix = np.array([[fx, 0, (x0 + 0.5) * fx - 0.5 - left], [0, fy, (y0 + 0.5) * fy - 0.5 - top]], dtype=np.float64)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    large = cv2.warpAffine(crop, matrix, (x1 - x0, y1 - y0), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    outline = outline_of_mask(large > 0, prompt, (x0, y0))
    return affinity.translate(outline, x0, y0) if not outline.is_empty else outline


def outline_of_mask(
    mask: npt.NDArray[np.bool_], prompt: Prompt | None = None, offset: tuple[int, int] = (0, 0)
) -> Outline:
    """Return the outline of a (row, col) mask without tiny parts and holes, in px of the mask.

    Holes that a person asked for by a negative click are kept, however small.

    Args:
        mask: Inside is True.
        prompt: In chip px, or None.
        offset: Column and row of the mask's corner on the chip.
    """
    found = label_polygons(mask.astype(np.int32)).get(1)
    if found is None:
        return shapely.Polygon()
    whole = found.area
    clicks = () if prompt is None else prompt.clicks
    wanted = shapely.MultiPoint([(c.x - offset[0], c.y - offset[1]) for c in clicks if not c.positive])
    parts = [
        shapely.Polygon(part.exterior, [h for h in part.interiors if _is_hole(h, whole, wanted)])
        for part in shapely.get_parts(found)
        if part.area >= 0.02 * whole
    ]
    return clean_polygon(parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts))


def _is_hole(ring: shapely.LinearRing, whole: float, wanted: shapely.MultiPoint) -> bool:
    hole = shapely.Polygon(ring)
    return bool(hole.area >= _HOLE_SHARE * whole or hole.intersects(wanted))


def _pointed_at(
    mask: npt.NDArray[np.bool_], prompt: Prompt, scale: tuple[float, float]
) -> npt.NDArray[np.bool_] | None:
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    if count <= 1:
        return None
    rows, cols = mask.shape
    wanted: set[int] = set()
    for click in prompt.positive:
        col, row = min(int(click.x * scale[0]), cols - 1), min(int(click.y * scale[1]), rows - 1)
        near = parts[max(row - 1, 0) : row + 2, max(col - 1, 0) : col + 2]
        wanted |= {int(i) for i in np.unique(near)} - {0}
    areas = stats[1:, cv2.CC_STAT_AREA]
    if prompt.box is not None and not wanted:
        xmin, ymin, xmax, ymax = prompt.box
        inside = parts[
            int(ymin * scale[1]) : max(math.ceil(ymax * scale[1]), int(ymin * scale[1]) + 1),
            int(xmin * scale[0]) : max(math.ceil(xmax * scale[0]), int(xmin * scale[0]) + 1),
        ]
        found = np.bincount(inside.ravel(), minlength=count)[1:]
        if found.any():
            wanted = {int(i) + 1 for i in np.flatnonzero(found >= 0.1 * found.max())}
    if not wanted:
        wanted = {int(np.argmax(areas)) + 1}
    return np.isin(parts, list(wanted))
