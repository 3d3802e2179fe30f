"""An export of an image format, image by image: pixels, mask, boxes and place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from geolabel.core.dataset import Batch, ImageRef
from geolabel.errors import InputError, NotFoundError
from geolabel.formats.imagery import burn_all, polygonal
from geolabel.formats.registry import formats
from geolabel.pipeline.import_labels import open_labels

Sample = dict[str, Any]


class ExportSamples:
    """Images of an export with their labels, by index; a map-style dataset for `torch.utils.data.DataLoader`.

    Args:
        path: Folder of an image format in an export, for example EXPORT/data/coco.
        form: Its format.
        split: "train", "val" or "test"; "" for all images.
        transforms: Called with each sample; its result is what is given.
        masks: Give "mask", (row, col) int64 of class ids, later records on top.

    A sample has: image (band, row, col) float32 tensor when the export holds images; mask; boxes (n, 4) float32 as
    xmin, ymin, xmax, ymax in px; labels (n,) int64 class ids; crs; bounds (min x, min y, max x, max y in CRS units);
    transform (six numbers); image_id.

    Raises:
        InputError: the folder is not of the format, or the split has no image.
    """

    def __init__(
        self,
        path: Path | str,
        form: str = "coco",
        *,
        split: str = "",
        transforms: Callable[[Sample], Sample] | None = None,
        masks: bool = True,
    ) -> None:
        self._root = Path(path)
        if formats().get(form).spec.stream != "parts":
            raise InputError(f"{form!r} is a map format; take an image format such as coco or mask-semantic")
        dataset = open_labels(self._root, form)
        self.taxonomy = dataset.taxonomy
        self._transforms = transforms
        self._masks = masks
        self.images: list[ImageRef] = [image for image in dataset.images if not split or image.split == split]
        if not self.images:
            known = sorted({image.split for image in dataset.images})
            raise InputError(f"{self._root} has no image of split {split!r}; it has {known}")
        whole = Batch.concat(list(dataset.parts()))
        number = {image.id: i for i, image in enumerate(dataset.images)}
        edges = np.searchsorted(whole.frame, np.arange(len(dataset.images) + 1))
        places = [number[image.id] for image in self.images]
        self._parts = [whole.take(slice(int(edges[i]), int(edges[i + 1]))) for i in places]
        self._files = {file.stem: file for file in self._root.rglob("images/**/*") if file.is_file()}

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        import torch

        image, parts = self.images[index], polygonal(self._parts[index], split=False)
        boxes = shapely.bounds(parts.geometry).astype(np.float32).reshape(-1, 4)
        sample: Sample = {
            "image_id": image.id,
            "boxes": torch.from_numpy(boxes),
            "labels": torch.from_numpy(parts.class_id.copy()),
        }
        if self._masks:
            pairs = list(zip(parts.geometry, parts.class_id.tolist(), strict=True))
            mask = burn_all(pairs, image.width, image.height, np.int32)
            sample["mask"] = torch.from_numpy(mask.astype(np.int64))
        file = self._files.get(image.id)
        if file is not None:
            sample["image"] = torch.from_numpy(read_pixels(file))
        if image.georef is not None:
            sample |= {"crs": image.georef.crs, "bounds": image.georef.bounds(), "transform": image.georef.transform}
        return sample if self._transforms is None else self._transforms(sample)


def read_pixels(path: Path) -> npt.NDArray[np.float32]:
    """Return an image file as (band, row, col) float32.

    Raises:
        NotFoundError: it can't be read.
    """
    import warnings

    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as source:
                pixels: npt.NDArray[np.float32] = source.read().astype(np.float32)
    except RasterioError as error:
        raise NotFoundError(f"image {path} can't be read: {error}") from error
    return pixels


def collate(samples: list[Sample]) -> Sample:
    """Join samples to a batch: tensors of one size are stacked, all else becomes a list."""
    import torch

    out: Sample = {}
    for name in samples[0]:
        values = [sample[name] for sample in samples]
        stackable = isinstance(values[0], torch.Tensor) and name in ("image", "mask")
        out[name] = torch.stack(values) if stackable else values
    return out
