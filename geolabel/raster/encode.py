"""Pictures as bytes: JPEG, PNG and WebP through the codecs in OpenCV."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from geolabel.errors import InputError

ImageFormat: TypeAlias = Literal["jpg", "png", "webp"]
MEDIA_TYPES: dict[str, str] = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
#: JPEG can't be transparent; what has no data is shown in this colour (red, green, blue).
NODATA_COLOUR = (0, 0, 0)
JPEG_QUALITY = 90
WEBP_QUALITY = 90
# Level 1 with one fixed filter: a fifth to a half less time than trying all filters, a few percent larger.
_PNG_LEVEL = 1


def encode_image(pixels: npt.NDArray[np.uint8], image_format: str, *, quality: int | None = None) -> bytes:
    """Return the bytes of a picture.

    Args:
        pixels: (row, col, 3 or 4) uint8, red, green, blue and alpha.
        image_format: "jpg", "png" or "webp". JPEG shows transparent pixels in `NODATA_COLOUR`.
        quality: 1 to 100 for JPEG and WebP.

    Raises:
        InputError: the format is not one of these.
    """
    import cv2

    _check(image_format)
    if image_format == "jpg" and pixels.shape[2] == 4:
        pixels = flatten(pixels)
    code = cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR
    return _encoded(cv2.cvtColor(np.ascontiguousarray(pixels), code), image_format, quality)


def encode_planes(
    planes: Sequence[npt.NDArray[np.uint8]], valid: npt.NDArray[np.bool_] | None, image_format: str
) -> bytes:
    """Return the bytes of a picture given red, green and blue, (row, col) uint8, and the mask of valid pixels.

    A picture that is valid everywhere has no alpha.

    Raises:
        InputError: the format is unknown.
    """
    import cv2

    _check(image_format)
    blue_first = [np.ascontiguousarray(plane) for plane in reversed(planes)]
    if valid is not None and image_format != "jpg":
        blue_first.append(valid.astype(np.uint8) * np.uint8(255))
    merged = cv2.merge(blue_first)
    if valid is not None and image_format == "jpg":
        merged[~valid] = NODATA_COLOUR[::-1]
    return _encoded(merged, image_format, None)


def _check(image_format: str) -> None:
    if image_format not in get_args(ImageFormat):
        raise InputError(f"image format {image_format!r} is unknown; known are {', '.join(get_args(ImageFormat))}")


def _encoded(swapped: Any, image_format: str, quality: int | None) -> bytes:
    import cv2

    if image_format == "jpg":
        parameters = [cv2.IMWRITE_JPEG_QUALITY, quality or JPEG_QUALITY]
    elif image_format == "png":
        parameters = [cv2.IMWRITE_PNG_COMPRESSION, _PNG_LEVEL, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB]
    else:
        parameters = [cv2.IMWRITE_WEBP_QUALITY, quality or WEBP_QUALITY]
    done, data = cv2.imencode(f".{image_format}", swapped, parameters)
    if not done:
        raise InputError(f"a picture of shape {swapped.shape} can't be written as {image_format}")
    return bytes(data)


def flatten(rgba: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return (row, col, 3): transparent pixels in `NODATA_COLOUR`, the others unchanged."""
    rgb = np.ascontiguousarray(rgba[:, :, :3])
    clear = rgba[:, :, 3] == 0
    if clear.any():
        rgb[clear] = NODATA_COLOUR
    return rgb
