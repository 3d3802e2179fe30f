"""Label Studio's brush run lengths, and masks as PNG data addresses.

The run-length format is that of the npm package `@thi.ng/rle-pack`, which Label Studio's editor uses on the RGBA
bytes of a mask: 32 bits number of values, 5 bits word size - 1, four times 4 bits run field size - 1; then runs of
1 bit (1 repeated, 0 literal), 2 bits field index, the run length - 1, and the value or values.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from geolabel.errors import ShapeError

Mask2D = npt.NDArray[np.uint8]
_RUN_BITS = (3, 4, 8, 16)
_WORD_BITS = 8
_CHANNELS = 4
_PNG_PREFIX = "data:image/png;base64,"


def encode_rle(mask: npt.NDArray[np.generic]) -> list[int]:
    """Encode a (row, col) mask, everything but 0 inside, as the bytes that Label Studio keeps under `rle`."""
    flat = np.ascontiguousarray(mask != 0).reshape(-1)
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    bounds = np.concatenate([[0], edges, [flat.size]])
    runs = np.diff(bounds) * _CHANNELS
    bits = [f"{flat.size * _CHANNELS:032b}", f"{_WORD_BITS - 1:05b}", *(f"{size - 1:04b}" for size in _RUN_BITS)]
    inside = bool(flat[0]) if flat.size else False
    longest = 1 << _RUN_BITS[-1]
    for length in runs.tolist():
        value = "11111111" if inside else "00000000"
        while length > 0:
            part = min(length, longest)
            index = next(i for i, size in enumerate(_RUN_BITS) if part <= 1 << size)
            bits.append(f"1{index:02b}{part - 1:0{_RUN_BITS[index]}b}{value}")
            length -= part
        inside = not inside
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


class _Bits:
    """Reads big-endian bit fields of up to 32 bits."""

    __slots__ = ("_data", "position")

    def __init__(self, data: bytes) -> None:
        self._data = data + b"\0" * 8
        self.position = 0

    def read(self, size: int) -> int:
        start = self.position >> 3
        if start + 5 > len(self._data):
            raise ShapeError("brush run lengths end before the mask is complete; the region was cut off")
        chunk = int.from_bytes(self._data[start : start + 5], "big")
        value = chunk >> (40 - (self.position & 7) - size) & ((1 << size) - 1)
        self.position += size
        return value

    def read_words(self, count: int, size: int) -> npt.NDArray[np.uint8]:
        """Read `count` fields of `size` bits, the low 8 bits of each."""
        if size != _WORD_BITS:
            return np.array([self.read(size) & 0xFF for _ in range(count)], dtype=np.uint8)
        start, shift = self.position >> 3, self.position & 7
        if start + count + 5 > len(self._data):
            raise ShapeError("brush run lengths end before the mask is complete; the region was cut off")
        window = np.frombuffer(self._data, dtype=np.uint8, count=count + 1, offset=start).astype(np.uint16)
        self.position += count * size
        joined = (window[:-1] << np.uint16(8)) | window[1:]
        return ((joined >> np.uint16(8 - shift)) & np.uint16(0xFF)).astype(np.uint8)


def decode_rle(rle: Sequence[int], width_px: int, height_px: int) -> Mask2D:
    """Decode brush bytes to a (row, col) uint8 mask of 0 and 1; a pixel is inside when its alpha is not 0.

    Raises:
        ShapeError: the bytes are damaged or are not those of an image of this size.
    """
    if not isinstance(rle, list | tuple):
        raise ShapeError(f"brush run lengths must be a list of bytes 0 to 255; these are a {type(rle).__name__}")
    try:
        bits = _Bits(bytes(rle))
    except (ValueError, TypeError) as error:
        raise ShapeError(f"brush run lengths must be a list of bytes 0 to 255 ({error})") from error
    count = bits.read(32)
    expected = width_px * height_px * _CHANNELS
    if count != expected:
        raise ShapeError(
            f"the brush holds {count} values; an image of {width_px} × {height_px} px needs {expected} (RGBA)"
        )
    word = bits.read(5) + 1
    sizes = [bits.read(4) + 1 for _ in range(4)]
    out = np.zeros(count, dtype=np.uint8)
    at = 0
    while at < count:
        repeated = bits.read(1)
        end = at + 1 + bits.read(sizes[bits.read(2)])
        if end > count:
            raise ShapeError(f"a brush run ends at value {end} of {count}; the region is damaged")
        if repeated:
            value = bits.read(word) & 0xFF
            if value:
                out[at:end] = value
        else:
            out[at:end] = bits.read_words(end - at, word)
        at = end
    inside: Mask2D = (out.reshape(height_px, width_px, _CHANNELS)[:, :, 3] != 0).astype(np.uint8)
    return inside


def encode_png(mask: npt.NDArray[np.generic], colour: str = "#000000") -> str:
    """Encode a (row, col) mask as a PNG data address: the colour inside, transparent outside."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    bgra = np.zeros((*mask.shape, 4), dtype=np.uint8)
    bgra[mask != 0] = (blue, green, red, 255)
    done, data = cv2.imencode(".png", bgra)
    if not done:
        raise ShapeError(f"a mask of shape {mask.shape} could not be encoded as PNG")
    return _PNG_PREFIX + base64.b64encode(data.tobytes()).decode()


def decode_png(address: str) -> Mask2D:
    """Decode a PNG data address to a (row, col) uint8 mask of 0 and 1.

    Inside is where alpha is not 0; in an image without alpha, where any channel is not 0.

    Raises:
        ShapeError: it is no PNG data address.
    """
    if not isinstance(address, str):
        raise ShapeError(f"a bitmask must be a data:image/png;base64 address; this one is a {type(address).__name__}")
    head, comma, body = address.partition(",")
    if not comma or not head.startswith("data:image/"):
        raise ShapeError(f"a bitmask must be a data:image/png;base64 address; this one starts {address[:40]!r}")
    try:
        data = base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise ShapeError(f"the bitmask's base64 is damaged: {error}") from error
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    except cv2.error as error:  # an image that claims more pixels than OpenCV agrees to hold
        raise ShapeError(f"the bitmask can't be decoded: {error.err}") from error
    if image is None:
        raise ShapeError("the bitmask is no image that can be read; Label Studio writes PNG")
    if image.ndim == 2:
        inside = image != 0
    else:
        inside = image[:, :, 3] != 0 if image.shape[2] == 4 else (image != 0).any(axis=2)
    mask: Mask2D = inside.astype(np.uint8)
    return mask
