"""What an ingest is asked to do, what became of it, and its record in the store that lets it go on after a stop."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from geolabel.core.ids import digest
from geolabel.core.plans import PlanSpec
from geolabel.errors import InputError, NotFoundError
from geolabel.raster.scene import OpenOptions
from geolabel.services import Services


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestOptions:
    """What is asked of an ingest beyond its addresses; JSON both ways, so that a job carries it.

    Attributes:
        open: How rasters are opened.
        plan: How they are cut; its aoi and around are filled in from the files below.
        aoi: Vector file; only chips that meet it are made.
        around: Vector file; chips are centred on its features.
        render: Name of a render of `ls_configs/renders.yaml`, or an expression such as "(b4-b1)/(b4+b1)".
        qa: Kind of the QA band or mask raster: "qa_pixel", "scl", "msk_classi" or "mask".
        qa_source: Band index of the scene ("b5") or address of a mask raster.
        mask_predictor: "module:function" giving a (row, col) uint8 mask of codes: 1 cloud, 2 shadow, 3 water.
        min_valid, max_cloud, max_shadow: Thresholds on fractions, 0 to 1; other chips are skipped and counted.
        read: "auto", "all" or "none": whether every chip's pixels are read once, to find those that fail.
        cog: Convert to cloud-optimised GeoTIFF in the store first.
        cog_compression: "DEFLATE", "ZSTD", "WEBP" or "LERC".
        metadata: MTL.txt (Landsat) or MTD_MSI….xml (Sentinel-2), for reflectance.
        mosaic: Take all addresses together as one scene.
        stack: Take the scenes as dates of one place: one task per place with an image a date.
        assets: Names, roles or bands of the STAC assets to take.
        prerender: Write every chip's picture into the store.
        context: Give each task the address of a picture of its surroundings.
    """

    open: OpenOptions = field(default_factory=OpenOptions)
    plan: PlanSpec = field(default_factory=PlanSpec)
    aoi: str = ""
    around: str = ""
    render: str = ""
    qa: str = ""
    qa_source: str = ""
    mask_predictor: str = ""
    min_valid: float = 0.0
    max_cloud: float = 1.0
    max_shadow: float = 1.0
    read: str = "auto"
    cog: bool = False
    cog_compression: str = "DEFLATE"
    metadata: str = ""
    mosaic: bool = False
    stack: bool = False
    assets: tuple[str, ...] = ()
    prerender: bool = False
    context: bool = False

    def __post_init__(self) -> None:
        for name in ("min_valid", "max_cloud", "max_shadow"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise InputError(f"{name} is {value}; it is a fraction from 0 to 1")
        if self.read not in ("auto", "all", "none"):
            raise InputError(f"read is {self.read!r}; known are auto, all, none")

    def to_json(self) -> dict[str, Any]:
        """Return JSON types."""
        out = {name: getattr(self, name) for name in self.__slots__ if name not in ("open", "plan", "assets")}
        opening = {name: getattr(self.open, name) for name in OpenOptions.__slots__}
        opening["band_names"] = list(self.open.band_names)
        return {**out, "open": opening, "plan": self.plan.to_json(), "assets": list(self.assets)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> IngestOptions:
        """Rebuild from `to_json`; missing fields take their defaults.

        Raises:
            InputError: a field is unknown or wrong.
        """
        try:
            fields = dict(value)
            opening = dict(fields.pop("open", {}))
            opening["band_names"] = tuple(opening.get("band_names") or ())
            plan = PlanSpec(**fields.pop("plan", {}))
            fields["assets"] = tuple(fields.get("assets") or ())
            return cls(open=OpenOptions(**opening), plan=plan, **fields)
        except TypeError as error:
            raise InputError(f"the options of the ingest are not understood: {error}") from error


@dataclass(slots=True, kw_only=True)
class SceneReport:
    """What became of one scene.

    Attributes:
        scene_id, plan_id, name, uri: Which.
        planned: Chips of the plan.
        skipped: Number by reason.
        failed: Chips whose pixels can't be read: [{"chip_id", "window", "error", "tries"}].
        created, existing, refreshed: Tasks made now, there before, given a new address.
        issues: Of the raster (JSON).
        seconds: By step.
    """

    scene_id: str = ""
    plan_id: str = ""
    name: str = ""
    uri: str = ""
    planned: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    failed: list[dict[str, Any]] = field(default_factory=list)
    created: int = 0
    existing: int = 0
    refreshed: int = 0
    issues: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return JSON types."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True, kw_only=True)
class IngestReport:
    """What became of an ingest: one report a scene."""

    id: str
    project_id: int | None
    state: str = "running"
    scenes: list[SceneReport] = field(default_factory=list)

    def total(self, name: str) -> int:
        """Return a number summed over scenes: planned, created, existing, refreshed, skipped or failed."""
        values = [getattr(scene, name) for scene in self.scenes]
        return sum(v if isinstance(v, int) else len(v) if isinstance(v, list) else sum(v.values()) for v in values)

    def to_json(self) -> dict[str, Any]:
        """Return JSON types."""
        names = ("planned", "created", "existing", "refreshed", "skipped", "failed")
        return {
            "id": self.id,
            "project": self.project_id,
            "state": self.state,
            **{name: self.total(name) for name in names},
            "scenes": [scene.to_json() for scene in self.scenes],
        }


def ingest_id(uris: list[str], project_id: int | None, options: IngestOptions) -> str:
    """Return the id of an ingest: the same request has the same."""
    return digest("ingest", uris, project_id or 0, options.to_json())


def save_record(services: Services, report: IngestReport) -> None:
    """Write the record of an ingest."""
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    services.store.put_json(f"ingests/{report.id}.json", {**report.to_json(), "updated": now})


def load_record(services: Services, identity: str) -> dict[str, Any] | None:
    """Return the record of an ingest, or None."""
    try:
        return dict(services.store.get_json(f"ingests/{identity}.json"))
    except NotFoundError:
        return None


def list_records(services: Services) -> Iterator[dict[str, Any]]:
    """Yield the records of all ingests, for `geolabel status`."""
    for key in services.store.list("ingests/"):
        if key.count("/") == 1:
            yield dict(services.store.get_json(key))
