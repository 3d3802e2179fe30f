"""`geolabel validate` on files: good and bad GeoJSON of geojsonhint, other formats, exports of Label Studio."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import shapely

from geolabel.cli.app import run
from geolabel.errors import InputError
from geolabel.pipeline.validate import validate_file

#: Called good by geojsonhint, which looks at precision there; its latitudes reach −134°, and no place has that.
OFF_THE_EARTH = {"issue82.geojson"}


def hint_files(data_dir: Path, kind: str) -> list[Path]:
    files = sorted((data_dir / "vectors" / "geojsonhint" / kind).glob("*.geojson"))
    assert len(files) == {"bad": 44, "good": 18}[kind]
    return files


def test_no_bad_file_passes(data_dir: Path) -> None:
    passed = [path.name for path in hint_files(data_dir, "bad") if validate_file(path).exit_code() == 0]
    assert passed == []


def test_good_files_pass(data_dir: Path) -> None:
    refused = {path.name for path in hint_files(data_dir, "good") if validate_file(path).exit_code()}
    assert refused == OFF_THE_EARTH


def document(*coordinates: Any, **members: Any) -> dict[str, Any]:
    feature = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": list(coordinates)}}
    return {"type": "FeatureCollection", "features": [feature], **members}


SQUARE = [[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]


@pytest.mark.parametrize(
    "value, code",
    [
        (document(SQUARE), None),
        (document(SQUARE, crs={"type": "name"}), "GJS011"),
        (document([[500000, 4649776], [500010, 4649776], [500010, 4649786], [500000, 4649776]]), "GJS009"),
        (document([[170, 0], [-170, 0], [-170, 10], [170, 10], [170, 0]]), "GJS010"),
        (document([[0, 0], [2, 2], [2, 0], [0, 2.5], [0, 0]]), "GEO010"),
        (document([]), "GJS007"),
        (document(), "GJS007"),
        (document([[0, 0], [1, 0], [1, 0], [1, 1], [0, 1], [0, 0]]), "GEO012"),
        ({**document(SQUARE), "features": document(SQUARE)["features"] * 2}, "GEO020"),
    ],
)
def test_faults_that_other_readers_miss_are_found(tmp_path: Path, value: Any, code: str | None) -> None:
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps(value), "utf-8")
    assert list(validate_file(path).counts) == ([code] if code else [])


def test_not_a_number_is_no_json(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    path.write_text('{"type": "Point", "coordinates": [NaN, 1]}', "utf-8")
    assert dict(validate_file(path).counts) == {"GJS001": 1}


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".parquet", ".shp"])
def test_other_formats_are_checked_in_their_own_crs(tmp_path: Path, suffix: str) -> None:
    bow = shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
    shapes = [shapely.transform(g, lambda xy: np.add(xy, (500000, 50000))) for g in (bow, shapely.box(20, 20, 30, 30))]
    frame = geopandas.GeoDataFrame({"name": ["a", "b"]}, geometry=shapes, crs="EPSG:32636")
    path = tmp_path / f"a{suffix}"
    if suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_file(path)
    verdict = validate_file(path)
    assert verdict.counts["GEO010"] == 1
    assert verdict.records == 2
    where = verdict.issues[0].where
    assert where is not None
    assert where[0] == pytest.approx(33.0, abs=0.01)


def test_exit_status_for_ci(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad, worse = tmp_path / "good.geojson", tmp_path / "bad.geojson", tmp_path / "worse.gpkg"
    good.write_text(json.dumps(document(SQUARE)), "utf-8")
    bad.write_text(json.dumps(document(SQUARE[::-1])), "utf-8")
    worse.write_bytes(b"no database")
    assert run(["validate", str(good)]) == 0
    assert run(["validate", str(bad)]) == 1
    assert run(["validate", str(worse)]) == 2
    assert run(["validate", str(tmp_path / "none.geojson")]) == 2
    capsys.readouterr()
    assert run(["validate", str(bad), "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["findings"] == {"GJS008": 1}
    assert run(["validate", "--rules"]) == 0
    assert "GEO010" in capsys.readouterr().out


def test_a_label_studio_export_is_decoded_and_checked(tmp_path: Path) -> None:
    def region(name: str, points: list[list[float]]) -> dict[str, Any]:
        return {
            "id": name, "type": "polygonlabels", "from_name": "l", "to_name": "i", "original_width": 100,
            "original_height": 100, "value": {"points": points, "polygonlabels": ["house"]},
        }  # fmt: skip

    square = [[10, 10], [30, 10], [30, 30], [10, 30]]
    results = [region("a", square), region("b", square), region("c", [[50, 50], [70, 70], [70, 50], [50, 70]])]
    task = {"id": 1, "data": {"image": "/a.jpg"}, "annotations": [{"id": 2, "result": results}]}
    path = tmp_path / "export.json"
    path.write_text(json.dumps([task]), "utf-8")
    verdict = validate_file(path)
    assert verdict.records == 3
    assert dict(verdict.counts) == {"GEO010": 1, "GEO020": 1}
    with pytest.raises(InputError):
        validate_file(Path(__file__))
