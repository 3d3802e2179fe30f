"""Image formats before pycocotools, ultralytics, supervision, tfrecord, TorchGeo and datasets; each finds a fault."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.integration.judges.conftest import Export

_COCO = """
import contextlib, io, json, sys
from pycocotools.coco import COCO
with contextlib.redirect_stdout(io.StringIO()):
    coco = COCO(sys.argv[1])
areas = [float(coco.annToMask(a).sum()) for a in coco.dataset["annotations"] if a.get("segmentation")]
told = [float(a["area"]) for a in coco.dataset["annotations"] if a.get("segmentation")]
images, kinds = set(coco.imgs), set(coco.cats)
strays = sum(a["image_id"] not in images or a["category_id"] not in kinds for a in coco.dataset["annotations"])
ids = [a["id"] for a in coco.dataset["annotations"]]
outside = sum(
    a["bbox"][0] < -0.01 or a["bbox"][0] + a["bbox"][2] > coco.imgs[a["image_id"]]["width"] + 0.01
    for a in coco.dataset["annotations"] if a["image_id"] in images
)
print(json.dumps({"records": len(ids), "strays": strays, "doubled": len(ids) - len(set(ids)), "outside": outside,
                  "worst": max(abs(a - b) / (a + 20) for a, b in zip(areas, told))}))
"""


def test_pycocotools_and_references(export: Export, outside: Callable[..., Any]) -> None:
    folder, written = export("coco")
    path = folder / "annotations.json"
    judged = outside(_COCO, str(path))
    assert judged["records"] == sum(written.records.values())
    assert (judged["strays"], judged["doubled"], judged["outside"]) == (0, 0, 0)
    assert judged["worst"] < 0.15
    value = json.loads(path.read_text("utf-8"))
    value["annotations"][0]["category_id"] = 999
    value["annotations"][1]["id"] = value["annotations"][2]["id"]
    value["annotations"][3]["area"] *= 3
    path.write_text(json.dumps(value), "utf-8")
    judged = outside(_COCO, str(path))
    assert (judged["strays"], judged["doubled"]) == (1, 1)
    assert judged["worst"] > 0.5


_ULTRALYTICS = """
import json, sys
from pathlib import Path
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import check_det_dataset
folder, task = Path(sys.argv[1]), sys.argv[2]
data = check_det_dataset(str(folder / "data.yaml"), autodownload=False)
found = corrupt = 0
for split in ("train", "val", "test"):
    if not data.get(split):
        continue
    try:
        labels = YOLODataset(img_path=data[split], data=data, task=task, augment=False).labels
    except (RuntimeError, ValueError, FileNotFoundError):
        labels = []  # every image of the split was refused
    found += sum(len(item["cls"]) for item in labels)
    corrupt += len(list(Path(data[split]).glob("*.png"))) - len(labels)
print(json.dumps({"records": found, "corrupt": corrupt}))
"""


@pytest.mark.parametrize("name, task", [("yolo-detect", "detect"), ("yolo-segment", "segment"), ("yolo-obb", "obb")])
def test_ultralytics(export: Export, outside: Callable[..., Any], name: str, task: str) -> None:
    folder, written = export(name)
    assert outside(_ULTRALYTICS, str(folder), task) == {"records": sum(written.records.values()), "corrupt": 0}
    if name == "yolo-detect":
        path = next(p for p in sorted((folder / "labels").rglob("*.txt")) if p.read_text())
        path.write_text(path.read_text().replace(path.read_text().split()[0], "99", 1))
        for cache in folder.rglob("*.cache"):
            cache.unlink()
        assert outside(_ULTRALYTICS, str(folder), task)["corrupt"] == 1


_SUPERVISION = """
import json, sys
from pathlib import Path
import supervision as sv
folder, kind = Path(sys.argv[1]), sys.argv[2]
if kind == "coco":
    data = sv.DetectionDataset.from_coco(str(folder / "images"), str(folder / "annotations.json"))
else:
    data = sv.DetectionDataset.from_pascal_voc(str(folder / "JPEGImages"), str(folder / "Annotations"))
boxes = [d.xyxy for d in data.annotations.values()]
print(json.dumps({"records": sum(map(len, boxes)), "most": max(float(b.max()) for b in boxes if len(b)),
                  "least": min(float(b.min()) for b in boxes if len(b))}))
