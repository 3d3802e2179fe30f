"""Versions of what a project has learned: kept in the store, one of them active."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cachetools import LRUCache

from geolabel.core.taxonomy import Taxonomy
from geolabel.errors import GeoLabelError, NotFoundError
from geolabel.labelstudio.config import LabelConfig
from geolabel.pipeline.chip_inputs import read_chip_input
from geolabel.pipeline.labels import AnnotatedChip, collect_labels, limit_chips, project_config, project_taxonomy
from geolabel.predict.pixelhead import LabelledChip, PixelHead, fit_pixel_head
from geolabel.predict.registry import make_extractor, pick_device
from geolabel.services import Services

PREDICTOR = "fewshot"
MOST_CHIPS = 60
_HEADS: LRUCache[tuple[str, str, str], PixelHead] = LRUCache(maxsize=16)
_HEADS_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """One thing that a project has learned.

    Attributes:
        project_id: Of Label Studio.
        version: As Label Studio shows it, computed from what was learned.
        sha256: Of what was learned.
        created: ISO 8601 UTC.
        chips: Annotated chips behind it.
        labels: Labelled regions per class.
        annotations: Identity of the labels it was asked to learn from; the same labels need no second fit.
        metrics: Whatever an evaluation found (JSON types).
        skipped: Annotated chips that could not be read, with the reason.
        predictor: Whose head it is.
        heads: All predictors that have a head in this version.
    """

    project_id: str
    version: str
    sha256: str
    created: str
    chips: int
    labels: dict[str, int]
    annotations: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    predictor: str = PREDICTOR
    heads: tuple[str, ...] = (PREDICTOR,)

    def to_json(self) -> dict[str, Any]:
        """Return JSON types."""
        return {name: getattr(self, name) for name in self.__slots__} | {"heads": list(self.heads)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ModelVersion:
        """Rebuild from `to_json`."""
        known = {name: value[name] for name in cls.__slots__ if name in value}
        return cls(**{**known, "heads": tuple(value.get("heads") or (PREDICTOR,))})


def _key(project_id: str, version: str, name: str) -> str:
    return f"models/{project_id}/{version}/{name}"


def save_heads(services: Services, heads: Mapping[str, PixelHead], model: ModelVersion) -> None:
    """Write heads and their record; the record last, so that a version that is listed is whole."""
    for name, head in heads.items():
        services.store.put(_key(model.project_id, model.version, f"{name}.npz"), head.to_bytes())
    services.store.put_json(_key(model.project_id, model.version, "model.json"), model.to_json())


def save_metrics(services: Services, model: ModelVersion, metrics: dict[str, Any]) -> ModelVersion:
    """Write what an evaluation found beside a version and return the version with it."""
    updated = ModelVersion.from_json({**model.to_json(), "metrics": {**model.metrics, **metrics}})
    services.store.put_json(_key(model.project_id, model.version, "model.json"), updated.to_json())
    return updated


def list_versions(services: Services, project_id: str) -> list[ModelVersion]:
    """Return all versions of a project, oldest first."""
    keys = [key for key in services.store.list(f"models/{project_id}") if key.endswith("/model.json")]
    versions = [ModelVersion.from_json(services.store.get_json(key)) for key in keys]
    return sorted(versions, key=lambda item: (item.created, item.version))


def all_versions(services: Services) -> list[ModelVersion]:
    """Return the versions of all projects, oldest first."""
    keys = [key for key in services.store.list("models") if key.endswith("/model.json")]
    versions = [ModelVersion.from_json(services.store.get_json(key)) for key in keys]
    return sorted(versions, key=lambda item: (item.created, item.version))


def get_version(services: Services, project_id: str, version: str) -> ModelVersion:
    """Return one version.

    Raises:
        NotFoundError: the project has none of this name.
    """
    return ModelVersion.from_json(services.store.get_json(_key(project_id, version, "model.json")))


def active_version(services: Services, project_id: str) -> ModelVersion | None:
    """Return the version that predicts, or None before the first."""
    try:
        name = services.store.get_json(f"models/{project_id}/active.json")["version"]
        return get_version(services, project_id, str(name))
    except NotFoundError:
        return None


def activate(services: Services, project_id: str, version: str) -> None:
    """Let a version predict from now on.

    Raises:
        NotFoundError: the project has no such version.
    """
    get_version(services, project_id, version)
    services.store.put_json(f"models/{project_id}/active.json", {"version": version})


def load_heads(services: Services, project_id: str, model: ModelVersion) -> dict[str, PixelHead]:
    """Return all heads of a version by predictor name."""
    return {name: load_head(services, project_id, model.version, name) for name in model.heads}


def load_head(services: Services, project_id: str, version: str, name: str = PREDICTOR) -> PixelHead:
    """Return a head of a version, kept in memory for this process.

    Raises:
        NotFoundError: there is none.
        ModelError: it is damaged.
    """
    key = (services.store.uri, project_id, f"{version}/{name}")
    with _HEADS_LOCK:
        found = _HEADS.get(key)
    if found is None:
        found = PixelHead.from_bytes(services.store.get(_key(project_id, version, f"{name}.npz")))
        with _HEADS_LOCK:
            _HEADS[key] = found
    return found


def annotations_identity(items: Sequence[AnnotatedChip]) -> str:
    """Return the identity of a set of labels."""
    from geolabel.core.ids import digest

    return digest(*(f"{item.task_id}:{item.updated}:{len(item.regions)}" for item in items))


def fit_project(
    services: Services,
    project_id: str,
    labelled: Sequence[AnnotatedChip] | None = None,
    *,
    config: LabelConfig | None = None,
    activate_it: bool = True,
    most_chips: int = MOST_CHIPS,
) -> ModelVersion | None:
    """Learn from a project's labels and keep the result as a version; None when there is nothing to learn from.

    Learning twice from the same labels gives the same version. Chips that can't be read are left out and named.

    Args:
        services: Label Studio and the store.
        project_id: Of Label Studio.
        labelled: What to learn from; all annotations of the project when not given.
        config: Label config; asked from Label Studio when not given.
        activate_it: Let the version predict at once.
        most_chips: Chips read at most; the newest of every class.
    """
    parsed = config or project_config(services, project_id)
    taxonomy = project_taxonomy(services, project_id, parsed)
    everything = list(labelled) if labelled is not None else collect_labels(services, project_id, parsed)
    chosen = limit_chips(everything, most_chips)
    identity = annotations_identity(chosen)
    if not any(item.regions for item in everything):
        return None
    current = active_version(services, project_id)
    if current is not None and current.annotations == identity and _has_wanted(services, project_id, current):
        return current
    chips, skipped = _read(services, chosen)
    head = fit_pixel_head(chips, taxonomy, make_extractor("classical")) if chips else None
    if head is None:
        return None
    heads = {PREDICTOR: head, **_further_heads(services, project_id, chips, taxonomy)}
    sha256 = hashlib.sha256("".join(heads[name].sha256() for name in sorted(heads)).encode()).hexdigest()
    model = ModelVersion(
        project_id=project_id,
        version=f"{PREDICTOR}-{sha256[:10]}",
        sha256=sha256,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        chips=len(chips),
        labels=dict(head.table.counts),
        annotations=identity,
        skipped=skipped,
        heads=tuple(heads),
    )
    save_heads(services, heads, model)
    if activate_it:
        activate(services, project_id, model.version)
    return model


def _has_wanted(services: Services, project_id: str, model: ModelVersion) -> bool:
    from geolabel.pipeline.chain import chain_steps

    wants = any(step.name == "regions" for step in chain_steps(services, project_id))
    return not wants or "regions" in model.heads


def _further_heads(
    services: Services, project_id: str, chips: Sequence[LabelledChip], taxonomy: Taxonomy
) -> dict[str, PixelHead]:
    """Learn the heads that only projects with such a step in their chain need."""
    from geolabel.pipeline.chain import chain_steps

    step = next((item for item in chain_steps(services, project_id) if item.name == "regions"), None)
    if step is None:
        return {}
    from geolabel.predict.regions import RegionPredictor, fit_region_head

    predictor = RegionPredictor(**dict(step.options))
    predictor.load(pick_device(services.settings.predict.device) if step.options else "cpu")
    head = fit_region_head(chips, taxonomy, predictor)
    return {} if head is None else {"regions": head}


def _read(services: Services, items: Sequence[AnnotatedChip]) -> tuple[list[LabelledChip], dict[str, str]]:
    chips: list[LabelledChip] = []
    skipped: dict[str, str] = {}
    for item in items:
        try:
            chip = read_chip_input(services, item.chip, item.task_id)
        except GeoLabelError as error:
            skipped[str(item.task_id)] = error.message
            continue
        chips.append(LabelledChip(chip=chip, regions=item.regions))
    # Scenes with another number of bands give vectors of another length: learn from what most chips have.
    lengths = Counter(other.chip.pixels.shape[0] for other in chips)
    if len(lengths) > 1:
        usual = lengths.most_common(1)[0][0]
        for other in chips:
            if other.chip.pixels.shape[0] != usual:
                skipped[str(other.chip.task_id)] = (
                    f"its scene has {other.chip.pixels.shape[0]} bands, most annotated chips have {usual}"
                )
        chips = [other for other in chips if other.chip.pixels.shape[0] == usual]
    return chips, skipped
