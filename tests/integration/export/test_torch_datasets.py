"""Exports read by PyTorch's loader and by TorchGeo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geolabel.datasets.samples import ExportSamples, collate
from geolabel.errors import InputError
from geolabel.formats.contract import WriteOptions
from geolabel.formats.registry import formats
from geolabel.testing.format_contract import sample_dataset


class Noise:
    """Pixels that are known."""

    def read(self, image: Any) -> np.ndarray[Any, Any]:
        return np.full((image.height, image.width, 3), 7, dtype=np.uint8)


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    options = WriteOptions(images="rendered", pixels=Noise())
    formats().get("coco").write(sample_dataset(0, kinds=("box",)), tmp_path, options)
    return tmp_path


def test_samples_have_pixels_masks_boxes_and_place(coco: Path) -> None:
    from torch.utils.data import DataLoader

    samples = ExportSamples(coco, "coco", transforms=lambda s: {**s, "seen": True})
    batch = next(iter(DataLoader(samples, batch_size=3, collate_fn=collate)))
    assert batch["image"].shape == (3, 3, 256, 256)
    assert float(batch["image"].max()) == 7.0
    assert batch["mask"].shape == (3, 256, 256)
    assert [len(b) for b in batch["boxes"]] == [9, 9, 0]
    assert set(batch["labels"][0].tolist()) == {1}
    assert batch["crs"] == ["EPSG:32636"] * 3
    assert batch["bounds"][0] == sample_dataset(0).images[0].georef.bounds()
    assert batch["seen"] == [True] * 3


def test_splits(coco: Path) -> None:
    assert [len(ExportSamples(coco, "coco", split=s)) for s in ("train", "val", "test")] == [1, 1, 1]
    with pytest.raises(InputError, match="no image of split"):
        ExportSamples(coco, "coco", split="validation")


def test_torchgeo_reads_masks_at_their_place(tmp_path: Path) -> None:
    pytest.importorskip("torchgeo")
    from geolabel.datasets.geo import geo_masks

    formats().get("mask-semantic").write(sample_dataset(0, kinds=("box",)), tmp_path, WriteOptions())
    masks = geo_masks(tmp_path, split="train")
    sample = masks[masks.bounds]
    assert 1 in sample["mask"].unique().tolist()
    assert masks.crs.to_epsg() == 32636
