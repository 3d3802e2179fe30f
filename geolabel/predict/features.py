"""Multi-scale classical features per pixel: the default that needs no weights."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from geolabel.core.scene import Band
from geolabel.predict.contract import ChipInput, FeatureMap

VERSION = "1"
#: Gaussian scales, pixels. The largest one gives context of about 50 px across.
SIGMAS = (1.0, 2.0, 4.0, 8.0)
CONTEXT_SIGMA = 16.0
MAX_BANDS = 13
_INDICES = {"ndvi": ("nir", "red"), "ndwi": ("green", "nir"), "ndbi": ("swir1", "nir")}


class ClassicalFeatures:
    """Smoothed bands, band ratios, edges, structure and local contrast at several scales, one vector a pixel.

    Bands are scaled by the stretch over the whole scene that the annotator saw, where the chip carries one, so that
    chips of several scenes are comparable; other bands keep their raw values. Pixels without data take the mean of
    the chip's valid pixels, so that holes throw no edges.
    """

    name = "classical"
    version = VERSION

    def load(self, device: str) -> None:
        """Nothing to load."""
        del device

    def features(self, chip: ChipInput) -> FeatureMap:
        """Return (row, col, k) float32 with stride 1; the same k for every chip with the same number of bands."""
        planes, names = scaled_planes(chip)
        channels: list[npt.NDArray[np.float32]] = []
        labels: list[str] = []
        for plane, name in zip(planes, names, strict=True):
            smooth = [plane, *(_blur(plane, sigma) for sigma in SIGMAS)]
            channels += smooth
            labels += [name, *(f"{name} σ{sigma:g}" for sigma in SIGMAS)]
        grey = planes[:3].mean(axis=0)
        for channel, label in _texture(grey):
            channels.append(channel)
            labels.append(label)
        for plane, name in zip(planes, names, strict=True):
            channels.append(_blur(plane, CONTEXT_SIGMA))
            labels.append(f"{name} σ{CONTEXT_SIGMA:g}")
        array = np.stack(channels, axis=-1)
        return FeatureMap(array=np.nan_to_num(array, posinf=0.0, neginf=0.0), stride_px=1.0, names=tuple(labels))

    def pooled(self, chip: ChipInput) -> npt.NDArray[np.float32]:
        """Return mean and standard deviation of every feature over the valid pixels, (2k,) float32."""
        array = self.features(chip).array.reshape(chip.height * chip.width, -1)
        valid = chip.valid.reshape(-1)
        chosen = array[valid] if valid.any() else np.zeros((1, array.shape[1]), np.float32)
        return np.asarray(np.concatenate([chosen.mean(axis=0), chosen.std(axis=0)]), dtype=np.float32)


def scaled_planes(chip: ChipInput) -> tuple[npt.NDArray[np.float32], tuple[str, ...]]:
    """Return (n, row, col) float32 planes with finite values: bands, then colour contrasts and indices, with names."""
    bands = chip.bands[:MAX_BANDS] if chip.bands else ()
    raw = np.asarray(chip.pixels[:MAX_BANDS], dtype=np.float32)
    stretch = dict(zip(chip.chip.render.bands, chip.chip.render.rescale, strict=False))
    planes, names = [], []
    for i in range(raw.shape[0]):
        band = bands[i] if i < len(bands) else Band(index=i + 1, name=f"b{i + 1}")
        plane = raw[i]
        if band.index in stretch and stretch[band.index][1] > stretch[band.index][0]:
            low, high = stretch[band.index]
            plane = (plane - low) / (high - low)
        planes.append(_filled(plane, chip.valid))
        names.append(band.name)
    for index, (first, second) in _INDICES.items():
        if first in names and second in names:
            a, b = raw[names.index(first)], raw[names.index(second)]
            total = a + b
            safe = np.where(np.abs(total) > 1e-6, total, 1.0)
            planes.append(_filled(np.clip((a - b) / safe, -1, 1), chip.valid))
            names.append(index)
    if raw.shape[0] >= 3:
        total = planes[0] + planes[1] + planes[2]
        safe = np.where(np.abs(total) > 1e-3, total, 1e-3)
        planes.append(np.clip(planes[0] / safe, -5, 5))
        names.append("share 1")
        planes.append(np.clip(planes[1] / safe, -5, 5))
        names.append("share 2")
    return np.stack(planes).astype(np.float32), tuple(names)


def _filled(plane: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    good = valid & np.isfinite(plane)
    if good.all():
        return plane
    fill = float(plane[good].mean(dtype=np.float64)) if good.any() else 0.0
    return np.where(good, plane, np.float32(fill))


def _blur(plane: npt.NDArray[np.float32], sigma: float) -> npt.NDArray[np.float32]:
    import cv2

    if sigma < 4:
        out: npt.NDArray[np.float32] = cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
        return out
    # Large kernels on a smaller copy: the same to the eye, at a tenth of the time.
    height, width = plane.shape
    step = int(sigma // 2)
    if min(height, width) < 4 * step:
        return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REFLECT), dtype=np.float32)
    small = cv2.resize(plane, (max(1, width // step), max(1, height // step)), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / step, borderType=cv2.BORDER_REFLECT)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _texture(grey: npt.NDArray[np.float32]) -> list[tuple[npt.NDArray[np.float32], str]]:
    import cv2

    out = []
    for sigma in SIGMAS[:3]:
        smooth = _blur(grey, sigma)
        gx, gy = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
        out.append((np.hypot(gx, gy), f"edge σ{sigma:g}"))
        out.append((np.asarray(cv2.Laplacian(smooth, cv2.CV_32F), np.float32), f"laplacian σ{sigma:g}"))
        # Structure tensor: the larger share of one direction, the more line-like.
        xx, yy, xy = _blur(gx * gx, 2 * sigma), _blur(gy * gy, 2 * sigma), _blur(gx * gy, 2 * sigma)
        spread = np.sqrt((xx - yy) ** 2 + 4 * xy**2)
        out.append((xx + yy, f"energy σ{sigma:g}"))
        out.append((spread / (xx + yy + 1e-6), f"coherence σ{sigma:g}"))
    for sigma in (2.0, 4.0, 8.0):
        mean = _blur(grey, sigma)
        variance = np.maximum(_blur(grey * grey, sigma) - mean * mean, 0.0)
        out.append((np.sqrt(variance), f"contrast σ{sigma:g}"))
    return [(np.asarray(channel, dtype=np.float32), name) for channel, name in out]
