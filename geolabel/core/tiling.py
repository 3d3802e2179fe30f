"""Pixel-grid planning, vectorised: windows with overlap over a raster, and the policy at its edges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from geolabel.errors import InputError

EdgePolicy: TypeAlias = Literal["shift", "pad", "drop"]
Windows: TypeAlias = npt.NDArray[np.int64]
DEFAULT_SIZE_PX = 512
DEFAULT_OVERLAP = 0.125


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A pixel grid.

    Attributes:
        size_px: Width and height of a window, px.
        overlap: Part of a window shared with its neighbour, 0 to below 0.9.
        edge: "shift" moves the last window inwards, "pad" lets it run past the edge, "drop" leaves the rest out.
    """

    size_px: int = DEFAULT_SIZE_PX
    overlap: float = DEFAULT_OVERLAP
    edge: EdgePolicy = "shift"

    def __post_init__(self) -> None:
        if self.size_px < 1:
            raise InputError(f"chip size is {self.size_px} px; it must be at least 1 px")
        if not 0.0 <= self.overlap < 0.9:
            raise InputError(f"overlap is {self.overlap}; it is a fraction from 0 to below 0.9, e.g. 0.125 for 12.5 %")
        if self.edge not in get_args(EdgePolicy):
            raise InputError(f"edge policy {self.edge!r} is unknown; known are {', '.join(get_args(EdgePolicy))}")

    @property
    def stride_px(self) -> int:
        """Distance between neighbouring windows, px."""
        return max(1, round(self.size_px * (1.0 - self.overlap)))


def plan_starts(length_px: int, grid: Grid) -> npt.NDArray[np.int64]:
    """Return the first pixel of every window along one axis of `length_px` pixels."""
    size, stride = grid.size_px, grid.stride_px
    if length_px <= size:
        if grid.edge == "drop" and length_px < size:
            return np.empty(0, dtype=np.int64)
        return np.zeros(1, dtype=np.int64)
    whole = np.arange(0, length_px - size + 1, stride, dtype=np.int64)
    rest = length_px - (int(whole[-1]) + size)
    if rest > 0 and grid.edge == "shift":
        return np.append(whole, length_px - size)
    if rest > 0 and grid.edge == "pad":
        return np.append(whole, whole[-1] + stride)
    return whole


def plan_windows(width_px: int, height_px: int, grid: Grid) -> Windows:
    """Plan windows over a raster, row by row from the top left.

    Returns:
        (n, 4) int64: column, row, width, height, px. With "shift" every pixel lies in a window and none reaches
        past the edge (a raster smaller than the size gives one window of its own size); with "pad" windows may
        reach past; with "drop" pixels at the right and bottom may stay outside.

    Raises:
        InputError: the raster is empty.
    """
    if width_px < 1 or height_px < 1:
        raise InputError(f"a raster of {width_px} × {height_px} px is empty; it needs at least 1 × 1 px")
    cols, rows = plan_starts(width_px, grid), plan_starts(height_px, grid)
    row_grid, col_grid = np.meshgrid(rows, cols, indexing="ij")
    out = np.empty((row_grid.size, 4), dtype=np.int64)
    out[:, 0], out[:, 1] = col_grid.reshape(-1), row_grid.reshape(-1)
    out[:, 2] = grid.size_px if grid.edge == "pad" else min(grid.size_px, width_px)
    out[:, 3] = grid.size_px if grid.edge == "pad" else min(grid.size_px, height_px)
    return out
