"""`geolabel validate`: the rules alone, over a project, a Label Studio export or a file of geometries."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import shapely

from geolabel.core.dataset import Batch, ImageRef
from geolabel.core.georef import Georeference, crs_text
from geolabel.core.issues import Severity, ValidationIssue
from geolabel.core.shapes import SHAPE_KINDS
from geolabel.core.taxonomy import LabelClass, Taxonomy
from geolabel.errors import InputError
from geolabel.services import Services
from geolabel.validate import Layer, Policy, check, check_stream, gate
from geolabel.validate.geojson import check_geojson
from geolabel.validate.report import issues_of

_MOST = 1000
_ROWS = 20_000
_GEOJSON = (".geojson", ".json")
_SEQUENCES = (".geojsonl", ".geojsonseq", ".ndjson", ".jsonl")
_VECTORS = (".gpkg", ".fgb", ".shp", ".kml", ".parquet", ".geoparquet")
#: One record of a file stands on a plane of its own: units of the CRS, no border.
_ANY = Taxonomy(name="any", version="", classes=(LabelClass(id=1, name="record"),))


@dataclass(slots=True, kw_only=True)
class Verdict:
    """What was found.

    Attributes:
        subject: Project or file.
        records: Records checked.
        counts: Findings by code.
        severities: Findings by severity.
        issues: The first thousand, in full.
    """

    subject: str
    records: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    severities: Counter[str] = field(default_factory=Counter)
    issues: list[ValidationIssue] = field(default_factory=list)

    def add(self, issues: list[ValidationIssue]) -> None:
        """Count findings and keep the first of them."""
        for issue in issues:
            self.counts[issue.code] += 1
            self.severities[issue.severity.value] += 1
        self.issues += issues[: _MOST - len(self.issues)]

    def exit_code(self, *, errors_only: bool = False) -> int:
        """Return 0 when clean, 1 when something was found."""
        names = [Severity.ERROR] if errors_only else [Severity.ERROR, Severity.WARNING]
        return int(any(self.severities[name.value] for name in names))

    def to_json(self) -> dict[str, Any]:
        """Return JSON types."""
        return {
            "subject": self.subject,
            "records": self.records,
            "findings": dict(sorted(self.counts.items())),
            "severities": dict(sorted(self.severities.items())),
            "issues": [issue.to_json() for issue in self.issues],
        }


def validate_file(path: Path, policy: Mapping[str, Any] | None = None) -> Verdict:
    """Check a file: GeoJSON and its sequences by RFC 7946 and the rules, other vector files by the rules, Label Studio
    exports as projects are.

    Raises:
        InputError: it can't be read, or is of no kind that is known.
    """
    wanted = Policy.from_json(policy or {}).reporting()
    suffix = path.suffix.lower()
    if not path.exists():
        raise InputError(f"there is no file {path}")
    if suffix in (*_GEOJSON, *_SEQUENCES):
        text = _text(path)
        if suffix == ".json" and text.lstrip()[:1] == "[":
            return validate_tasks(path, policy or {})
        verdict = Verdict(subject=str(path))
        documents = text.split("\n") if suffix in _SEQUENCES else [text]
        for document in documents:
            if document.strip("\x1e \r\n") or suffix in _GEOJSON:
                verdict.add(check_geojson(document.strip("\x1e")))
        if verdict.severities[Severity.ERROR.value]:
            verdict.records = len(documents)
            return verdict  # what is no GeoJSON has no geometries to measure
        shapes = [g for d in documents if d.strip("\x1e \r\n") for g in _shapes(d.strip("\x1e"))]
        _geometries(verdict, shapes, "OGC:CRS84", wanted, skip=("GEO015",))
        return verdict
    if suffix in _VECTORS:
        verdict = Verdict(subject=str(path))
        for shapes, crs in _vector_batches(path):
            # Winding is a matter of GeoJSON; other formats leave it open.
            _geometries(verdict, shapes, crs, wanted, skip=("GEO015",))
        return verdict
    known = ", ".join((*_GEOJSON, *_SEQUENCES, *_VECTORS))
    raise InputError(f"{path.name} ends in {suffix or 'nothing'}; files that can be checked end in {known}")


def validate_tasks(path: Path, policy: Mapping[str, Any]) -> Verdict:
    """Check a Label Studio export."""
    from geolabel.pipeline.snapshot import snapshot_of_file

    with tempfile.TemporaryDirectory(prefix="geolabel-validate-") as folder:
        snapshot = snapshot_of_file(path, Path(folder))
        classes = tuple(LabelClass(id=i, name=label, shapes=SHAPE_KINDS) for i, label in enumerate(snapshot.labels, 1))
        taxonomy = Taxonomy(name=path.stem, version="found", classes=classes)
        return _snapshot(snapshot.path, str(path), taxonomy, policy)


def validate_project(services: Services, project_id: int, policy: Mapping[str, Any] | None = None) -> Verdict:
    """Check the annotations of a project of Label Studio."""
    from geolabel.labelstudio.config import LabelConfig
    from geolabel.pipeline.snapshot import take_snapshot

    with tempfile.TemporaryDirectory(prefix="geolabel-validate-") as folder:
        project = services.labelstudio.project(project_id)
        snapshot = take_snapshot(services, project_id, Path(folder))
        taxonomy = LabelConfig.parse(str(project["label_config"])).taxonomy()
        return _snapshot(snapshot.path, f"project {project_id}", taxonomy, policy or {})


def _snapshot(path: Path, subject: str, taxonomy: Taxonomy, policy: Mapping[str, Any]) -> Verdict:
    from geolabel.pipeline.decode import Decoder, latest_annotations
    from geolabel.pipeline.snapshot import read_snapshot
    from geolabel.pipeline.spool import spool

    verdict = Verdict(subject=subject)
    wanted = Policy.from_json(policy).reporting()
    decoder = Decoder(taxonomy, latest_annotations)
    # Scenes are known when all tasks are read; until then records wait on disk.
    parts = spool(path.parent / "parts.arrow", decoder.run(read_snapshot(path)))
    found = decoder.found

    def check_batch(batch: Batch) -> tuple[int, list[ValidationIssue]]:
        return len(batch), gate(batch, found.images, found.scenes, taxonomy, wanted)[1]

    for records, issues in check_stream(parts(), check_batch):
        verdict.records += records
        verdict.add(issues)
    for example in found.examples:
        verdict.issues.append(
            ValidationIssue(code=example["code"], severity=Severity.ERROR, message=str(example["message"]),
                            facts={"task": example["task"]})
        )  # fmt: skip
    for code, count in found.lost.items():
        verdict.counts[code] += count
        verdict.severities[Severity.ERROR.value] += count
    return verdict


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} can't be read as UTF-8 text: {error}") from error


def _shapes(text: str) -> list[shapely.Geometry]:
    geometries = [orjson.dumps(g).decode() for g in _geometry_members(orjson.loads(text))]
    return shapely.from_geojson(geometries).tolist() if geometries else []


def _geometry_members(value: Mapping[str, Any]) -> Iterator[Any]:
    kind = value["type"]
    if kind == "FeatureCollection":
        for feature in value["features"]:
            yield from _geometry_members(feature)
    elif kind == "Feature":
        if value["geometry"] is not None:
            yield from _geometry_members(value["geometry"])
    elif kind == "GeometryCollection":
        for geometry in value["geometries"]:
            yield from _geometry_members(geometry)
    else:
        yield value


def _vector_batches(path: Path) -> Iterator[tuple[list[Any], str]]:
    if path.suffix.lower() in (".parquet", ".geoparquet"):
        import geopandas

        try:
            frame = geopandas.read_parquet(path)
        except (OSError, ValueError) as error:
            raise InputError(f"{path} can't be read as GeoParquet: {error}") from error
        values = frame.geometry.to_numpy()
        for start in range(0, max(1, len(values)), _ROWS):
            yield list(values[start : start + _ROWS]), crs_text(frame.crs) if frame.crs else ""
        return
    import pyogrio

    try:
        for layer, _ in pyogrio.list_layers(path):
            count = pyogrio.read_info(path, layer=layer, force_feature_count=True)["features"]
            for start in range(0, max(1, count), _ROWS):
                meta, _, wkb, _ = pyogrio.raw.read(
                    path, layer=layer, columns=[], skip_features=start, max_features=_ROWS, force_2d=True
                )
                crs = crs_text(meta["crs"]) if meta["crs"] else ""
                yield shapely.from_wkb(wkb, on_invalid="ignore").tolist() if wkb is not None else [], crs
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        raise InputError(f"{path} can't be read: {error}") from error


def _geometries(verdict: Verdict, shapes: list[Any], crs: str, policy: Policy, *, skip: tuple[str, ...]) -> None:
    """Check bare geometries in the units of their CRS; a pixel is taken as a decimetre."""
    if not shapes:
        return
    boxes = shapely.bounds(np.array(shapes, dtype=object))
    known = boxes[np.isfinite(boxes).all(axis=1)]
    x, y = ((known[:, :2] + known[:, 2:]) / 2).mean(axis=0) if len(known) else (0.0, 0.0)
    plane = Georeference(crs=crs, transform=(1, 0, 0, 0, 1, 0), width=1, height=1) if crs else None
    metres = _metres(crs, float(x), float(y))
    pixel = 0.1 / metres if np.isfinite(metres) else 1e-6
    batch = Batch.of([shapely.Polygon() if g is None else g for g in shapes])
    layer = Layer.of(
        batch.geometry, taxonomy=None, metres=(metres, metres), pixel=pixel, options=policy.options, kind=batch.kind
    )
    rules = [r for r in policy.active() if r.spec.code not in (*skip, "GEO040", "GEO051", "GEO053")]
    found = [(rule, f) for rule, f in check(layer, rules) if len(f)]
    image = ImageRef(id=Path(verdict.subject).name, task_id=0, width=1, height=1, georef=plane)
    verdict.add(issues_of(batch, layer, np.zeros(1, dtype=np.int64), [image], found, "reported"))
    verdict.records += len(shapes)


def _metres(crs: str, x: float, y: float) -> float:
    """Return metres a unit at a point, the mean of both axes; NaN without a CRS."""
    from geolabel.validate.layer import metres_of

    if not crs:
        return float("nan")
    step = 1e-5 if abs(x) <= 360 and abs(y) <= 90 else 1.0
    plane = Georeference(crs=crs, transform=(step, 0, x, 0, step, y), width=1, height=1)
    return float(metres_of([plane]).mean() / step)
