"""Run lengths of COCO: polygons with holes and parts as exact pixel masks, in COCO's compressed text."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from geolabel.core.shapes import mask_outline
from geolabel.formats.imagery import burn


def encode(geometry: shapely.Geometry, width: int, height: int) -> dict[str, Any]:
    """Return a polygon as COCO RLE {"size": [height, width], "counts": text}; pixels whose centre lies inside."""
    from pycocotools import mask

    return text(mask.encode(np.asfortranarray(burn(geometry, width, height))))


def text(run: dict[str, Any]) -> dict[str, Any]:
    """Return an RLE of pycocotools with its counts as text."""
    return {"size": [int(v) for v in run["size"]], "counts": run["counts"].decode("ascii")}


def decode(run: dict[str, Any]) -> npt.NDArray[np.uint8]:
    """Return the (row, col) mask of a COCO RLE, compressed or as a list of counts."""
    from pycocotools import mask

    height, width = run["size"]
    if isinstance(run["counts"], list):
        run = mask.frPyObjects(run, height, width)
    with warnings.catch_warnings():
        # pycocotools 2.0.11 is older than numpy 2's __array__(copy=...)
        warnings.simplefilter("ignore", DeprecationWarning)
        out: npt.NDArray[np.uint8] = mask.decode(run)
    return out


def outline(run: dict[str, Any]) -> shapely.Geometry:
    """Return the outline of a COCO RLE along pixel edges."""
    return mask_outline(decode(run))
