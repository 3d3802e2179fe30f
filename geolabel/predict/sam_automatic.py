"""Automatic masks: a grid of clicks on one embedding, filtered and made unique, as SAM's own generators do, faster.

What is saved: the embedding is computed once; the predicted quality is known before a mask is made, so that masks
below the threshold are never upscaled; the stability is bounded at low resolution before it is computed exactly; boxes
and duplicates come from all masks at once; run lengths are written for the masks that are left, at the very end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from geolabel.core.shapes import Mask
from geolabel.predict.sam_decoder import PreparedImage
from geolabel.predict.sam_models import SamModel, halving

#: Masks that are brought to chip size at once are limited to about this many pixels.
_PIXELS_AT_ONCE = 16_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class AutomaticSettings:
    """How masks are searched for; names and defaults are those of SAM 2's generator.

    Attributes:
        points_per_side: Grid of clicks, n × n.
        pred_iou_thresh: Least predicted quality.
        stability_score_thresh: Least IoU of the mask at a raised and a lowered cutoff.
        stability_score_offset: By how much the cutoff is raised and lowered.
        box_nms_thresh: Of two masks whose boxes overlap more, the surer one stays.
        min_area_px: Smaller masks are dropped.
        batch: Clicks decoded at once; 0: what suits the device.
    """

    points_per_side: int = 32
    pred_iou_thresh: float = 0.8
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    min_area_px: int = 0
    batch: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AutomaticMask:
    """One mask of a chip: run lengths, box (xmin, ymin, xmax, ymax) of pixel indexes, predicted IoU, stability."""

    mask: Mask
    box: tuple[int, int, int, int]
    score: float
    stability: float


def grid_points(per_side: int, width: int, height: int) -> npt.NDArray[np.float64]:
    """Return (n², 2) points in chip px, row by row, as SAM's generators place them."""
    offset = 1 / (2 * per_side)
    line = np.linspace(offset, 1 - offset, per_side)
    xx, yy = np.meshgrid(line, line)
    return np.stack([xx.ravel() * width, yy.ravel() * height], axis=1)


def automatic_masks(
    model: SamModel, image: PreparedImage, size: tuple[int, int], settings: AutomaticSettings | None = None
) -> list[AutomaticMask]:
    """Return the masks of a chip, the surest first.

    Args:
        model: Loaded.
        image: Prepared embedding of the chip.
        size: (width, height) of the chip, px.
        settings: Grid and thresholds.
    """
    settings = settings or AutomaticSettings()
    width, height = size
    points = grid_points(settings.points_per_side, width, height)
    batch = settings.batch or (256 if model.device.type == "cuda" else 4)
    steps = [points[i : i + batch] for i in range(0, len(points), batch)]
    found = halving(steps, 1, lambda some: [_step(model, image, size, step, settings) for step in some])
    logits = torch.cat([f[0] for f in found])
    scores = torch.cat([f[1] for f in found])
    if not len(scores):
        return []
    kept, boxes, stability = _filtered(logits, size, settings)
    if not len(kept):
        return []
    scores = scores[kept]
    order = _unique(boxes.float(), scores.float(), settings.box_nms_thresh)
    masks = _at_chip_size(logits[kept[order]], size) if len(order) else []
    return [
        AutomaticMask(
            mask=Mask.from_array(mask),
            box=(int(box[0]), int(box[1]), int(box[2]), int(box[3])),
            score=float(score),
            stability=float(stable),
        )
        for mask, box, score, stable in zip(
            masks, boxes[order].tolist(), scores[order].tolist(), stability[order].tolist(), strict=True
        )
    ]


def _step(
    model: SamModel,
    image: PreparedImage,
    size: tuple[int, int],
    points: npt.NDArray[np.float64],
    settings: AutomaticSettings,
) -> tuple[torch.Tensor, torch.Tensor]:
    coords = model.place(points[:, None, :], *size)
    labels = torch.ones(coords.shape[:2], dtype=torch.int32, device=model.device)
    logits, scores, _, _ = model.decode(
        image, coords, labels, multimask=True, iou_above=settings.pred_iou_thresh or None
    )
    logits = model.covered(logits, *size)
    likely = _maybe_stable(logits, settings)
    return logits[likely], scores[likely]


