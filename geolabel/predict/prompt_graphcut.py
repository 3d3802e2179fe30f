"""Clicks and boxes to masks without any weights: a graph cut on colour around the prompt."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from geolabel.predict.prompts import BoxPx, Click, Prompt

Mask2D = npt.NDArray[np.bool_]
VERSION = "1"
#: Longest edge on which the cut is computed, px; larger windows are shrunk.
WORK_PX = 192
_ITERATIONS = 3
_CLICK_WINDOWS_PX = (48, 96, 192)
_BOX_MARGIN = 0.35
_SEED_PX = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """A window of the chip shrunk to work size: its corner, size on the chip, and the factor."""

    left: int
    top: int
    width: int
    height: int
    scale: float
    rgb: npt.NDArray[np.uint8]
    valid: Mask2D

    def place(self, x: float, y: float) -> tuple[int, int]:
        """Return column and row in the view, clamped."""
        col = int((x - self.left) * self.scale)
        row = int((y - self.top) * self.scale)
        return min(max(col, 0), self.rgb.shape[1] - 1), min(max(row, 0), self.rgb.shape[0] - 1)


def segment_prompt(rgb: npt.NDArray[np.uint8], valid: Mask2D, prompt: Prompt) -> tuple[Mask2D, float]:
    """Cut out the object that a prompt shows.

    The box, where there is one, is a prior: nothing outside belongs to the object. Clicks are hard seeds. With clicks
    alone, windows of three sizes are cut and the one whose outline follows the strongest edges is taken.

    Args:
        rgb: (row, col, 3) uint8, what the annotator saw.
        valid: (row, col) bool; pixels without data never belong to an object.
        prompt: In px of `rgb`.

    Returns:
        (row, col) bool mask, and 0 to 1: how well its outline agrees with edges of the picture.
    """
    height, width = valid.shape
    if not prompt.usable or min(height, width) < 3 or not valid.any():
        return np.zeros_like(valid), 0.0
    if prompt.box is not None:
        windows = [_around_box(prompt.box, width, height)]
    else:
        windows = _around_clicks(prompt, width, height)
    best, best_score = np.zeros_like(valid), -1.0
    for window in windows:
        view = _view(rgb, valid, window)
        mask = _cut(view, prompt)
        score = _edge_score(view, mask)
        if score > best_score:
            best, best_score = _back(view, mask, prompt, (height, width)), score
    return best & valid, max(0.0, min(1.0, best_score))


def _around_box(box: BoxPx, width: int, height: int) -> tuple[int, int, int, int]:
    xmin, ymin, xmax, ymax = box
    pad_x, pad_y = max((xmax - xmin) * _BOX_MARGIN, 4), max((ymax - ymin) * _BOX_MARGIN, 4)
    return _clip(xmin - pad_x, ymin - pad_y, xmax + pad_x, ymax + pad_y, width, height)


def _around_clicks(prompt: Prompt, width: int, height: int) -> list[tuple[int, int, int, int]]:
    xs, ys = [c.x for c in prompt.positive], [c.y for c in prompt.positive]
    windows = []
    for size in _CLICK_WINDOWS_PX:
        half = size / 2
        window = _clip(min(xs) - half, min(ys) - half, max(xs) + half, max(ys) + half, width, height)
        if window not in windows:
            windows.append(window)
    return windows


def _clip(x0: float, y0: float, x1: float, y1: float, width: int, height: int) -> tuple[int, int, int, int]:
    left, top = max(int(np.floor(x0)), 0), max(int(np.floor(y0)), 0)
    return left, top, min(int(np.ceil(x1)), width), min(int(np.ceil(y1)), height)


def _view(rgb: npt.NDArray[np.uint8], valid: Mask2D, window: tuple[int, int, int, int]) -> _View:
    left, top, right, bottom = window
    crop, ok = rgb[top:bottom, left:right], valid[top:bottom, left:right]
    scale = min(1.0, WORK_PX / max(crop.shape[:2]))
    if scale < 1.0:
        size = (max(3, round(crop.shape[1] * scale)), max(3, round(crop.shape[0] * scale)))
        crop = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
        ok = cv2.resize(ok.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    return _View(
        left=left, top=top, width=right - left, height=bottom - top, scale=scale,
        rgb=np.ascontiguousarray(crop), valid=ok,
    )  # fmt: skip


def _cut(view: _View, prompt: Prompt) -> Mask2D:
    """Cut the view by GrabCut, from colour near the seeds and the box."""
    trimap = _trimap(view, prompt)
    foreground = (trimap == cv2.GC_FGD) | (trimap == cv2.GC_PR_FGD)
    background = ~foreground
    if foreground.sum() < 5 or background.sum() < 5:
        return np.asarray(foreground & view.valid)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    lab = cv2.cvtColor(cv2.bilateralFilter(view.rgb, 5, 30, 5), cv2.COLOR_RGB2LAB)
    # The clustering inside draws from a generator of this thread; seeded, the same prompt gives the same mask.
    cv2.setRNGSeed(7)
    try:
        cv2.grabCut(lab, trimap, None, *models, _ITERATIONS, cv2.GC_INIT_WITH_MASK)
    except cv2.error:
        # One colour only: there is nothing to tell apart, and the seeds' neighbourhood is all that can be said.
        return np.asarray(foreground & view.valid)
    mask = (trimap == cv2.GC_FGD) | (trimap == cv2.GC_PR_FGD)
    return _tidy(mask & view.valid, view, prompt)


def _trimap(view: _View, prompt: Prompt) -> npt.NDArray[np.uint8]:
    rows, cols = view.valid.shape
    trimap = np.full((rows, cols), cv2.GC_PR_BGD, np.uint8)
    if prompt.box is not None:
        (c0, r0), (c1, r1) = view.place(*prompt.box[:2]), view.place(*prompt.box[2:])
        inside = np.zeros((rows, cols), bool)
        inside[r0 : r1 + 1, c0 : c1 + 1] = True
        trimap[~inside] = cv2.GC_BGD
        trimap[inside] = cv2.GC_PR_FGD
    else:
        trimap[_like_seeds(view, prompt.positive)] = cv2.GC_PR_FGD
        rim = max(1, min(rows, cols) // 24)
        edge = np.ones((rows, cols), bool)
        edge[rim:-rim, rim:-rim] = False
        trimap[edge & (trimap != cv2.GC_PR_FGD)] = cv2.GC_BGD
    trimap[~view.valid] = cv2.GC_BGD
    for click in prompt.clicks:
        col, row = view.place(click.x, click.y)
        radius = _SEED_PX if click.positive else _SEED_PX * 2
        value = cv2.GC_FGD if click.positive else cv2.GC_BGD
        cv2.circle(trimap, (col, row), radius, int(value), -1)
    return trimap


def _like_seeds(view: _View, seeds: tuple[Click, ...]) -> Mask2D:
    """Return the connected pixels around the seeds whose colour is like theirs; the cut starts from them."""
    lab = cv2.cvtColor(cv2.GaussianBlur(view.rgb, (0, 0), 1.0), cv2.COLOR_RGB2LAB).astype(np.float32)
    out = np.zeros(view.valid.shape, bool)
    for seed in seeds:
        col, row = view.place(seed.x, seed.y)
        patch = lab[max(row - 2, 0) : row + 3, max(col - 2, 0) : col + 3].reshape(-1, 3)
        distance = np.linalg.norm(lab - np.median(patch, axis=0), axis=2)
        limit = max(8.0, 2.5 * float(patch.std(axis=0).max()), float(np.percentile(distance, 20)))
        count, parts = cv2.connectedComponents((distance <= min(limit, 28.0)).astype(np.uint8))
        if count > 1 and parts[row, col]:
            out |= parts == parts[row, col]
        out[max(row - 2, 0) : row + 3, max(col - 2, 0) : col + 3] = True
    return out


def _tidy(mask: Mask2D, view: _View, prompt: Prompt) -> Mask2D:
    """Keep the parts that the prompt points at, without crumbs and small holes."""
    small = mask.astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    opened = cv2.morphologyEx(small, cv2.MORPH_OPEN, kernel)
    small = opened if opened.any() else small
    count, parts, stats, _ = cv2.connectedComponentsWithStats(small, connectivity=4)
    if count <= 1:
        return mask
    wanted = {int(parts[view.place(c.x, c.y)[::-1]]) for c in prompt.positive} - {0}
    if not wanted:
        areas = stats[1:, cv2.CC_STAT_AREA]
        wanted = {int(i) + 1 for i in np.flatnonzero(areas >= 0.3 * areas.max())}
        if prompt.positive:
            wanted = {int(np.argmax(areas)) + 1}
    kept = np.isin(parts, list(wanted)).astype(np.uint8)
    return _without_small_holes(kept, prompt, view)


def _without_small_holes(mask: npt.NDArray[np.uint8], prompt: Prompt, view: _View) -> Mask2D:
    count, parts, stats, _ = cv2.connectedComponentsWithStats(1 - mask, connectivity=4)
    negative = {int(parts[view.place(c.x, c.y)[::-1]]) for c in prompt.clicks if not c.positive}
    largest = max(12, 0.05 * int(mask.sum()))
    rows, cols = mask.shape
    for i in range(1, count):
        left, top, width, height, area = stats[i][:5]
        touches = left == 0 or top == 0 or left + width == cols or top + height == rows
        if area <= largest and not touches and i not in negative:
            mask[parts == i] = 1
    return mask > 0


def _edge_score(view: _View, mask: Mask2D) -> float:
    """Return how much of the picture's edges the outline follows, 0 to 1; 0 for nothing or everything."""
    share = float(mask.mean())
    if share == 0.0 or share > 0.97:
        return 0.0
    grey = cv2.GaussianBlur(cv2.cvtColor(view.rgb, cv2.COLOR_RGB2GRAY), (0, 0), 1.0).astype(np.float32)
    strength = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    small = mask.astype(np.uint8)
    outline = (cv2.dilate(small, np.ones((3, 3), np.uint8)) - cv2.erode(small, np.ones((3, 3), np.uint8))) > 0
    if not outline.any():
        return 0.0
    along, typical = float(strength[outline].mean()), float(strength.mean()) + 1e-6
    rim = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]]).mean()
    return float(np.clip(along / (along + typical), 0, 1) * (1.0 - 0.7 * rim))


def _back(view: _View, mask: Mask2D, prompt: Prompt, size: tuple[int, int]) -> Mask2D:
    """Put the mask of a view onto the whole chip."""
    out = np.zeros(size, bool)
    small = mask.astype(np.float32)
    if view.scale < 1.0:
        small = cv2.resize(small, (view.width, view.height), interpolation=cv2.INTER_LINEAR)
    out[view.top : view.top + view.height, view.left : view.left + view.width] = small > 0.5
    for click in prompt.clicks:
        if not click.positive:
            out[int(click.y), int(click.x)] = False
    return out
