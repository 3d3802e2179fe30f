"""Masks of an export as a TorchGeo dataset, to sample by place and to intersect with imagery."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from geolabel.errors import InputError

if TYPE_CHECKING:
    from torchgeo.datasets import RasterDataset


def geo_masks(path: Path | str, *, split: str = "", **options: Any) -> RasterDataset:
    """Return the masks of an export (format mask-semantic) as a TorchGeo `RasterDataset` of labels.

    Args:
        path: Folder EXPORT/data/mask-semantic.
        split: "train", "val", "test", or "" for all.
        **options: Of `RasterDataset`: crs, res, transforms, cache.

    Raises:
        InputError: there are no masks of this split.
    """
    from torchgeo.datasets import RasterDataset

    folder = Path(path) / "masks" / split if split else Path(path) / "masks"
    files = sorted(str(file) for file in folder.rglob("*.tif"))
    if not files:
        raise InputError(f"{folder} holds no masks; export with the format mask-semantic")

    class Masks(RasterDataset):  # type: ignore[misc]
        """Class ids as labels."""

        filename_glob = "*.tif"
        is_image = False

    return Masks(files, **options)
