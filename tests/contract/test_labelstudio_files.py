"""Every Label Studio file of the real data is decoded, or refused with a reason; none is passed over."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from geolabel.core.shapes import Mask, to_shapely
from geolabel.errors import GeoLabelError
from geolabel.labelstudio.codec import decode_result
from geolabel.labelstudio.config import LabelConfig
from geolabel.labelstudio.exports import read_export
from tests.sdk import sdk_brush

FOLDER = "ls_exports"
#: Image size where a file names none: that of the picture it was drawn on does not matter to these counts.
SIZE_PX = (640, 480)


@dataclass(frozen=True, slots=True)
class Expected:
    """What a file holds: tasks, regions by kind, and how many results are counted as losses, by code."""

    tasks: int
    kinds: dict[str, int]
    losses: dict[str, int]


_SDK = "label-studio-sdk/data"
_ML = "label-studio-ml-backend/yolo/tests"
_EDITOR = "label-studio-frontend"
#: File -> what it holds, or a part of the sentence that refuses it.
FILES: dict[str, Expected | str] = {
    "label-studio-converter/test_export_yolo/data.json": Expected(2, {"box": 6}, {}),
    f"{_EDITOR}/image_bbox/annotations/1.json": Expected(1, {"box": 3}, {}),
    f"{_EDITOR}/image_bbox/tasks.json": Expected(3, {"box": 2}, {}),
    f"{_EDITOR}/image_ellipses/annotations/1.json": Expected(1, {"ellipse": 1}, {}),
    f"{_EDITOR}/image_ellipses/tasks.json": Expected(3, {"ellipse": 1}, {}),
    f"{_EDITOR}/image_keypoints/annotations/0.json": Expected(1, {"point": 2}, {}),
    f"{_EDITOR}/image_keypoints/tasks.json": Expected(1, {"point": 1}, {}),
    f"{_EDITOR}/image_polygons/annotations/0.json": Expected(1, {"polygon": 1}, {}),
    f"{_EDITOR}/image_polygons/tasks.json": Expected(1, {"polygon": 1}, {}),
    # Videos and time lines have no geometry on an image: counted one by one.
    f"{_ML}/opossum_snow_short_1.json": Expected(1, {}, {"LSC005": 16}),
    f"{_ML}/opossum_snow_short_2.json": Expected(1, {}, {"LSC005": 7}),
    f"{_ML}/test_timeline_labels_1.json": Expected(1, {}, {"LSC005": 2}),
    f"{_ML}/test_brush_labels.json": Expected(1, {"mask": 3}, {}),
    f"{_ML}/test_keypoint_labels_1.json": Expected(1, {"box": 1, "point": 6}, {}),
    f"{_ML}/test_keypoint_labels_2.json": Expected(1, {"point": 6}, {}),
    f"{_ML}/test_polygon_labels.json": Expected(1, {"polygon": 3}, {}),
    f"{_SDK}/test_export_coco/data.json": Expected(1, {"box": 1, "polygon": 1, "point": 2}, {}),
    f"{_SDK}/test_export_csv/csv_test.json": Expected(2, {"box": 5}, {}),
    # Choices for whole texts: values of the image, no regions.
    f"{_SDK}/test_export_csv/csv_test2.json": Expected(1, {}, {}),
    f"{_SDK}/test_export_csv/csv_test_colliding_keys.json": Expected(1, {}, {}),
    f"{_SDK}/test_export_csv/csv_test_colliding_keys_mixed.json": Expected(2, {}, {}),
    f"{_SDK}/test_export_csv/csv_test_history.json": Expected(1, {}, {}),
    f"{_SDK}/test_export_doclang/data.json": Expected(3, {"box": 2}, {}),
    f"{_SDK}/test_export_json_min/chat_data.json": Expected(1, {}, {"LSC005": 4}),
    f"{_SDK}/test_export_json_min/data.json": Expected(1, {"polygon": 1}, {}),
    f"{_SDK}/test_export_json_min/data_repeater.json": Expected(1, {"box": 1}, {}),
    f"{_SDK}/test_export_json_min/label_config_repeater.json": "is no task of Label Studio",
    f"{_SDK}/test_export_yolo/data.json": Expected(2, {"box": 6}, {}),
    f"{_SDK}/test_export_yolo/data_keypoints.json": Expected(1, {"box": 1, "point": 3}, {"LSC010": 5}),
    f"{_SDK}/test_export_yolo/data_obb.json": Expected(3, {"rotated_box": 25}, {}),
    f"{_SDK}/test_export_yolo/data_polygons.json": Expected(1, {"polygon": 1}, {}),
    f"{_SDK}/test_import_coco/coco_import_input.json": "this is a COCO file",
}


def _summary(path: Path) -> Expected:
    kinds: dict[str, int] = {}
    losses: dict[str, int] = {}
    tasks = read_export(json.loads(path.read_text("utf-8")))
    for task in tasks:
        for stored in task.results:
            width_px, height_px = task.size_px or SIZE_PX
            decoded = decode_result(stored.result, width_px=width_px, height_px=height_px)
            for region in decoded.regions:
                kinds[region.shape.kind] = kinds.get(region.shape.kind, 0) + 1
            for loss in decoded.losses:
                assert loss.message
                losses[loss.code] = losses.get(loss.code, 0) + 1
    return Expected(len(tasks), kinds, losses)


@pytest.mark.parametrize("name", sorted(FILES))
def test_every_file_is_decoded_or_refused(data_dir: Path, name: str) -> None:
    expected = FILES[name]
    if isinstance(expected, str):
        with pytest.raises(GeoLabelError) as caught:
            _summary(data_dir / FOLDER / name)
        assert expected in caught.value.message
    else:
        assert _summary(data_dir / FOLDER / name) == expected


def test_no_file_is_passed_over(data_dir: Path) -> None:
    found = {path.relative_to(data_dir / FOLDER).as_posix() for path in (data_dir / FOLDER).rglob("*.json")}
    assert found == set(FILES)


def test_every_label_config_is_read(data_dir: Path) -> None:
    paths = sorted((data_dir / FOLDER).rglob("*.xml"))
    assert len(paths) == 10
    for path in paths:
        config = LabelConfig.parse(path.read_text("utf-8"))
        assert config.labels()
        assert config.taxonomy().names() == config.labels()


def test_brushes_are_what_label_studio_reads(data_dir: Path) -> None:
    brush = sdk_brush()
    path = data_dir / FOLDER / f"{_ML}/test_brush_labels.json"
    for item in json.loads(path.read_text("utf-8"))[0]["result"]:
        width_px, height_px = item["original_width"], item["original_height"]
        ours = decode_result([item], width_px=width_px, height_px=height_px).regions[0].shape
        theirs = np.asarray(brush.decode_rle(item["value"]["rle"])).reshape(height_px, width_px, 4)[:, :, 3] != 0
        assert isinstance(ours, Mask)
        assert np.array_equal(ours.to_array(), theirs)
        assert 0 < theirs.sum() < theirs.size


def test_turned_boxes_keep_their_area_in_pixels(data_dir: Path) -> None:
    path = data_dir / FOLDER / f"{_SDK}/test_export_yolo/data_obb.json"
    for task in read_export(json.loads(path.read_text("utf-8"))):
        assert task.size_px is not None
        width_px, height_px = task.size_px
        assert width_px != height_px
        for item in task.results[0].result:
            box = decode_result([item], width_px=width_px, height_px=height_px).regions[0].shape
            value = item["value"]
            expected = value["width"] * width_px / 100 * value["height"] * height_px / 100
            assert to_shapely(box).area == pytest.approx(expected, rel=1e-6)
