"""Speckle filters for radar intensities.

Model: the intensity I = R · n, n of mean 1 and variance 1/L (L looks). A pixel is estimated as Î = m + k · (I − m),
with the local mean m, k = var(R) / var(I) and var(R) = (var(I) − m²/L) / (1 + 1/L). Source: Lee, J.-S. (1980), "Digital
image enhancement and noise filtering by use of local statistics", IEEE PAMI 2(2). Refined filter: Lee, J.-S. (1981),
"Refined filtering of image noise using local statistics", Computer Graphics and Image Processing 15: the statistics are
taken over the half of the window that lies on the pixel's side of the strongest edge.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from geolabel.errors import InputError

Plane = npt.NDArray[np.float32]
_BORDER_REFLECT_101 = 4


def _check(size: int, looks: float = 1.0) -> None:
    if size < 3 or size % 2 == 0 or size > 31:
        raise InputError(f"the window of a speckle filter is {size} px; it must be odd, 3 to 31")
    if not looks > 0:
        raise InputError(f"the number of looks is {looks}; it must be above 0")


def lee(intensity: Plane, *, size: int = 7, looks: float = 1.0) -> Plane:
    """Filter a (row, col) float32 plane of intensities with the Lee filter.

    Raises:
        InputError: the size is even or out of range, or looks is not positive.
    """
    _check(size, looks)
    import cv2

    plane = np.ascontiguousarray(intensity, dtype=np.float32)
    wide = plane.astype(np.float64)
    mean = cv2.blur(wide, (size, size), borderType=_BORDER_REFLECT_101)
    square = cv2.blur(wide * wide, (size, size), borderType=_BORDER_REFLECT_101)
    return _estimate(wide, mean, np.maximum(square - mean * mean, 0.0), looks)


def _estimate(
    plane: npt.NDArray[np.float64], mean: npt.NDArray[np.float64], variance: npt.NDArray[np.float64], looks: float
) -> Plane:
    noise = 1.0 / looks
    signal = np.maximum(variance - mean * mean * noise, 0.0) / (1.0 + noise)
    weight = np.divide(signal, variance, out=np.zeros_like(signal), where=variance > 0)
    return np.asarray(mean + weight * (plane - mean), dtype=np.float32)


def refined_lee(intensity: Plane, *, size: int = 7, looks: float = 1.0) -> Plane:
    """Filter a (row, col) float32 plane of intensities with the refined Lee filter (eight edge-aligned half windows).

    The direction is that of the strongest of four gradients between means of sub-windows; of its two halves the one
    whose mean is nearer to that of the centre is taken.
    """
    _check(size, looks)
    import cv2

    wide = np.ascontiguousarray(intensity, dtype=np.float64)
    third = max(3, size // 2 | 1)
    local = cv2.blur(wide, (third, third), borderType=_BORDER_REFLECT_101)
    step = max(1, size // 3)
    shift = {(dx, dy): _shifted(local, dx * step, dy * step) for dx in (-1, 0, 1) for dy in (-1, 0, 1)}
    pairs = (((-1, 0), (1, 0)), ((0, -1), (0, 1)), ((-1, -1), (1, 1)), ((1, -1), (-1, 1)))
    gradients = np.stack([np.abs(shift[a] - shift[b]) for a, b in pairs])
    direction = gradients.argmax(axis=0)
    mean, variance = np.zeros_like(wide), np.zeros_like(wide)
    centre = shift[(0, 0)]
    for index, pair in enumerate(pairs):
        nearer = np.abs(shift[pair[0]] - centre) <= np.abs(shift[pair[1]] - centre)
        for side, towards in enumerate(pair):
            where = (direction == index) & (nearer if side == 0 else ~nearer)
            kernel = _half(size, towards)
            m = cv2.filter2D(wide, cv2.CV_64F, kernel, borderType=_BORDER_REFLECT_101)
            s = cv2.filter2D(wide * wide, cv2.CV_64F, kernel, borderType=_BORDER_REFLECT_101)
            mean[where], variance[where] = m[where], np.maximum(s - m * m, 0.0)[where]
    return _estimate(wide, mean, variance, looks)


def _shifted(plane: npt.NDArray[np.float64], dx: int, dy: int) -> npt.NDArray[np.float64]:
    """Return the plane whose (row, col) is that of (row + dy, col + dx), edges repeated."""
    rows = np.clip(np.arange(plane.shape[0]) + dy, 0, plane.shape[0] - 1)
    cols = np.clip(np.arange(plane.shape[1]) + dx, 0, plane.shape[1] - 1)
    return np.asarray(plane[np.ix_(rows, cols)], dtype=np.float64)


def _half(size: int, towards: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Return the normalised kernel of the half window that lies towards (dx, dy), its middle line included."""
    reach = size // 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    kernel = ((x * towards[0] + y * towards[1]) >= 0).astype(np.float64)
    return np.asarray(kernel / kernel.sum(), dtype=np.float64)


def median(intensity: Plane, *, size: int = 5) -> Plane:
    """Filter a (row, col) float32 plane with a median of size × size pixels."""
    _check(size)
    from scipy.ndimage import median_filter

    return np.asarray(median_filter(intensity, size=size, mode="mirror"), dtype=np.float32)
