"""Every registered format: dataset → files → dataset, equal up to the declared losses; same input, same bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geolabel.core.dataset import Batch, stream
from geolabel.core.georef import Georeference
from geolabel.errors import GeoLabelError
from geolabel.formats.contract import Format, WriteOptions
from geolabel.formats.registry import formats
from geolabel.formats.traits import losses, measure
from geolabel.testing.format_contract import check_round_trip, sample_dataset

NAMES = formats().names()
#: Transforms of the edge corpus: north-up, south-up, rotated, geographic, Web Mercator, polar, northings of 10⁷ m.
PLANES = {
    "utm": Georeference(crs="EPSG:32636", transform=(0.3, 0, 450_000, 0, -0.3, 5_000_000), width=1024, height=768),
    "south-up": Georeference(crs="EPSG:32736", transform=(0.5, 0, 300_000, 0, 0.5, 9_900_000), width=1024, height=768),
    "rotated": Georeference(
        crs="EPSG:32633", transform=(0.26, 0.15, 500_000, 0.15, -0.26, 5_100_000), width=1024, height=768
    ),
    "geographic": Georeference(crs="EPSG:4326", transform=(3e-6, 0, 32.5, 0, -3e-6, 0.3), width=1024, height=768),
    "mercator": Georeference(crs="EPSG:3857", transform=(0.6, 0, 3_600_000, 0, -0.6, 35_000), width=1024, height=768),
    "polar": Georeference(crs="EPSG:3413", transform=(1.0, 0, -400_000, 0, -1.0, -900_000), width=1024, height=768),
    "lambert": Georeference(crs="EPSG:2154", transform=(0.2, 0, 650_000, 0, -0.2, 6_860_000), width=1024, height=768),
}


@pytest.fixture(params=NAMES)
def form(request: pytest.FixtureRequest) -> Format:
    found: Format = formats().get(request.param)
    return found


def test_it_is_a_format_of_its_name(form: Format) -> None:
    assert isinstance(form, Format)
    assert formats().get(form.spec.name) is form


@settings(max_examples=2, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000))
def test_round_trip_loses_only_what_is_declared(
    form: Format, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    check_round_trip(form, sample_dataset(seed), tmp_path_factory.mktemp("round"))


@pytest.mark.parametrize("plane", sorted(PLANES))
def test_positions_agree_in_every_crs(form: Format, plane: str, tmp_path: Path) -> None:
    check_round_trip(form, sample_dataset(1, georef=PLANES[plane]), tmp_path)


def test_same_input_gives_same_bytes(form: Format, tmp_path: Path) -> None:
    found = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        written = form.write(sample_dataset(2), folder, WriteOptions())
        found.append({f: (folder / f).read_bytes() for f in written.files})
    assert found[0] == found[1]


def test_losses_are_known_before_writing(form: Format) -> None:
    dataset = sample_dataset(3, per_image=18)
    told = {loss.what: loss.count for loss in losses(form.spec, *measure(dataset))}
    expected = {"lines": 4, "points": 4, "holes": 4, "multipart": 4, "score": 12}
    for what, count in expected.items():
        assert told.get(what, 0) == (0 if what in form.spec.keeps else count), what


def test_an_empty_dataset_is_written(form: Format, tmp_path: Path) -> None:
    dataset = replace(sample_dataset(0), parts=stream(), objects=stream())
    if form.spec.name == "kml" or form.spec.stream == "objects":
        written = form.write(dataset, tmp_path, WriteOptions())
        assert sum(written.records.values()) == 0
    else:
        back, _ = check_round_trip(form, dataset, tmp_path)
        assert len(back.images) == 3


def test_reading_something_else_is_refused(form: Format, tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("nothing of this format")
    with pytest.raises((GeoLabelError, OSError)):
        list(form.read(tmp_path).objects())


def test_images_without_a_place_stay_in_image_formats(form: Format, tmp_path: Path) -> None:
    dataset = sample_dataset(0, kinds=("box",))
    images = tuple(replace(image, georef=None, scene=-1, window=None, geo="") for image in dataset.images)
    lost = replace(dataset, images=images, scenes=(), objects=stream())
    told = {loss.what: loss.count for loss in losses(form.spec, *measure(lost))}
    if form.spec.stream == "objects":
        assert told["unplaced"] == 18
    else:
        assert "unplaced" not in told
        check_round_trip(form, lost, tmp_path)


def test_batches_of_one_image_may_be_split(tmp_path: Path) -> None:
    dataset = sample_dataset(4)
    whole = Batch.concat(list(dataset.parts()))
    cut = replace(dataset, parts=lambda: (whole.take(slice(i, i + 2)) for i in range(0, len(whole), 2)))
    for name in ("coco", "yolo-segment", "webdataset"):
        check_round_trip(formats().get(name), cut, tmp_path / name)


def test_class_ids_are_those_of_the_taxonomy(tmp_path: Path) -> None:
    back, written = check_round_trip(formats().get("coco"), sample_dataset(0), tmp_path)
    assert set(written.records) == {1, 3}
    assert set(np.unique(Batch.concat(list(back.parts())).class_id).tolist()) == {1, 3}


def test_holes_and_parts_are_run_lengths_in_coco(tmp_path: Path) -> None:
    import json

    dataset = sample_dataset(0, kinds=("hole", "multipolygon", "polygon"))
    formats().get("coco").write(dataset, tmp_path, WriteOptions())
    value = json.loads((tmp_path / "annotations.json").read_text())
    kinds = [isinstance(a["segmentation"], dict) for a in value["annotations"]]
    assert kinds == [True, True, False] * 6
    shapes = Batch.concat(list(dataset.parts())).geometry
    for record, shape in zip(value["annotations"], shapes, strict=True):
        assert record["area"] == pytest.approx(shapely.area(shape), abs=1e-3)
