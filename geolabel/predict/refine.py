"""From class probabilities per pixel to smooth objects whose borders follow the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refinement:
    """How probabilities become objects.

    Attributes:
        guide_radius_px: Window of the guided filter; 0 turns it off.
        guide_eps: Contrast (squared, picture scaled to 0 to 1) below which the filter smooths.
        smooth_px: Gaussian smoothing of the probabilities before anything else, px.
        fill_holes_px: Holes smaller than this many pixels are filled.
    """

    guide_radius_px: int = 8
    guide_eps: float = 1e-3
    smooth_px: float = 1.0
    fill_holes_px: int = 32


def refine_probabilities(probabilities: Plane, rgb: npt.NDArray[np.uint8], settings: Refinement) -> Plane:
    """Smooth (class, row, col) probabilities along the borders of the picture.

    Source: guided image filter, He, Sun and Tang 2013, with the grey picture as guide.

    Args:
        probabilities: (class, row, col) float32, 0 to 1, summing to 1.
        rgb: (row, col, 3) uint8.
        settings: Radii and contrast.

    Returns:
        The same shape and dtype, 0 to 1, summing to 1.
    """
    import cv2

    planes = probabilities
    if settings.smooth_px > 0:
        planes = np.stack([cv2.GaussianBlur(plane, (0, 0), settings.smooth_px) for plane in planes])
    if settings.guide_radius_px > 0:
        guide = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255.0
        planes = np.stack([_guided(plane, guide, settings.guide_radius_px, settings.guide_eps) for plane in planes])
    planes = np.clip(planes, 0.0, 1.0)
    total = planes.sum(axis=0, keepdims=True)
    return np.asarray(planes / np.maximum(total, 1e-6), dtype=np.float32)


def _guided(plane: Plane, guide: Plane, radius: int, eps: float) -> Plane:
    import cv2

    size = (2 * radius + 1, 2 * radius + 1)

    def mean(image: Plane) -> Plane:
        return np.asarray(cv2.blur(image, size, borderType=cv2.BORDER_REFLECT), dtype=np.float32)

    mean_guide, mean_plane = mean(guide), mean(plane)
    variance = mean(guide * guide) - mean_guide**2
    slope = (mean(guide * plane) - mean_guide * mean_plane) / (variance + np.float32(eps))
    offset = mean_plane - slope * mean_guide
    return mean(slope) * guide + mean(offset)


def objects_of_class(
    mask: npt.NDArray[np.bool_], min_area_px: float, *, neck_px: int = 0, fill_holes_px: int = 32
) -> npt.NDArray[np.int32]:
    """Return the objects of a (row, col) mask as int32 labels from 1: holes filled, crumbs gone.

    With `neck_px` above 0 the class consists of compact things that may touch: necks thinner than twice `neck_px` are
    cut, and what still hangs together is split by a watershed over the distance to the border.
    """
    import cv2

    clean = mask.astype(np.uint8)
    radius = max(neck_px, 1)
    if min(mask.shape) > 4 * radius:
        clean = _opened(clean, radius)
    clean = _without_small_holes(clean, fill_holes_px)
    if neck_px > 0:
        labels = _split(clean)
    else:
        labels = np.asarray(cv2.connectedComponents(clean, connectivity=4)[1], dtype=np.int32)
    count = int(labels.max(initial=0))
    if count == 0:
        return labels
    sizes = np.bincount(labels.reshape(-1), minlength=count + 1)
    keep = np.zeros(count + 1, dtype=np.int32)
    chosen = np.flatnonzero(sizes[1:] >= max(min_area_px, 1.0)) + 1
    keep[chosen] = np.arange(1, chosen.size + 1, dtype=np.int32)
    return np.asarray(keep[labels], dtype=np.int32)


def _opened(mask: npt.NDArray[np.uint8], radius: int) -> npt.NDArray[np.uint8]:
    """Open the mask; the edge of the chip is no border of an object."""
    import cv2

    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    padded = cv2.copyMakeBorder(mask, radius, radius, radius, radius, cv2.BORDER_REPLICATE)
    opened = cv2.morphologyEx(padded, cv2.MORPH_OPEN, kernel)
    return np.asarray(opened[radius:-radius, radius:-radius], dtype=np.uint8)


def _without_small_holes(mask: npt.NDArray[np.uint8], largest_px: int) -> npt.NDArray[np.uint8]:
    import cv2

    count, labels, stats, _ = cv2.connectedComponentsWithStats(1 - mask, connectivity=8)
    height, width = mask.shape
    fill = np.zeros(count, dtype=np.uint8)
    for i in range(1, count):
        x, y, w, h, area = stats[i]
        fill[i] = area <= largest_px and x > 0 and y > 0 and x + w < width and y + h < height
    return np.asarray(mask | fill[labels], dtype=np.uint8)


def _split(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    import cv2
    from skimage.morphology import h_maxima
    from skimage.segmentation import watershed

    padded = np.pad(mask, 1)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    # A second peak counts as an object only if the saddle between both is clearly lower than it.
    depth = np.float32(max(1.0, 0.15 * float(np.percentile(distance[mask > 0], 95)) if mask.any() else 1.0))
    seeds = cv2.connectedComponents(h_maxima(np.asarray(distance, np.float32), depth).astype(np.uint8), connectivity=8)[
        1
    ]
    return np.asarray(watershed(-distance, seeds, mask=mask.astype(bool)), dtype=np.int32)
