"""QA bands and masks as one set of codes: 0 clear, 1 cloud, 2 cloud shadow, 3 water."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from geolabel.core.scene import Band
from geolabel.errors import InputError

Codes = npt.NDArray[np.uint8]
_CLOUD, _SHADOW, _WATER = 1, 2, 3


def qa_decoder(kind: str) -> Callable[[npt.NDArray[Any]], Codes]:
    """Return the function that turns a QA band, (row, col), into codes.

    Raises:
        InputError: the kind is unknown.
    """
    known: dict[str, Callable[[npt.NDArray[Any]], Codes]] = {
        "qa_pixel": qa_pixel, "scl": scl, "msk_classi": msk_classi, "mask": plain_mask,
    }  # fmt: skip
    if kind not in known:
        raise InputError(f"the QA kind {kind!r} is unknown; known are {', '.join(known)}")
    return known[kind]


def qa_pixel(values: npt.NDArray[Any]) -> Codes:
    """Decode Landsat Collection 2 QA_PIXEL.

    Bits: 1 dilated cloud, 2 cirrus (high confidence), 3 cloud, 4 cloud shadow, 7 water. Source: LSDS-1619, Landsat 8-9
    Collection 2 Level 2 Science Product Guide, table 6-3.
    """
    bits = values.astype(np.uint16)
    out = np.zeros(bits.shape, dtype=np.uint8)
    out[(bits & (1 << 7)) != 0] = _WATER
    out[(bits & (1 << 4)) != 0] = _SHADOW
    out[(bits & ((1 << 1) | (1 << 2) | (1 << 3))) != 0] = _CLOUD
    return out


def scl(values: npt.NDArray[Any]) -> Codes:
    """Decode the Sentinel-2 scene classification.

    3 cloud shadow, 6 water, 8 and 9 cloud of medium and high probability, 10 thin cirrus. Source: Sentinel-2 Products
    Specification Document, Level-2A SCL.
    """
    out = np.zeros(values.shape, dtype=np.uint8)
    out[values == 6] = _WATER
    out[values == 3] = _SHADOW
    out[np.isin(values, (8, 9, 10))] = _CLOUD
    return out


def msk_classi(values: npt.NDArray[Any]) -> Codes:
    """Decode one plane of MSK_CLASSI (Sentinel-2 baseline 4: opaque clouds, cirrus, snow): any flag counts as cloud."""
    return np.where(values > 0, _CLOUD, 0).astype(np.uint8)


def plain_mask(values: npt.NDArray[Any]) -> Codes:
    """Decode a mask raster that holds our codes; everything above 3 counts as cloud."""
    return np.where(values > _WATER, _CLOUD, values).astype(np.uint8)


def brightness_mask(array: npt.NDArray[Any], bands: Sequence[Band]) -> Codes:
    """Guess clouds from brightness and whiteness alone, (band, row, col) → (row, col): a stand-in where no mask exists.

    Bright (above 85 % of the type's range, or 0.35 where values are reflectances) and white (bands within 12 % of their
    mean) is cloud; below 3 % in all bands is shadow. Snow, sand and roofs are mistaken for cloud.
    """
    del bands
    values = array.astype(np.float32)
    top = (
        float(np.iinfo(array.dtype).max) if array.dtype == np.uint8 else (10000.0 if array.dtype.kind in "iu" else 1.0)
    )
    unit = values / top
    mean = unit.mean(axis=0)
    spread = np.abs(unit - mean).max(axis=0) / np.maximum(mean, 1e-6)
    limit = 0.85 if array.dtype == np.uint8 else 0.35
    out = np.zeros(mean.shape, dtype=np.uint8)
    out[(unit.max(axis=0) < 0.03)] = _SHADOW
    out[(mean > limit) & (spread < 0.12)] = _CLOUD
    return out