def _maybe_stable(logits: torch.Tensor, settings: AutomaticSettings) -> torch.Tensor:
    """Drop at low resolution what is unstable beyond doubt; the exact value is computed for the rest."""
    if not len(logits):
        return torch.zeros(0, dtype=torch.bool, device=logits.device)
    inner = (logits > settings.stability_score_offset).flatten(1).sum(1).float()
    outer = (logits > -settings.stability_score_offset).flatten(1).sum(1).float()
    # Interpolation moves the areas by a pixel of the outline at most; a tenth is ample for masks of any size.
    return (inner / outer.clamp(min=1) >= settings.stability_score_thresh - 0.1) & (outer > 0)


def _filtered(
    logits: torch.Tensor, size: tuple[int, int], settings: AutomaticSettings
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the indexes of masks that pass, their boxes and stabilities, from logits at chip size."""
    rows: list[int] = []
    boxes, stabilities = [], []
    for start, part in _parts(logits, size):
        offset = settings.stability_score_offset
        inner = (part > offset).flatten(1).sum(1)
        outer = (part > -offset).flatten(1).sum(1)
        stable = inner / outer
        inside = part > 0
        box, area = _boxes(inside)
        # As SAM does: what ends at the edge of a crop inside the image is dropped; a whole chip has no such edge.
        good = (stable >= settings.stability_score_thresh) & (area >= max(settings.min_area_px, 1))
        index = good.nonzero().flatten()
        rows += (index + start).tolist()
        boxes.append(box[index])
        stabilities.append(stable[index])
    empty = torch.zeros((0, 4), dtype=torch.int64, device=logits.device)
    return (
        torch.tensor(rows, dtype=torch.int64, device=logits.device),
        torch.cat(boxes) if boxes else empty,
        torch.cat(stabilities) if stabilities else empty[:, 0].float(),
    )


def _parts(logits: torch.Tensor, size: tuple[int, int]) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield masks brought to chip size, some at a time, with the index of the first."""
    width, height = size
    at_once = max(1, _PIXELS_AT_ONCE // (width * height))
    for start in range(0, len(logits), at_once):
        part = logits[start : start + at_once].unsqueeze(1)
        yield start, functional.interpolate(part, (height, width), mode="bilinear", align_corners=False).squeeze(1)


def _boxes(inside: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (m, 4) boxes of pixel indexes and (m,) areas of (m, row, col) masks."""
    in_rows, in_cols = inside.any(dim=2), inside.any(dim=1)
    height, width = in_rows.shape[1], in_cols.shape[1]
    top = in_rows.float().argmax(dim=1)
    bottom = height - 1 - in_rows.flip(1).float().argmax(dim=1)
    left = in_cols.float().argmax(dim=1)
    right = width - 1 - in_cols.flip(1).float().argmax(dim=1)
    return torch.stack([left, top, right, bottom], dim=1), inside.flatten(1).sum(1)


def _unique(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
    """Return the indexes that are left when of two overlapping boxes the surer stays, the surest first."""
    try:
        from torchvision.ops import nms

        order: torch.Tensor = nms(boxes, scores, threshold)
        return order
    except (ImportError, RuntimeError):
        return _plain_nms(boxes, scores, threshold)


def _plain_nms(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
    """The same without torchvision: all overlaps at once, then one pass."""
    order = scores.argsort(descending=True, stable=True)
    sorted_boxes = boxes[order]
    low = torch.maximum(sorted_boxes[:, None, :2], sorted_boxes[None, :, :2])
    high = torch.minimum(sorted_boxes[:, None, 2:], sorted_boxes[None, :, 2:])
    common = (high - low).clamp(min=0).prod(dim=2)
    area = (sorted_boxes[:, 2:] - sorted_boxes[:, :2]).prod(dim=1)
    union = area[:, None] + area[None, :] - common
    over = (common / union.clamp(min=1e-9) > threshold).cpu().numpy()
    alive = np.ones(len(order), dtype=bool)
    for i in range(len(order)):
        if alive[i]:
            alive[i + 1 :] &= ~over[i, i + 1 :]
    return order[torch.from_numpy(np.flatnonzero(alive)).to(order.device)]


def _at_chip_size(logits: torch.Tensor, size: tuple[int, int]) -> list[npt.NDArray[np.bool_]]:
    out: list[npt.NDArray[np.bool_]] = []
    for _, part in _parts(logits, size):
        out += list((part > 0).cpu().numpy())
    return out
