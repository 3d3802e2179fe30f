"""Exports of a real Label Studio: versions, rebuild after edits, diff, import, judged by readers that are not ours."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio

from geolabel.cli.app import run as command_line
from geolabel.core.manifest import Recipe
from geolabel.errors import AdapterError, InputError
from geolabel.formats.registry import formats
from geolabel.pipeline import export as export_module
from geolabel.pipeline import versions
from geolabel.pipeline.diff import diff
from geolabel.pipeline.export import export_project
from geolabel.pipeline.import_labels import to_map, to_project
from geolabel.testing.format_contract import sample_dataset

XML = """<View><Image name="image" value="$image"/>
<PolygonLabels name="label" toName="image"><Label value="building"/><Label value="water"/></PolygonLabels></View>"""


def polygon(region: str, label: str, points: list[list[float]]) -> dict[str, Any]:
    return {
        "id": region, "type": "polygonlabels", "from_name": "label", "to_name": "image", "original_width": 256,
        "original_height": 256, "image_rotation": 0,
        "value": {"points": points, "closed": True, "polygonlabels": [label]},
    }  # fmt: skip


@pytest.fixture(scope="module")
def project(stack: Any) -> tuple[Any, int]:
    """A project of three chips with four regions on two of them, one of which is cut by the border of two chips."""
    services = stack.services
    made = services.labelstudio.create_project("export versions", XML)
    tasks = [{"data": {"image": f"/{i.id}.jpg?sig=secret", "geo": json.loads(i.geo)}} for i in sample_dataset(0).images]
    ids = services.labelstudio.import_tasks(made["id"], tasks)
    services.labelstudio.annotate(
        ids[0],
        [
            polygon("regionaaaa1", "building", [[10, 10], [20, 10], [20, 20], [10, 20]]),
            polygon("regionaaaa2", "water", [[50.123, 50], [60, 50], [55, 61.7]]),
            polygon("regionaaaa3", "building", [[90, 40], [100, 40], [100, 60], [90, 60]]),
        ],
    )
    services.labelstudio.annotate(ids[1], [polygon("regionbbbb1", "building", [[0, 40], [10, 40], [10, 60], [0, 60]])])
    yield services, made["id"]
    services.labelstudio.delete_project(made["id"])


@pytest.fixture(scope="module")
def first(project: tuple[Any, int]) -> Any:
    services, pid = project
    names = tuple(n for n in formats().names() if n != "labelstudio")
    return export_project(services, pid, Recipe(formats=(*names, "labelstudio")))


def test_every_format_is_written_and_read_back(first: Any) -> None:
    assert set(first.counts["written"]) == set(formats().names())
    assert first.counts["decoded"]["regions"] == 4
    # The building that two chips cut is one object on maps and two parts on images.
    assert first.counts["written"]["geojson"] == {"1": 2, "2": 1}
    assert first.counts["written"]["coco"] == {"1": 3, "2": 1}


def test_no_secret_is_kept(project: tuple[Any, int], first: Any) -> None:
    services, pid = project
    root = services.store.folder(versions.prefix(str(pid), first.version))
    for file in root.rglob("*.json"):
        assert "sig=secret" not in file.read_text("utf-8")


def test_positions_agree_with_the_raster(project: tuple[Any, int], first: Any) -> None:
    services, pid = project
    root = services.store.folder(versions.prefix(str(pid), first.version)) / "data"
    scene = sample_dataset(0).scenes[0].georef
    transform = rasterio.Affine(*scene.transform)
    for path, crs in ((root / "geojson/labels.geojson", "EPSG:4326"), (root / "gpkg/labels.gpkg", "EPSG:32636")):
        frame = geopandas.read_file(path, **({"layer": "polygons"} if path.suffix == ".gpkg" else {}))
        assert frame.crs.to_epsg() == int(crs.split(":")[1])
        water = frame[frame["class"] == "water"].to_crs(scene.crs).geometry.iloc[0]
        px = [~transform @ (x, y) for x, y in water.exterior.coords[:-1]]
        right = [(128.31488, 128.0), (153.6, 128.0), (140.8, 157.952)]
        for col, row in right:
            assert min(np.hypot(col - x, row - y) for x, y in px) < 0.01


def test_export_again_gives_the_same_version(project: tuple[Any, int], first: Any) -> None:
    services, pid = project
    assert export_project(services, pid, Recipe.from_json(first.recipe)).version == first.version


def test_rebuild_is_identical_after_edits_and_a_new_code(
    project: tuple[Any, int], first: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services, pid = project
    task = next(iter(services.labelstudio.tasks(pid)))
    number = task["annotations"][0]["id"]
    services.labelstudio.update_annotation(
        number,
        result=[
            polygon("regionaaaa1", "water", [[10, 10], [20, 10], [20, 20], [10, 20]]),
            polygon("regionaaaa2", "water", [[50.123, 50], [60, 50], [55, 71.7]]),
            polygon("regionaaaa4", "building", [[30, 40], [40, 40], [35, 60]]),
        ],
    )
    second = export_project(services, pid, Recipe(formats=("geojson",)))
    assert second.parents == (first.version,)
    assert second.number == 2
    layer = tmp_path / "diff.geojson"
    told = diff(services, str(pid), first.version, second.version, layer=layer).to_json()
    assert told["reclassified"] == {"water": 1}
    assert told["reshaped"] == {"water": 1}
    assert told["added"]["building"] >= 1
    assert told["removed"]["building"] >= 1
    changed = geopandas.read_file(layer)
    assert sorted(set(changed["change"])) == ["added", "reclassified", "removed", "reshaped"]
    # A code that words reports differently and calls itself newer changes no hash of an old version.
    monkeypatch.setattr(export_module, "__version__", "99.0")
    monkeypatch.setattr("geolabel.pipeline.build.class_balance", lambda *_: [{"worded": "anew"}])
    verdict = versions.rebuild(services, str(pid), first.version, into=tmp_path / "again")
    assert verdict.good, verdict
    assert verdict.made_again > 21
    for entry in first.files:
        assert versions.hash_file(tmp_path / "again" / entry.path) == entry.sha256
    stored = services.store.get(f"{versions.prefix(str(pid), first.version)}/manifest.json")
    assert (tmp_path / "again" / "manifest.json").read_bytes() == stored


def test_verify_finds_a_planted_fault(project: tuple[Any, int], first: Any) -> None:
    services, pid = project
    assert versions.verify(services, str(pid), first.version).good
    file = services.store.folder(versions.prefix(str(pid), first.version)) / "data/geojson/labels.geojson"
    kept = file.read_bytes()
    try:
        file.write_bytes(kept.replace(b"building", b"buildinG", 1))
        assert versions.verify(services, str(pid), first.version).changed == ("data/geojson/labels.geojson",)
    finally:
        file.write_bytes(kept)


def test_predictions_come_back_to_map_and_project(project: tuple[Any, int], first: Any, tmp_path: Path) -> None:
    services, pid = project
    data = services.store.folder(versions.prefix(str(pid), first.version)) / "data"
    for name in ("coco", "yolo-segment", "voc", "tfrecord"):
        written = to_map(data / name, name, "geojson", tmp_path / name)
        assert sum(written.records.values()) == 4
        assert len(geopandas.read_file(tmp_path / name / "labels.geojson")) == 4
    by_chip = to_project(services, pid, data / "coco", "coco", model_version="back-coco")
    assert (by_chip.read, by_chip.placed, by_chip.predictions) == (4, 4, 2)
    # On the map the cut building is one object; each of its two chips gets its part again.
    by_place = to_project(services, pid, data / "gpkg/labels.gpkg", "gpkg", model_version="back-gpkg")
    assert (by_place.read, by_place.placed, by_place.predictions) == (3, 4, 2)


def test_a_failure_in_the_middle_leaves_nothing_visible(
    project: tuple[Any, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    services, pid = project
    before = [m.version for m in versions.list_versions(services, str(pid))]

    def full(*args: Any, **kwargs: Any) -> Any:
        raise OSError(28, "No space left on device")

    kml = formats().get("kml")
    monkeypatch.setattr(type(kml), "write", full)
    with pytest.raises(AdapterError, match="No space left"):
        export_project(services, pid, Recipe(formats=("geojson", "kml")))
    assert [m.version for m in versions.list_versions(services, str(pid))] == before
    assert not list(services.store.folder("exports/.staging").iterdir())


def test_a_difference_in_read_back_stops_the_export(project: tuple[Any, int], monkeypatch: pytest.MonkeyPatch) -> None:
    services, pid = project
    form = formats().get("csv")
    honest = type(form).read

    def shifted(self: Any, path: Path, taxonomy: Any = None) -> Any:
        back = honest(self, path, taxonomy)
        scenes = tuple(replace(s, georef=replace(s.georef, transform=(1, 0, 1, 0, 1, 0))) for s in back.scenes)

        def objects() -> Any:
            for batch in back.objects():
                import shapely

                yield batch.with_columns(
                    geometry=shapely.transform(batch.geometry, lambda xy: xy + np.array([0.5, 0.0]))
                )

        return replace(back, scenes=scenes, objects=objects)

    monkeypatch.setattr(type(form), "read", shifted)
    with pytest.raises(InputError, match="off by"):
        export_project(services, pid, Recipe(formats=("csv",)))


def test_command_line(
    project: tuple[Any, int],
    first: Any,
    stack: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, pid = project
    for name, value in stack.env.items():
        monkeypatch.setenv(name, value)

    def run(*words: str) -> tuple[int, str, str]:
        code = command_line(words)
        out = capsys.readouterr()
        return code, out.out, out.err

    assert first.version in run("dataset", "ls", str(pid))[1]
    assert run("dataset", "verify", str(pid), first.version)[0] == 0
    code, out, err = run("export", str(pid), "-f", "geojson", "--json")
    assert code == 0, err
    assert json.loads(out[out.index("{") :])["counts"]["written"]["geojson"]
    code, _, err = run("export", str(pid), "-f", "geojsn")
    assert code == 3
    assert "geojsonseq" in err
    assert "Traceback" not in err
    assert "geoparquet" in run("formats")[1]
