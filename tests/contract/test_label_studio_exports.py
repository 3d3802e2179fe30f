"""Every Label Studio export we could find: decoded, or refused with a reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from geolabel.labelstudio.codec import decode_result

#: file → least number of regions that must come out of it. Files without image regions hold none, and each of their
#: results is a loss or a value of the whole image.
REGIONS = {
    "label-studio-converter/test_export_yolo/data.json": 1,
    "label-studio-frontend/image_bbox/annotations/1.json": 1,
    "label-studio-frontend/image_ellipses/annotations/1.json": 1,
    "label-studio-frontend/image_keypoints/annotations/0.json": 1,
    "label-studio-frontend/image_polygons/annotations/0.json": 1,
    "label-studio-sdk/data/test_export_coco/data.json": 1,
    "label-studio-sdk/data/test_export_yolo/data.json": 1,
    "label-studio-sdk/data/test_export_yolo/data_keypoints.json": 1,
    "label-studio-sdk/data/test_export_yolo/data_obb.json": 1,
    "label-studio-sdk/data/test_export_yolo/data_polygons.json": 1,
}


def results(value: Any) -> Iterator[list[Any]]:
    """Yield every `result` list of a document, whatever its age and shape."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key in ("result", "results") and isinstance(item, list):
                yield item
            else:
                yield from results(item)
    elif isinstance(value, list):
        for item in value:
            yield from results(item)


def files(data_dir: Path) -> dict[str, Path]:
    root = data_dir / "ls_exports"
    return {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*.json"))}


def size(result: list[Any]) -> tuple[int, int]:
    for item in result:
        if isinstance(item, dict) and isinstance(item.get("original_width"), int):
            return item["original_width"], item["original_height"]
    return 100, 100


def test_every_export_is_decoded_or_refused_with_reasons(data_dir: Path) -> None:
    found = files(data_dir)
    assert set(REGIONS) <= set(found)
    for name, path in found.items():
        regions = 0
        for result in results(json.loads(path.read_text("utf-8"))):
            width, height = size(result)
            decoded = decode_result(result, width_px=width, height_px=height)
            regions += len(decoded.regions)
            accounted = {region.id for region in decoded.regions}
            accounted |= {loss.region_id for loss in decoded.losses if loss.region_id}
            for number, item in enumerate(result):
                if not isinstance(item, dict) or item.get("type") == "relation":
                    continue
                whole_image = str(item.get("from_name", item.get("type"))) in decoded.image_values
                identity = str(item.get("id") or f"unnamed{number}")
                assert identity in accounted or whole_image or decoded.losses, f"{name}: {item.get('type')} vanished"
        assert regions >= REGIONS.get(name, 0), name


@pytest.mark.parametrize("kind", ["polygon", "rect", "kp", "brush", "vector"])
def test_recorded_region_of_each_kind(data_dir: Path, kind: str) -> None:
    path = data_dir.parent / "reference" / "payloads" / "prediction_regions_all_types.json"
    if not path.is_file():
        pytest.skip(f"no recorded payloads at {path}")
    item = json.loads(path.read_text("utf-8"))[kind]
    decoded = decode_result([item], width_px=512, height_px=512)
    if kind == "brush":  # the recording is cut off
        assert [loss.code for loss in decoded.losses] == ["LSC006"]
    else:
        assert len(decoded.regions) == 1
        assert decoded.losses == ()
