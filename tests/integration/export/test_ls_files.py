"""Label Studio files of other people: each is exported, or refused with a sentence; nothing vanishes uncounted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from geolabel.core.manifest import Recipe
from geolabel.errors import InputError
from geolabel.pipeline.export import export_file
from geolabel.pipeline.versions import list_versions
from geolabel.services import Services
from geolabel.testing.format_contract import sample_dataset

RECIPE = Recipe(formats=("coco",))


@pytest.fixture
def services(tmp_path: Path, make_settings: Any) -> Services:
    return Services(make_settings(state_dir=tmp_path / "state"))


def write(tmp_path: Path, value: Any, name: str = "tasks.json") -> Path:
    path = tmp_path / name
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def task(result: Any, **fields: Any) -> dict[str, Any]:
    geo = json.loads(sample_dataset(0).images[0].geo)
    return {"id": 1, "data": {"image": "/a.jpg", "geo": geo}, "annotations": [{"id": 5, "result": result}], **fields}


def polygon(region: str = "regionaaaa", label: str = "building", **fields: Any) -> dict[str, Any]:
    return {
        "id": region, "type": "polygonlabels", "from_name": "l", "to_name": "i", "original_width": 256,
        "original_height": 256, "value": {"points": [[1, 1], [9, 1], [9, 9]], "polygonlabels": [label]}, **fields,
    }  # fmt: skip


def test_every_recorded_file_is_exported_or_refused_with_a_reason(services: Services, data_dir: Path) -> None:
    files = sorted((data_dir / "ls_exports").rglob("*.json"))
    assert files
    outcomes: dict[str, str] = {}
    for number, path in enumerate(files):
        try:
            manifest = export_file(services, path, RECIPE, name=f"recorded-{number}")
        except InputError as error:
            outcomes[path.name] = error.message
            continue
        decoded = manifest.counts["decoded"]
        assert sum(manifest.counts["written"]["coco"].values()) <= decoded["regions"]
        outcomes[path.name] = "exported"
    done = [name for name, outcome in outcomes.items() if outcome == "exported"]
    assert {"data_polygons.json", "data_obb.json"} <= set(done)
    assert all(outcome == "exported" or len(outcome) > 20 for outcome in outcomes.values())


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("not json", "no JSON"),
        ('[{"id": 1, "data": {"image": "a"}, "annotations": [', "no JSON"),
        ("[]", "no task"),
        ("", "no task"),
        ([{"id": 1, "image": "a.jpg", "label": []}], "no task of Label Studio"),
        ([{"id": 1, "image": "a.jpg", "annotation_id": 4, "label": []}], "JSON_MIN"),
        ({"images": [], "categories": [], "annotations": []}, "COCO"),
        ([{"result": [], "id": 5}], "without its task"),
        ([task([])], "no result has a label"),
        ([{"id": 1, "data": {"image": "a"}, "annotations": "x"}], "must be a list"),
        (["text"], "no task of Label Studio"),
    ],
)
def test_what_is_no_export_is_refused(services: Services, tmp_path: Path, value: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        export_file(services, write(tmp_path, value), RECIPE)
    assert list_versions(services) == []


def lost(services: Services, tmp_path: Path, value: Any) -> dict[str, int]:
    counts: dict[str, int] = export_file(services, write(tmp_path, value), RECIPE).counts["decoded"]["lost"]
    return counts


def test_defects_cost_their_region_only_and_are_counted(services: Services, tmp_path: Path) -> None:
    two_points = polygon("regionbbbb", value={"points": [[1, 1], [2, 2]], "polygonlabels": ["building"]})
    doubled = [polygon("regioncccc"), polygon("regioncccc")]
    wrong_size = polygon("regiondddd", original_width=999)
    manifest = export_file(
        services, write(tmp_path, [task([polygon(), two_points, *doubled, wrong_size, "rubbish"])]), RECIPE
    )
    assert manifest.counts["decoded"]["regions"] == 3
    assert sum(manifest.counts["decoded"]["lost"].values()) == 4  # too few points, doubled, size, rubbish
    assert sum(manifest.counts["written"]["coco"].values()) == 3


def test_labels_outside_of_the_config_are_counted(services: Services, tmp_path: Path) -> None:
    config = """<View><Image name="i" value="$image"/><PolygonLabels name="l" toName="i"><Label value="building"/>
    </PolygonLabels></View>"""
    value = [task([polygon(), polygon("regioneeee", "castle")])]
    manifest = export_file(services, write(tmp_path, value), RECIPE, config=config)
    assert manifest.counts["decoded"]["lost"] == {"LSC009": 1}
    assert manifest.counts["written"]["coco"] == {"1": 1}


def test_missing_sizes_without_geo_are_counted(services: Services, tmp_path: Path) -> None:
    bare = polygon()
    del bare["original_width"]
    nowhere = {"id": 2, "data": {"image": "b.jpg"}, "annotations": [{"id": 6, "result": [bare]}]}
    assert lost(services, tmp_path, [task([polygon()]), nowhere]) == {"EXP001": 1}


def test_old_completions_are_read(services: Services, tmp_path: Path) -> None:
    old = task([polygon()])
    old["completions"] = old.pop("annotations")
    assert export_file(services, write(tmp_path, [old]), RECIPE).counts["decoded"]["regions"] == 1


def test_several_images_keep_their_own_regions(services: Services, tmp_path: Path) -> None:
    images = sample_dataset(0).images
    value = task([polygon(), polygon("regionffff", item_index=1)])
    value["data"] = {"images": ["/a.jpg", "/b.jpg"], "geos": [json.loads(i.geo) for i in images[:2]]}
    manifest = export_file(services, write(tmp_path, [value]), Recipe(formats=("coco", "geojson")))
    root = services.store.folder(f"exports/{manifest.project}/{manifest.version}/data")
    coco = json.loads((root / "coco/annotations.json").read_text())
    assert [a["image_id"] for a in coco["annotations"]] == [1, 2]
    assert [i["chip_id"] for i in coco["images"]] == [images[0].id, images[1].id]


def test_a_map_of_images_without_a_place_is_refused(services: Services, tmp_path: Path) -> None:
    nowhere = {"id": 2, "data": {"image": "b.jpg"}, "annotations": [{"id": 6, "result": [polygon()]}]}
    with pytest.raises(InputError, match="no image of this export has a place"):
        export_file(services, write(tmp_path, [nowhere]), Recipe(formats=("geojson",)))


def test_json_lines_and_a_single_task_are_read(services: Services, tmp_path: Path) -> None:
    lines = "\n".join(json.dumps({**task([polygon()]), "id": i}) for i in (3, 1, 2))
    assert export_file(services, write(tmp_path, lines, "a.jsonl"), RECIPE).snapshot["tasks"] == 3
    assert export_file(services, write(tmp_path, task([polygon()]), "b.json"), RECIPE).snapshot["tasks"] == 1


def test_a_full_disk_leaves_nothing(services: Services, tmp_path: Path) -> None:
    """A file size limit of the kernel stands for the full disk; the export runs in a process of its own."""
    import subprocess
    import sys

    many = [{**task([polygon(f"region{i:06d}{k}") for k in range(40)]), "id": i} for i in range(40)]
    path = write(tmp_path, many)
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from geolabel.cli.app import run\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))\n"
        f"sys.exit(run(['export', '--from-file', {str(path)!r}, '-f', 'geojson', '--no-join']))\n"
    )
    env = {"GEOLABEL_STATE_DIR": str(services.settings.state_dir), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    # -B: bytecode that this process writes would be cut off at the same limit, and break every later one.
    ran = subprocess.run(
        [sys.executable, "-B", "-c", code], env=env, capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert ran.returncode == 4, ran.stderr
    assert "could not be written" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert list_versions(services) == []
    assert not list(services.store.folder("exports/.staging").iterdir())
