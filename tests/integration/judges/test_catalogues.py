"""STAC before pystac with the extensions' own schemas, Croissant before mlcroissant; each finds a planted fault."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pystac
import pytest
from pystac.validation import stac_validator

from geolabel.core.dataset import Dataset
from geolabel.core.manifest import FileEntry, Manifest
from geolabel.pipeline.catalogue import croissant, stac_item

MANIFEST = Manifest(
    project="1", version="abc", snapshot_time="2026-01-02T03:04:05Z", recipe={}, taxonomy={}, snapshot={},
    title="Labels",
    files=(FileEntry(path="data/geojson/labels.geojson", sha256="0" * 64, bytes=10, kind="data"),),
)  # fmt: skip


@pytest.fixture
def schemas(data_dir: Path) -> Callable[[dict[str, Any]], list[str]]:
    """Validate an item with the core schemas of pystac and the extensions' from disk; the rest is left out."""
    folder = data_dir / "stac-schemas"
    judge = stac_validator.JsonSchemaSTACValidator()
    known = {}
    for path in sorted(folder.glob("*-v*.json")):
        name, _, version = path.stem.rpartition("-v")
        address = f"https://stac-extensions.github.io/{name}/v{version}/schema.json"
        known[address] = json.loads(path.read_text("utf-8"))
    judge.schema_cache.update(known)

    def validate(item: dict[str, Any]) -> list[str]:
        item = {**item, "stac_extensions": [uri for uri in item["stac_extensions"] if uri in known]}
        assert any("label" in uri for uri in item["stac_extensions"])
        assert any("projection" in uri for uri in item["stac_extensions"])
        try:
            return [str(s) for s in pystac.validation.validate_dict(item, validator=judge)]
        except pystac.errors.STACValidationError as error:
            return [f"refused: {error}"]

    return validate


def test_pystac(dataset: Dataset, schemas: Callable[[dict[str, Any]], list[str]]) -> None:
    item = stac_item(dataset.scenes[0], dataset, MANIFEST, MANIFEST.files, {1: 8})
    found = schemas(json.loads(json.dumps(item)))
    assert not [s for s in found if s.startswith("refused")], found
    assert len(found) >= 3
    item["properties"]["label:type"] = "drawing"
    assert schemas(json.loads(json.dumps(item)))[0].startswith("refused")


_CROISSANT = """
import json, sys
import mlcroissant
try:
    data = mlcroissant.Dataset(jsonld=sys.argv[1])
    print(json.dumps({"name": data.metadata.name, "errors": sorted(data.metadata.ctx.issues.errors)}))
except Exception as error:
    print(json.dumps({"errors": [str(error)[:300]]}))
"""


def test_mlcroissant(dataset: Dataset, outside: Callable[..., Any], tmp_path: Path) -> None:
    value = json.loads(json.dumps(croissant(dataset, MANIFEST)))
    path = tmp_path / "croissant.json"
    path.write_text(json.dumps(value), "utf-8")
    judged = outside(_CROISSANT, str(path))
    assert judged["errors"] == []
    assert judged["name"]
    del value["distribution"][0]["sha256"]
    path.write_text(json.dumps(value), "utf-8")
    assert outside(_CROISSANT, str(path))["errors"]