"""


@pytest.mark.parametrize("name", ["coco", "voc"])
def test_supervision(export: Export, outside: Callable[..., Any], name: str) -> None:
    folder, written = export(name)
    judged = outside(_SUPERVISION, str(folder), name)
    assert judged["records"] == sum(written.records.values())
    assert judged["least"] >= -1
    assert judged["most"] <= 256.5
    if name == "voc":
        path = next(p for p in sorted((folder / "Annotations").glob("*.xml")) if "<object>" in p.read_text())
        text = path.read_text()
        start, end = text.index("<xmax>"), text.index("</xmax>")
        path.write_text(text[:start] + "<xmax>9999" + text[end:])
        assert outside(_SUPERVISION, str(folder), name)["most"] > 256.5


_TFRECORD = """
import json, sys
from pathlib import Path
import crc32c, struct
from tfrecord import example_pb2
from tfrecord.reader import tfrecord_iterator
records, keys, broken = 0, set(), 0
def masked(data):
    value = crc32c.crc32c(data)
    return (((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF
for path in sorted(Path(sys.argv[1]).glob("*.tfrecord")):
    raw = path.read_bytes()
    at = 0
    for record in tfrecord_iterator(str(path)):
        example = example_pb2.Example.FromString(bytes(record))
        keys |= set(example.features.feature)
        records += 1
        size = struct.unpack("<Q", raw[at:at + 8])[0]
        crc = struct.unpack("<I", raw[at + 12 + size:at + 16 + size])[0]
        broken += crc != masked(raw[at + 12:at + 12 + size])
        at += 16 + size
print(json.dumps({"records": records, "keys": sorted(keys), "broken": broken}))
"""


def test_tfrecord_reader(export: Export, outside: Callable[..., Any]) -> None:
    folder, _ = export("tfrecord")
    judged = outside(_TFRECORD, str(folder))
    assert judged["records"] == 3
    assert judged["broken"] == 0
    assert {"image/height", "image/width"} <= set(judged["keys"])
    path = folder / "train.tfrecord"
    raw = bytearray(path.read_bytes())
    raw[-2] ^= 1  # in the checksum of the last record
    path.write_bytes(bytes(raw))
    assert outside(_TFRECORD, str(folder))["broken"] == 1


_TORCHGEO = """
import json, sys
from torchgeo.datasets import RasterDataset
class Masks(RasterDataset):
    filename_glob = "*.tif"
    is_image = False
data = Masks(paths=[sys.argv[1]])
bounds = data.bounds
sample = data[bounds]
print(json.dumps({"files": len(data), "epsg": data.crs.to_epsg(),
                  "bounds": [bounds[0].start, bounds[1].start, bounds[0].stop, bounds[1].stop],
                  "classes": sorted(set(sample["mask"].unique().tolist()))}))
"""


def test_torchgeo_places_masks(export: Export, outside: Callable[..., Any]) -> None:
    folder, _ = export("mask-semantic")
    masks = folder / "masks"
    judged = outside(_TORCHGEO, str(masks))
    assert judged["files"] == 3
    assert judged["epsg"] == 32636
    assert np.allclose(judged["bounds"], [450_000, 5_000_000 - 512 * 0.3, 450_000 + 512 * 0.3, 5_000_000])
    assert {1, 3} <= set(judged["classes"])
    import rasterio
    from rasterio.transform import Affine

    path = next(masks.rglob("*.tif"))
    with rasterio.open(path, "r+") as file:
        file.transform = Affine(0.3, 0, 460_000, 0, -0.3, 5_000_000)
    assert not np.allclose(outside(_TORCHGEO, str(masks))["bounds"], judged["bounds"])


_DATASETS = """
import json, sys
from datasets import load_dataset
try:
    data = load_dataset(sys.argv[1])
    print(json.dumps({s: len(d) for s, d in data.items()} | {"columns": data["train"].column_names}))
except Exception as error:
    print(json.dumps({"error": type(error).__name__}))
"""


def test_hugging_face_loads_the_folder(export: Export, outside: Callable[..., Any]) -> None:
    folder, _ = export("huggingface")
    judged = outside(_DATASETS, str(folder))
    assert {s: judged.get(s) for s in ("train", "test")} == {"train": 1, "test": 1}, judged
    assert judged["columns"]
    broken = folder.parent / "broken"  # a folder of its own: the library answers for a known one from its cache
    shutil.copytree(folder, broken)
    path = broken / "data" / "train.parquet"
    path.write_bytes(path.read_bytes()[:-30])
    assert "error" in outside(_DATASETS, str(broken))
