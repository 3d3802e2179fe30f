"""Map formats before geojsonhint, geoparquet-validator, DuckDB spatial and ogrinfo; each finds a planted fault."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import duckdb_ext
import geoparquet_validator
import pyarrow.parquet as pq
import pytest

from geolabel.core.dataset import Dataset
from tests.integration.judges.conftest import Export


def test_geojsonhint_accepts_ours_and_finds_a_ring_turned_round(
    export: Export, geojsonhint: Callable[[Path], list[dict[str, Any]]]
) -> None:
    folder, _ = export("geojson")
    path = folder / "labels.geojson"
    assert geojsonhint(path) == []
    value = json.loads(path.read_text("utf-8"))
    polygon = next(f for f in value["features"] if f["geometry"]["type"] == "Polygon")
    polygon["geometry"]["coordinates"][0].reverse()
    path.write_text(json.dumps(value), "utf-8")
    assert [m for m in geojsonhint(path) if "right-hand" in m["message"]]


def test_geoparquet_validator_accepts_ours_and_finds_a_wrong_encoding(export: Export) -> None:
    folder, _ = export("geoparquet")
    path = folder / "labels.parquet"
    report = geoparquet_validator.check(str(path))
    assert geoparquet_validator.conformant(report, "core")
    assert geoparquet_validator.conformant(report, "covering")
    table = pq.read_table(path)
    geo = json.loads(table.schema.metadata[b"geo"])
    geo["columns"][geo["primary_column"]]["encoding"] = "WKT"
    pq.write_table(table.replace_schema_metadata({b"geo": json.dumps(geo).encode()}), path)
    assert not geoparquet_validator.conformant(geoparquet_validator.check(str(path)), "core")


@pytest.fixture(scope="module")
def spatial() -> duckdb.DuckDBPyConnection:
    """DuckDB with its spatial extension from a wheel."""
    connection = duckdb.connect()
    for found in sorted(Path(duckdb_ext.get_extension_dir()).rglob("spatial.duckdb_extension")):
        connection.execute(f"LOAD '{found}'")
        return connection
    duckdb_ext.import_extension("spatial", con=connection)
    return connection


@pytest.mark.parametrize("name, file", [("gpkg", "labels.gpkg"), ("geojson", "labels.geojson")])
def test_duckdb_reads_valid_geometries_and_finds_a_bow_tie(
    export: Export, spatial: duckdb.DuckDBPyConnection, name: str, file: str
) -> None:
    folder, written = export(name)
    question = "SELECT count(*), count(*) FILTER (WHERE NOT ST_IsValid(geom)) FROM ST_Read(?)"
    if name == "geojson":
        assert spatial.execute(question, [str(folder / file)]).fetchone() == (sum(written.records.values()), 0)
        value = json.loads((folder / file).read_text("utf-8"))
        ring = next(f for f in value["features"] if f["geometry"]["type"] == "Polygon")["geometry"]["coordinates"][0]
        ring[1], ring[2] = ring[2], ring[1]
        (folder / file).write_text(json.dumps(value), "utf-8")
        row = spatial.execute(question, [str(folder / file)]).fetchone()
        assert row is not None
        assert row[1] == 1
    else:
        layers = spatial.execute("SELECT unnest(layers).name FROM ST_Read_Meta(?)", [str(folder / file)]).fetchall()
        asked = question.replace("ST_Read(?)", "ST_Read(?, layer=?)")
        rows = [spatial.execute(asked, [str(folder / file), layer]).fetchone() for (layer,) in layers]
        assert sum(row[0] for row in rows if row) == sum(written.records.values())
        assert sum(row[1] for row in rows if row) == 0


def _features(path: Path) -> int:
    done = subprocess.run(["ogrinfo", "-ro", "-so", "-al", str(path)], capture_output=True, text=True, check=False)
    assert "ERROR" not in done.stderr
    assert done.returncode == 0, done.stderr
    return sum(int(line.split(":")[1]) for line in done.stdout.splitlines() if line.startswith("Feature Count:"))


@pytest.mark.skipif(shutil.which("ogrinfo") is None, reason="ogrinfo is not installed (gdal-bin)")
@pytest.mark.parametrize("name", ["geojson", "gpkg", "flatgeobuf", "shapefile", "kml"])
def test_ogrinfo_counts_what_was_written_and_misses_a_cut_file(export: Export, dataset: Dataset, name: str) -> None:
    folder, written = export(name)
    files = [p for p in sorted(folder.iterdir()) if p.suffix in (".geojson", ".gpkg", ".fgb", ".shp", ".kml")]
    assert sum(_features(p) for p in files) == sum(written.records.values())
    if name in ("geojson", "gpkg"):
        files[0].write_bytes(files[0].read_bytes()[:200])
        with pytest.raises(AssertionError):
            assert _features(files[0]) == sum(written.records.values())
    del dataset
