"""ONNX files of others, Dynamic World on a real Sentinel-2 scene, and vector layers as pre-labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from geolabel.core.scene import Band
from geolabel.core.shapes import to_shapely
from geolabel.core.taxonomy import LabelClass, Taxonomy
from geolabel.errors import ModelError
from geolabel.predict.contract import ChipInput, PredictContext
from geolabel.predict.onnx_models import OnnxModel
from geolabel.predict.onnx_predictor import OnnxPredictor
from geolabel.predict.vector_prior import VectorPrior
from geolabel.testing.predictor_contract import check_answer, make_chip_input, odd_chips

RNG = np.random.default_rng(11)
NAMES = ("Coffee", "Tea", "Juice", "Beer", "class 0", "class 1", "class 2")
DUMMIES = {
    "different_output_size_512_to_484": 2, "dummy_model": 3, "one_output_sigmoid_bsx1x512x512": 1,
    "one_output_sigmoid_bsx512x512": 1, "one_output_softmax_bsx2x512x512": 2, "two_outputs_sigmoid_bsx1x512x512": 2,
    "two_outputs_sigmoid_bsx512x512": 2, "two_outputs_softmax_bsx2x512x512": 4,
}  # fmt: skip


def context(*names: str) -> PredictContext:
    classes = tuple(LabelClass(id=i, name=name) for i, name in enumerate(names, start=1))
    return PredictContext(project_id="1", taxonomy=Taxonomy(name="t", version="1", classes=classes))


@pytest.mark.parametrize("name", sorted(DUMMIES))
def test_segmentation_files_of_deepness(data_dir: Path, name: str) -> None:
    path = data_dir / "weights" / "deepness_dummy_onnx" / "dummy_segmentation_models" / f"{name}.onnx"
    predictor = OnnxPredictor(model=str(path))
    asked = context(*NAMES)
    assert predictor.ready(asked) == ""
    predictor.load("cpu")
    fields = RNG.integers(0, 255, (3, 10, 9), dtype=np.uint8)
    chip = make_chip_input(fields.repeat(60, axis=1).repeat(60, axis=2)[:, :, :530])
    answer = predictor.predict([chip], asked)[0]
    check_answer(answer, chip, asked, class_aware=True)
    assert not answer.error
    model = OnnxModel(path, {})
    planes = model.run(np.moveaxis(chip.rgb, -1, 0).astype(np.float32) / 255)
    assert sum(len(p) for p in planes) == DUMMIES[name]
    assert all(p.shape[1:] == (600, 530) for p in planes)


def test_odd_chips_are_answered(data_dir: Path) -> None:
    path = data_dir / "weights/deepness_dummy_onnx/dummy_segmentation_models/one_output_sigmoid_bsx1x512x512.onnx"
    predictor = OnnxPredictor(model=str(path))
    predictor.load("cpu")
    asked = context("Coffee")
    for name, chip in odd_chips().items():
        check_answer(predictor.predict([chip], asked)[0], chip, asked, class_aware=True, what=name)


@pytest.mark.parametrize("name", ["dummy_recognition_model", "dummy_regression_models/dummy_regression_model"])
def test_models_that_make_no_regions_are_refused(data_dir: Path, name: str) -> None:
    with pytest.raises(ModelError, match="regions come from"):
        OnnxPredictor(model=str(data_dir / "weights" / "deepness_dummy_onnx" / f"{name}.onnx")).load("cpu")


def test_a_missing_and_a_damaged_file(tmp_path: Path) -> None:
    assert "no ONNX file" in OnnxPredictor(model=str(tmp_path / "none.onnx")).ready(context("a"))
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="can't be loaded"):
        OnnxPredictor(model=str(tmp_path / "bad.onnx")).load("cpu")


def test_dynamic_world_on_a_real_scene(data_dir: Path) -> None:
    """The clearest of five Sentinel-2 dates: mostly fields and trees, which people mapped there as well."""
    scenes = np.load(data_dir / "imagery" / "labelled" / "eolearn_slovenia_s2" / "REFERENCE_SCENES.npy", mmap_mode="r")
    names = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")
    dates = [np.asarray(date, dtype=np.float32) for date in scenes]
    clearest = min(dates, key=lambda date: float(np.median(date[..., 1])))
    assert clearest.shape[-1] == len(names)
    pixels = np.moveaxis(clearest, -1, 0)
    if np.nanmax(pixels) <= 2:
        pixels = pixels * 10000
    made = make_chip_input(pixels, gsd_m=10.0)
    bands = tuple(Band(index=i + 1, name=name) for i, name in enumerate(names))
    chip = ChipInput(chip=made.chip, scene=None, pixels=made.pixels, valid=made.valid, rgb=made.rgb, bands=bands)
    path = data_dir / "weights" / "dynamicworld" / "dynamicworld_forward.onnx"
    predictor = OnnxPredictor(
        model=str(path), labels={"trees": "Forest", "crops": "Field", "built": "Town", "grass": "Field"}
    )
    predictor.load("cpu")
    asked = context("Forest", "Field", "Town")
    answer = predictor.predict([chip], asked)[0]
    check_answer(answer, chip, asked, class_aware=True)
    area = {
        name: sum(to_shapely(r.shape).area for r in answer.regions if r.label == name)
        for name in asked.taxonomy.names()
    }
    share = (area["Forest"] + area["Field"]) / (chip.width * chip.height)
    assert share > 0.4, area
    rgb_only = make_chip_input(RNG.integers(0, 255, (3, 64, 64), dtype=np.uint8))
    assert "lacks" in predictor.predict([rgb_only], asked)[0].error


def write_layer(path: Path, geometries: list[shapely.Geometry], kinds: list[str], crs: str | None) -> None:
    import pyogrio

    wkb = np.array([shapely.to_wkb(g) for g in geometries], dtype=object)
    pyogrio.raw.write(
        path, wkb, [np.array(kinds, dtype=object)], ["kind"], geometry_type="Unknown", crs=crs, driver="GPKG",
        layer="l",
    )  # fmt: skip


def test_a_layer_in_another_crs_comes_to_lie_where_it_belongs(tmp_path: Path) -> None:
    import pyproj

    chip = make_chip_input(np.zeros((3, 100, 120), np.uint8) + 50)
    georef = chip.chip.georef
    there = pyproj.Transformer.from_crs(georef.crs, "EPSG:4326", always_xy=True)

    def lonlat(geometry: shapely.Geometry) -> shapely.Geometry:
        def move(xy: Any) -> Any:
            world = georef.to_world(xy)
            return np.stack(there.transform(world[:, 0], world[:, 1]), axis=1)

        return shapely.transform(geometry, move)

    house, half = shapely.box(20, 30, 60, 70), shapely.box(100, 80, 160, 140)
    road = shapely.LineString([(0, 10), (120, 10)])
    far = shapely.box(5000, 5000, 5100, 5100)
    layer = tmp_path / "map.gpkg"
    write_layer(layer, [lonlat(g) for g in (house, half, road, far)], ["house", "house", "track", "house"], "EPSG:4326")
    asked = context("Building", "Road")
    prior = VectorPrior(path=str(layer), field="kind", labels={"house": "Building"}, score=0.6, line_width_m=4)
    assert prior.ready(asked) == ""
    prior.load("cpu")
    answer = prior.predict([chip], asked)[0]
    check_answer(answer, chip, asked, class_aware=True)
    shapes = sorted((to_shapely(r.shape) for r in answer.regions), key=lambda g: g.bounds)
    assert len(shapes) == 2
    assert shapes[0].symmetric_difference(house).area < 20
    assert shapes[1].symmetric_difference(shapely.box(100, 80, 120, 100)).area < 20
    assert "track" in answer.reason
    roads = VectorPrior(path=str(layer), field="kind", labels={"track": "Road"}, line_width_m=4)
    roads.load("cpu")
    (strip,) = roads.predict([chip], asked)[0].regions
    assert to_shapely(strip.shape).area == pytest.approx(120 * 8, rel=0.15)


def test_layers_that_cannot_be_used_say_so(tmp_path: Path) -> None:
    assert "no vector layer" in VectorPrior().ready(context("a"))
    with pytest.raises(ModelError, match="can't be opened"):
        VectorPrior(path=str(tmp_path / "none.gpkg")).load("cpu")
    write_layer(tmp_path / "a.gpkg", [shapely.Point(1, 1)], ["x"], "EPSG:4326")
    with pytest.raises(ModelError, match="no field 'class'"):
        VectorPrior(path=str(tmp_path / "a.gpkg"), field="class").load("cpu")
