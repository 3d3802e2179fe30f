"""Regions there and back, in percent of images that are not square, and what is wrong with results of others."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from geolabel.core.labels import Origin, Region
from geolabel.core.shapes import (
    Box,
    Ellipse,
    Line,
    Mask,
    MultiPolygon,
    Point,
    Polygon,
    RotatedBox,
    Shape,
    to_shapely,
)
from geolabel.core.taxonomy import LabelClass, Taxonomy
from geolabel.labelstudio.codec import decode_result, encode_regions
from geolabel.labelstudio.config import LabelConfig, build_config

WIDTH, HEIGHT = 640, 384
KINDS = ("polygon", "multipolygon", "box", "rotated_box", "ellipse", "point", "line", "mask")
TAXONOMY = Taxonomy(name="all", version="1", classes=(LabelClass(id=1, name="Thing", shapes=KINDS),))
CONFIG = LabelConfig.parse(build_config(TAXONOMY))

xs = st.floats(0, WIDTH, allow_nan=False)
ys = st.floats(0, HEIGHT, allow_nan=False)
lengths = st.floats(1, 300, allow_nan=False)
angles = st.floats(0.5, 359.5, allow_nan=False)
rings = st.lists(st.tuples(xs, ys), min_size=3, max_size=12, unique=True).map(tuple)
shapes: st.SearchStrategy[Shape] = st.one_of(
    st.builds(lambda x, y, w, h: Box(xmin=x, ymin=y, xmax=x + w, ymax=y + h), xs, ys, lengths, lengths),
    st.builds(RotatedBox, cx=xs, cy=ys, width=lengths, height=lengths, angle_deg=angles),
    st.builds(Ellipse, cx=xs, cy=ys, rx=lengths, ry=lengths, angle_deg=angles),
    st.builds(Polygon, exterior=rings, holes=st.lists(rings, max_size=2).map(tuple)),
    st.builds(
        MultiPolygon,
        parts=st.lists(
            st.builds(Polygon, exterior=rings, holes=st.lists(rings, max_size=1).map(tuple)), min_size=2, max_size=3
        ).map(tuple),
    ),
    st.builds(Line, points=st.lists(st.tuples(xs, ys), min_size=2, max_size=8).map(tuple)),
    st.builds(Point, x=xs, y=ys),
)


def numbers(value: Any) -> list[float]:
    """Flatten the numbers of a shape, in order."""
    if isinstance(value, tuple):
        return [n for item in value for n in numbers(item)]
    if isinstance(value, int | float):
        return [float(value)]
    return [n for name in value.__slots__ for n in numbers(getattr(value, name))]


def there_and_back(region: Region, rotation: int = 0) -> Region:
    encoded = encode_regions([region], CONFIG, width_px=WIDTH, height_px=HEIGHT)
    assert encoded.losses == ()
    result = json.loads(json.dumps(encoded.result))
    for item in result:
        item["image_rotation"] = rotation
    decoded = decode_result(result, width_px=WIDTH, height_px=HEIGHT, taxonomy=TAXONOMY)
    assert decoded.losses == ()
    assert len(decoded.regions) == 1
    return decoded.regions[0]


@given(shape=shapes, rotation=st.sampled_from([0, 90, 180, 270]), score=st.none() | st.floats(0, 1))
def test_percent_to_pixels_and_back(shape: Shape, rotation: int, score: float | None) -> None:
    region = Region(id="abcdefghij", shape=shape, label="Thing", score=score, origin=Origin.PREDICTION)
    back = there_and_back(region, rotation)
    assert back.shape.kind == shape.kind
    assert np.allclose(numbers(back.shape), numbers(shape), rtol=0, atol=1e-6)
    assert back.origin is Origin.PREDICTION
    assert (back.score is None) == (score is None)
    assert back.score is None or abs(back.score - (score or 0.0)) <= 1e-4


@given(seed=st.integers(0, 10_000))
def test_masks_there_and_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = np.kron(rng.random((12, 20)) > rng.random(), np.ones((32, 32), dtype=bool))
    if not mask.any():
        mask[0, 0] = True
    region = Region(id="abcdefghij", shape=Mask.from_array(mask), label="Thing")
    assert there_and_back(region).shape == region.shape


def test_bitmasks_there_and_back() -> None:
    config = LabelConfig.parse(build_config(TAXONOMY, mask="bitmask"))
    mask = np.random.default_rng(0).random((HEIGHT, WIDTH)) > 0.5
    region = Region(id="abcdefghij", shape=Mask.from_array(mask), label="Thing")
    encoded = encode_regions([region], config, width_px=WIDTH, height_px=HEIGHT)
    assert encoded.result[0]["type"] == "bitmasklabels"
    assert decode_result(encoded.result, width_px=WIDTH, height_px=HEIGHT).regions[0].shape == region.shape


def test_a_box_is_turned_about_its_corner_in_pixels() -> None:
    item = {
        "id": "abcdefghij", "type": "rectanglelabels", "from_name": "box", "to_name": "image",
        "value": {"x": 50, "y": 50, "width": 10, "height": 10, "rotation": 90, "rectanglelabels": ["Thing"]},
    }  # fmt: skip
    shape = decode_result([item], width_px=200, height_px=100).regions[0].shape
    # 20 × 10 px from the corner (100, 50): turned by 90° clockwise it hangs down and to the left.
    assert to_shapely(shape).bounds == pytest.approx((90, 50, 100, 70))


def test_holes_survive_an_editor_that_drops_our_meta() -> None:
    polygon = Polygon(exterior=((10, 10), (90, 10), (90, 90), (10, 90)), holes=(((20, 20), (30, 20), (30, 30)),))
    encoded = encode_regions(
        [Region(id="abcdefghij", shape=polygon, label="Thing")], CONFIG, width_px=WIDTH, height_px=HEIGHT
    )
    for item in encoded.result:
        item.pop("meta", None)
    decoded = decode_result(encoded.result, width_px=WIDTH, height_px=HEIGHT)
    assert [np.allclose(numbers(r.shape), numbers(polygon)) for r in decoded.regions] == [True]


def test_a_hole_whose_polygon_was_deleted_is_a_loss() -> None:
    polygon = Polygon(exterior=((10, 10), (90, 10), (90, 90)), holes=(((20, 20), (30, 20), (30, 30)),))
    encoded = encode_regions(
        [Region(id="abcdefghij", shape=polygon, label="Thing")], CONFIG, width_px=WIDTH, height_px=HEIGHT
    )
    decoded = decode_result(encoded.result[1:], width_px=WIDTH, height_px=HEIGHT)
    assert decoded.regions == ()
    assert [loss.code for loss in decoded.losses] == ["LSC011"]


def test_a_shape_that_the_config_lacks_takes_the_nearest_form_and_says_so() -> None:
    boxes_only = LabelConfig.parse(
        "<View><Image name='i' value='$image'/><RectangleLabels name='r' toName='i'><Label value='Thing'/>"
        "</RectangleLabels></View>"
    )
    triangle = Region(id="abcdefghij", shape=Polygon(exterior=((10, 10), (50, 10), (50, 60))), label="Thing")
    encoded = encode_regions([triangle], boxes_only, width_px=WIDTH, height_px=HEIGHT)
    assert [loss.code for loss in encoded.losses] == ["LSC022"]
    assert decode_result(encoded.result, width_px=WIDTH, height_px=HEIGHT).regions[0].shape.kind == "box"
    other = replace(triangle, label="Other")
    encoded = encode_regions([other], boxes_only, width_px=WIDTH, height_px=HEIGHT)
    assert encoded.result == []
    assert "its classes are Thing" in encoded.losses[0].message


def test_labels_tag_with_plain_geometry() -> None:
    config = LabelConfig.parse(
        "<View><Image name='i' value='$image'/><Labels name='l' toName='i'><Label value='Thing'/></Labels>"
        "<Polygon name='p' toName='i'/></View>"
    )
    region = Region(id="abcdefghij", shape=Polygon(exterior=((1, 1), (9, 1), (9, 9))), label="Thing")
    encoded = encode_regions([region], config, width_px=WIDTH, height_px=HEIGHT)
    assert [item["type"] for item in encoded.result] == ["polygon", "labels"]
    decoded = decode_result(encoded.result, width_px=WIDTH, height_px=HEIGHT)
    assert [r.label for r in decoded.regions] == ["Thing"]
    assert decoded.losses == ()


def test_values_per_region_and_per_image() -> None:
    points = {"points": [[1, 1], [9, 1], [9, 9]]}
    result = [
        {
            "id": "r1aaaaaaaa",
            "type": "polygonlabels",
            "from_name": "p",
            "value": {**points, "polygonlabels": ["Thing"]},
        },
        {"id": "r1aaaaaaaa", "type": "choices", "from_name": "roof", "value": {**points, "choices": ["flat"]}},
        {"id": "r1aaaaaaaa", "type": "number", "from_name": "floors", "value": {**points, "number": 3}},
        {"id": "img", "type": "choices", "from_name": "quality", "value": {"choices": ["good", "sharp"]}},
    ]
    decoded = decode_result(result, width_px=WIDTH, height_px=HEIGHT)
    assert dict(decoded.regions[0].attributes) == {"roof": "flat", "floors": 3}
    assert dict(decoded.image_values) == {"quality": ["good", "sharp"]}


GOOD = {"points": [[1, 1], [9, 1], [9, 9]], "polygonlabels": ["Thing"]}


def polygon(**value: Any) -> dict[str, Any]:
    return {"id": "a", "type": "polygonlabels", "value": {**GOOD, **value}}


@pytest.mark.parametrize(
    ("result", "code"),
    [
        ("text", "LSC001"),
        ([7], "LSC002"),
        ([polygon()] * 2, "LSC003"),
        ([polygon(), polygon(points=[[1, 1], [2, 2], [3, 1]])], "LSC004"),
        ([{"id": "a", "type": "audio", "value": {"start": 1, "end": 2}}], "LSC005"),
        ([polygon(points=[[1, 1], [2, 2]])], "LSC006"),
        ([polygon(points=[[1, "x"], [2, 2], [3, 1]])], "LSC006"),
        ([{"id": "a", "type": "rectanglelabels", "value": {"x": 1, "y": 1, "width": 0, "height": 3}}], "LSC006"),
        ([{"id": "a", "type": "rectanglelabels", "value": {"x": math.nan, "y": 1, "width": 2, "height": 3}}], "LSC006"),
        ([{"id": "a", "type": "brushlabels", "value": {"format": "rle", "rle": [1, 2, 3]}}], "LSC006"),
        ([{"id": "a", "type": "bitmasklabels", "value": {"imageDataURL": "data:image/png;base64,xx"}}], "LSC006"),
        ([polygon(points=[[10**400, 1], [2, 2], [3, 1]])], "LSC006"),
        ([polygon(points={"a": 1})], "LSC006"),
        ([{"id": "a", "type": "brushlabels", "value": {"rle": 10**12}}], "LSC006"),
        ([{"id": "a", "type": "brushlabels", "value": {"rle": "text"}}], "LSC006"),
        ([{"id": "a", "type": "bitmasklabels", "value": {"imageDataURL": ["x"]}}], "LSC006"),
        ([{"id": "a", "type": "vectorlabels", "value": {"vertices": "text"}}], "LSC006"),
        ([polygon(polygonlabels=["Thing", "Other"])], "LSC007"),
        ([{**polygon(), "original_width": 5, "original_height": 5}], "LSC008"),
        ([polygon(polygonlabels=["Other"])], "LSC009"),
        ([{"id": "a", "type": "polygonlabels", "value": {"points": GOOD["points"]}}], "LSC009"),
        ([{"type": "relation", "from_id": "a", "to_id": "b"}], "LSC010"),
    ],
)
def test_defects_become_losses_with_a_code(result: Any, code: str) -> None:
    good = {"id": "goodgoodgo", "type": "polygonlabels", "from_name": "polygon", "value": GOOD}
    everything = [*result, good] if isinstance(result, list) else result
    decoded = decode_result(everything, width_px=WIDTH, height_px=HEIGHT, taxonomy=TAXONOMY)
    assert code in {loss.code for loss in decoded.losses}
    if isinstance(result, list):
        assert "goodgoodgo" in {region.id for region in decoded.regions}, "a defect cost another region"


def test_the_encoded_outline_of_a_mask_for_a_config_without_masks() -> None:
    config = LabelConfig.parse(build_config(Taxonomy(name="t", version="1", classes=(LabelClass(id=1, name="Thing"),))))
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[10:50, 20:80] = True
    mask[20:30, 30:40] = False
    region = Region(id="abcdefghij", shape=Mask.from_array(mask), label="Thing")
    encoded = encode_regions([region], config, width_px=WIDTH, height_px=HEIGHT)
    decoded = decode_result(encoded.result, width_px=WIDTH, height_px=HEIGHT)
    outline = to_shapely(decoded.regions[0].shape)
    assert outline.area == pytest.approx(mask.sum())
    assert shapely.is_valid(outline)
