"""Radiometry against published formulas, worked by hand or on made data."""

from __future__ import annotations

import math

import numpy as np
import pytest

from geolabel.core.georef import Georeference
from geolabel.core.scene import Band, RenderSpec, Scene
from geolabel.errors import InputError
from geolabel.raster import masks, radiometry, speckle
from geolabel.raster.expression import bands_in, evaluate
from geolabel.raster.render import render_array
from geolabel.raster.steps import apply_steps

GEOREF = Georeference(crs="EPSG:32636", transform=(10, 0, 0, 0, -10, 0), width=10, height=10)


def scene(**properties: object) -> Scene:
    """Make a scene of three bands."""
    bands = tuple(Band(index=i, name=n) for i, n in ((1, "red"), (2, "green"), (3, "blue")))
    return Scene(id="s", uri="", name="s", georef=GEOREF, bands=bands, dtype="uint16", properties=properties)


def test_landsat_reflectance() -> None:
    """(2e-5 · 10000 − 0.1) / sin 30° = 0.2; the factors are those of every Landsat 8 MTL file."""
    raw = np.array([[5000, 10000]], dtype=np.uint16)
    out = radiometry.landsat_toa(raw, 2e-5, -0.1, 30.0)
    assert out[0].tolist() == pytest.approx([0.0, 0.2], abs=1e-6)
    text = 'GROUP = LEVEL1\n REFLECTANCE_MULT_BAND_4 = 2.0000E-05\n SUN_ELEVATION = 30.0\n MAP = "UTM"\n'
    assert radiometry.parse_mtl(text) == {"REFLECTANCE_MULT_BAND_4": 2e-5, "SUN_ELEVATION": 30.0}
    with pytest.raises(InputError, match="above 0"):
        radiometry.landsat_toa(raw, 2e-5, -0.1, 0.0)


def test_sentinel2_reflectance() -> None:
    """Baseline 04.00: (DN − 1000) / 10000."""
    text = (
        "<a><QUANTIFICATION_VALUE unit='none'>10000</QUANTIFICATION_VALUE>"
        "<RADIO_ADD_OFFSET band_id='3'>-1000</RADIO_ADD_OFFSET></a>"
    )
    facts = radiometry.parse_s2(text)
    assert facts == {"quantification": 10000.0, "offsets": {3: -1000.0}}
    out = radiometry.sentinel2_reflectance(np.array([[3000]], np.uint16), 10000.0, facts["offsets"][3])
    assert out[0, 0] == pytest.approx(0.2)
    with pytest.raises(InputError, match="document type"):
        radiometry.parse_s2("<!DOCTYPE a [<!ENTITY b 'c'>]><a/>")


def test_steps_use_the_scene_s_facts() -> None:
    """A toa step takes factors per band from the record, and says so when there are none."""
    facts = {"kind": "landsat", "sun_elevation_deg": 90.0, "bands": {"1": [2e-5, -0.1]}}
    raw = np.full((1, 2, 2), 10000, np.uint16)
    out = apply_steps(raw, None, [1], [{"op": "toa"}], scene(radiometry=facts))
    assert float(out[0, 0, 0]) == pytest.approx(0.1, abs=1e-6)
    with pytest.raises(InputError, match="no metadata"):
        apply_steps(raw, None, [1], [{"op": "toa"}], scene())
    with pytest.raises(InputError, match="unknown"):
        apply_steps(raw, None, [1], [{"op": "magic"}], scene())


def test_dark_object() -> None:
    """The dark object of each band is taken off, nothing goes below 0."""
    raw = np.array([[[50, 60], [70, 80]], [[5, 6], [7, 8]]], np.uint16)
    out = radiometry.dark_object(raw, np.array([55.0, 5.0]))
    assert out[0].tolist() == [[0, 5], [15, 25]]
    assert out[1].tolist() == [[0, 1], [2, 3]]


def test_radar() -> None:
    """σ⁰ = |DN|²/A², decibels of intensity and amplitude agree, calibration vectors are interpolated bilinearly."""
    dn = np.array([[3 + 4j, 0]], np.complex64)
    linear = radiometry.sigma0(dn, 10.0)
    assert float(linear[0, 0]) == pytest.approx(0.25)
    assert float(radiometry.decibel(linear)[0, 0]) == pytest.approx(10 * math.log10(0.25), abs=1e-5)
    assert np.isnan(radiometry.decibel(linear)[0, 1])
    assert float(radiometry.decibel(np.abs(dn), of="amplitude")[0, 0]) == pytest.approx(20 * math.log10(5), abs=1e-5)
    lut = radiometry.calibration_lut(
        np.array([0, 10]), np.array([0, 20]), np.array([[0.0, 20.0], [10.0, 30.0]]), np.array([5]), np.array([10])
    )
    assert float(lut[0, 0]) == pytest.approx(15.0)


