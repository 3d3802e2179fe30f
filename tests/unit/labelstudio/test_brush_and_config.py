"""Brush bytes are Label Studio's own; configs and taxonomies belong together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as arrays

from geolabel.errors import ShapeError, TaxonomyError
from geolabel.labelstudio.brush import decode_png, decode_rle, encode_png, encode_rle
from geolabel.labelstudio.config import LabelConfig, build_config
from geolabel.pipeline.templates import check_templates, template_names, template_taxonomy
from tests.sdk import sdk_brush

masks = arrays.arrays(np.bool_, arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40))


@given(mask=masks)
def test_label_studios_own_converter_reads_our_brush(mask: np.ndarray) -> None:
    brush = sdk_brush()
    read = brush.decode_rle(encode_rle(mask)).reshape(*mask.shape, 4)[:, :, 3]
    assert ((read == 255) == mask).all()


@given(mask=masks)
def test_we_read_the_brush_of_label_studios_own_converter(mask: np.ndarray) -> None:
    brush = sdk_brush()
    rle = brush.encode_rle(np.repeat(mask.ravel(), 4).astype(np.uint8) * 255)
    assert (decode_rle(rle, mask.shape[1], mask.shape[0]) == mask).all()


@given(mask=masks)
def test_png_there_and_back(mask: np.ndarray) -> None:
    assert (decode_png(encode_png(mask, "#ff8800")) == mask).all()


def test_runs_longer_than_65536() -> None:
    mask = np.zeros((700, 900), dtype=bool)
    mask[300:, :] = True
    assert (decode_rle(encode_rle(mask), 900, 700) == mask).all()


def test_damaged_brushes_are_refused() -> None:
    rle = encode_rle(np.eye(8, dtype=bool))
    with pytest.raises(ShapeError, match="needs 324 "):
        decode_rle(rle, 9, 9)
    with pytest.raises(ShapeError, match="end before|damaged"):
        decode_rle(rle[:12], 8, 8)
    with pytest.raises(ShapeError, match="bytes 0 to 255"):
        decode_rle([300], 8, 8)
    for address in ("nothing", "data:image/png;base64,AAAA"):
        with pytest.raises(ShapeError):
            decode_png(address)


CONFIG = """<View>
  <Image name="img" value="$tile"/>
  <PolygonLabels name="poly" toName="img" model_score_threshold="0.35">
    <Label value="Building" background="#ff0000" predicted_values="house, roof" prompt="roof"/>
    <Label value="Road"/>
  </PolygonLabels>
  <KeyPointLabels name="kp" toName="img" smart="true" smartOnly="true"><Label value="Building"/></KeyPointLabels>
  <Choices name="q" toName="img"><Choice value="good"/></Choices>
</View>"""


def test_what_a_config_says() -> None:
    config = LabelConfig.parse(CONFIG)
    assert (config.image, config.image_key) == ("img", "tile")
    assert config.labels() == ("Building", "Road")
    polygon = config.controls[0]
    assert polygon.score_threshold == 0.35
    assert polygon.labels[0].predicted_values == ("house", "roof")
    assert config.controls[1].smart_only
    assert config.control_for("point", "Building") is None, "a prompt tool holds no labels"
    taxonomy = config.taxonomy()
    assert taxonomy.by_name("Building").colour == "#ff0000"
    assert taxonomy.by_name("Building").prompts == ("roof",)
    assert taxonomy.by_name("Road").shapes == ("polygon", "multipolygon")


@pytest.mark.parametrize(
    ("xml", "sentence"),
    [
        ("<View>", "is no XML"),
        ("<View><Text name='t' value='$t'/></View>", "no <Image>"),
        ("<View><Image name='i' value='$i'/><PolygonLabels toName='i'/></View>", "has no name"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><View/>", "DOCTYPE"),
    ],
)
def test_wrong_configs_are_refused(xml: str, sentence: str) -> None:
    with pytest.raises(TaxonomyError, match=sentence):
        LabelConfig.parse(xml)


def test_a_wrong_threshold_is_refused() -> None:
    config = LabelConfig.parse(CONFIG.replace("0.35", "35"))
    with pytest.raises(TaxonomyError, match="from 0 to 1"):
        _ = config.controls[0].score_threshold


def test_every_template_agrees_with_its_taxonomy() -> None:
    assert check_templates() == []
    assert len(template_names()) >= 5


@pytest.mark.parametrize("name", template_names())
def test_a_config_offers_every_class_in_every_shape_of_its_taxonomy(name: str) -> None:
    taxonomy = template_taxonomy(name)
    config = LabelConfig.parse(build_config(taxonomy))
    for label_class in taxonomy.classes:
        assert set(label_class.shapes) <= set(config.kinds_for(label_class.name))