def test_lee_is_the_published_estimate() -> None:
    """Against the formula worked pixel by pixel."""
    rng = np.random.default_rng(1)
    plane = rng.gamma(4.0, 25.0, (12, 12)).astype(np.float32)
    out = speckle.lee(plane, size=5, looks=4.0)
    window = plane[3:8, 3:8].astype(np.float64)
    mean, variance = window.mean(), window.var()
    signal = max(variance - mean * mean / 4.0, 0.0) / (1 + 1 / 4.0)
    expected = mean + signal / variance * (plane[5, 5] - mean)
    assert float(out[5, 5]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["lee", "refined_lee"])
def test_speckle_filters_calm_fields_and_keep_edges(name: str) -> None:
    """On a step of 1 : 10 under 4-look speckle: the mean stays, the spread halves, the edge stays."""
    rng = np.random.default_rng(7)
    truth = np.where(np.arange(96)[None, :] < 48, 10.0, 100.0) * np.ones((96, 1))
    noisy = (truth * rng.gamma(4.0, 0.25, truth.shape)).astype(np.float32)
    out = getattr(speckle, name)(noisy, size=7, looks=4.0)
    field, before = out[:, 60:90], noisy[:, 60:90]
    assert float(field.mean()) == pytest.approx(float(before.mean()), rel=0.03)
    assert float(field.std()) < 0.5 * float(before.std())
    assert float(out[:, 49:51].mean()) > 60
    assert float(out[:, 45:47].mean()) < 40


def test_refined_lee_is_sharper_at_an_edge() -> None:
    """Beside an edge the half window does better than the whole one."""
    rng = np.random.default_rng(3)
    truth = np.where(np.arange(96)[None, :] < 48, 10.0, 100.0) * np.ones((96, 1))
    noisy = (truth * rng.gamma(4.0, 0.25, truth.shape)).astype(np.float32)
    near = np.s_[8:-8, 45:51]
    errors = {n: np.abs(getattr(speckle, n)(noisy, looks=4.0) - truth)[near].mean() for n in ("lee", "refined_lee")}
    assert errors["refined_lee"] < errors["lee"]


def test_median_and_wrong_sizes() -> None:
    """A single spike is gone; even windows are refused."""
    plane = np.ones((9, 9), np.float32)
    plane[4, 4] = 1000
    assert float(speckle.median(plane, size=3).max()) == 1.0
    with pytest.raises(InputError, match="odd"):
        speckle.lee(plane, size=4)
    with pytest.raises(InputError, match="looks"):
        speckle.lee(plane, looks=0.0)


def test_qa_bands() -> None:
    """Codes of Landsat QA_PIXEL and Sentinel-2 SCL as their handbooks list them."""
    landsat = np.array([[21824, 22280, 23888, 21952, 54596]], np.uint16)  # clear, cloud, shadow, water …
    assert masks.qa_pixel(landsat)[0].tolist() == [0, 1, 2, 3, 1]
    scl = np.arange(12, dtype=np.uint8)[None]
    assert masks.scl(scl)[0].tolist() == [0, 0, 0, 2, 0, 0, 3, 0, 1, 1, 1, 0]
    with pytest.raises(InputError, match="known are"):
        masks.qa_decoder("fmask")


def test_expressions() -> None:
    """Arithmetic of bands; anything else is refused before it is evaluated."""
    array = np.array([[[1.0]], [[3.0]]], np.float32)
    assert float(evaluate("(b4-b1)/(b4+b1)", array, [1, 4])[0, 0]) == pytest.approx(0.5)
    assert bands_in("b2*2") == (2,)
    assert np.isnan(evaluate("b1/(b1-b1)", array[:1], [1])[0, 0])
    for bad in ("__import__('os')", "b1.real", "b1; b2", "1+1", "a1+b1"):
        with pytest.raises(InputError):
            evaluate(bad, array[:1], [1])


def test_render_stretch_gamma_palette() -> None:
    """Low is 0, high is 255, gamma lifts the middle; a palette paints codes; no data is transparent."""
    spec = RenderSpec(bands=(1,), rescale=((100.0, 200.0),))
    raw = np.array([[[50, 100, 150, 200, 300]]], np.uint16)
    mask = np.array([[True, True, True, True, False]])
    out = render_array(scene(), raw, mask, [1], spec)
    assert out[0, :, 0].tolist() == [0, 0, 128, 255, 255]
    assert out[0, :, 3].tolist() == [255, 255, 255, 255, 0]
    lifted = render_array(scene(), raw, None, [1], RenderSpec(bands=(1,), rescale=((100.0, 200.0),), gamma=2.0))
    assert int(lifted[0, 2, 0]) == round(math.sqrt(0.5) * 255)
    painted = render_array(
        scene(palette={"1": [255, 0, 0, 255], "2": [0, 0, 255, 255]}),
        np.array([[[1, 2, 9]]], np.uint8), None, [1], RenderSpec(bands=(1,), rescale=(), colormap="palette"),
    )  # fmt: skip
    assert painted[0].tolist() == [[255, 0, 0, 255], [0, 0, 255, 255], [0, 0, 0, 0]]
