"""Learn while people work: frozen snapshot, blocked hold-out, kept only if not worse, then predict and rank anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from geolabel.core.ids import digest
from geolabel.core.taxonomy import Taxonomy
from geolabel.errors import ModelError, NotFoundError
from geolabel.labelstudio.codec import encode_regions
from geolabel.labelstudio.config import LabelConfig
from geolabel.pipeline.holdout import Judged, judge, split_holdout
from geolabel.pipeline.labels import (
    ANNOTATED,
    AnnotatedChip,
    annotated_chip,
    project_config,
    project_key,
    project_taxonomy,
)
from geolabel.pipeline.loop_state import LoopState
from geolabel.pipeline.models import (
    ModelVersion,
    activate,
    active_version,
    fit_project,
    get_version,
    list_versions,
    load_head,
    save_metrics,
)
from geolabel.services import Services

#: How much worse on the hold-out still counts as the same: rounding, not a licence.
TOLERANCE = 1e-6
_READ_WHOLE = 5000
Report = Callable[[int, int | None, str], None]


@dataclass(slots=True, kw_only=True)
class TrainResult:
    """What came of a training.

    Attributes:
        project_id: Of Label Studio.
        decision: "kept", "rejected", "unchanged" (these labels were learned already) or "nothing" (no labels).
        reason: Why, for people.
        version: Of the new model, or "".
        active: Version that predicts from now on, or "".
        snapshot: Identity of the labels.
        chips: Labelled chips that taught and that judged.
        new, old: Judgement of the new and the old model, where there is a hold-out.
    """

    project_id: str
    decision: str
    reason: str
    version: str = ""
    active: str = ""
    snapshot: str = ""
    taught: int = 0
    judged: int = 0
    new: dict[str, Any] = field(default_factory=dict)
    old: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return JSON types."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The labels of a moment, frozen.

    Attributes:
        id: Computed from chips and what is drawn on them, whoever drew it and whenever.
        items: By chip id.
        annotations: Annotation id → time of change, of all that was looked at, skipped ones among them.
    """

    id: str
    items: tuple[AnnotatedChip, ...]
    annotations: dict[str, str]


def take_snapshot(services: Services, project_id: str, config: LabelConfig) -> Snapshot:
    """Read all labels of a project and freeze them in the store; the same labels give the same snapshot."""
    taxonomy = config.taxonomy()
    items: list[AnnotatedChip] = []
    annotations: dict[str, str] = {}
    # Label Studio's counters miss annotations made while some project is being deleted; small projects are read whole.
    total = int(services.labelstudio.project(int(project_id)).get("task_number") or 0)
    query = _TOUCHED if total > _READ_WHOLE else None
    for task in services.labelstudio.tasks(int(project_id), query=query):
        for annotation in task.get("annotations") or []:
            if isinstance(annotation, Mapping) and "id" in annotation:
                annotations[str(annotation["id"])] = str(annotation.get("updated_at") or "")
        found = annotated_chip(task, taxonomy)
        if found is not None:
            items.append(found)
    items.sort(key=lambda item: (item.chip.id, item.task_id))
    rows = [_row(item, config) for item in items]
    identity = digest("snapshot", list(config.labels()), rows)
    key = project_key(project_id, f"loop/snapshots/{identity}.json")
    if not services.store.exists(key):
        value = {"id": identity, "labels": list(config.labels()), "taken": _now(), "chips": rows}
        services.store.put_json(key, value)
    return Snapshot(id=identity, items=tuple(items), annotations=annotations)


#: Annotated and skipped tasks: the Data Manager counts skips apart.
_TOUCHED: dict[str, Any] = {
    "filters": {
        "conjunction": "or",
        "items": [
            *ANNOTATED["filters"]["items"],
            {"filter": "filter:tasks:cancelled_annotations", "operator": "greater", "type": "Number", "value": 0},
        ],
    }
}


def _row(item: AnnotatedChip, config: LabelConfig) -> dict[str, Any]:
    size = {"width_px": item.chip.georef.width, "height_px": item.chip.georef.height}
    result = encode_regions(item.regions, config, **size).result
    # Region ids are drawn at random by the editor; what counts is what lies where.
    drawn = sorted(({k: v for k, v in r.items() if k != "id"} for r in result), key=digest)
    return {"chip": item.chip.id, "scene": item.scene_id, "window": item.chip.window.to_list(), "result": drawn}


def train_project(services: Services, project_id: str, *, report: Report | None = None) -> TrainResult:
    """Learn from a project's labels; let the result predict only if it is not worse on the hold-out.

    Running it again on the same labels changes nothing. Whatever happens, the version that predicted goes on.

    Raises:
        NotFoundError: the project is gone.
        ModelError: learning failed; the old version stays active.
    """
    tell = report or (lambda done, total, message: None)
    state = LoopState(services, project_id)
    noted = state.pending()
    config = project_config(services, project_id)
    tell(0, 4, "freezing the labels")
    snapshot = take_snapshot(services, project_id, config)
    result = _learn(services, project_id, config, snapshot, tell)
    state.set_learned(snapshot.annotations, snapshot.id)
    # Hints that came before the snapshot are in it, or were about something that is gone.
    state.settle(noted)
    _record(services, result)
    tell(4, 4, result.decision)
    return result


def _learn(services: Services, project_id: str, config: LabelConfig, snapshot: Snapshot, tell: Report) -> TrainResult:
    current = active_version(services, project_id)
    base: dict[str, Any] = {
        "project_id": project_id,
        "snapshot": snapshot.id,
        "active": current.version if current else "",
    }
    if not any(item.regions for item in snapshot.items):
        reason = "nothing is labelled yet" if not snapshot.items else "no annotation shows a class of the label config"
        return TrainResult(decision="nothing", reason=reason, **base)
    known = _by_snapshot(services, project_id, snapshot.id)
    if known is not None and "decision" in known.metrics:
        reason = f"these labels were learned already, as {known.version} ({known.metrics['decision']})"
        return TrainResult(decision="unchanged", reason=reason, version=known.version, **base)
    loop = services.settings.loop
    teach, judging = split_holdout(services, snapshot.items, share=loop.holdout, block_m=loop.holdout_block_m)
    if not any(item.regions for item in teach):
        teach, judging = list(snapshot.items), []
    tell(1, 4, f"learning from {len(teach)} chips")
    model = fit_project(services, project_id, teach, config=config, activate_it=False)
    if model is None:
        raise ModelError(f"nothing could be learned from {len(teach)} chips; none of them could be read")
    base["active"] = current.version if current else ""
    taxonomy = project_taxonomy(services, project_id, config)
    tell(2, 4, f"judging on {len(judging)} chips")
    new, old = _judge(services, project_id, taxonomy, model, current, judging)
    keep, reason = decide(new, old, current, model)
    metrics: dict[str, Any] = {
        "snapshot": snapshot.id,
        "decision": "kept" if keep else "rejected",
        "reason": reason,
        "holdout": new.to_json() if new else None,
        "holdout_of_old": old.to_json() if old else None,
        "old": current.version if current else "",
        "taught": len(teach),
        "judged": len(judging),
        "labelled": len(snapshot.items),
        "parameters": {"holdout": loop.holdout, "holdout_block_m": loop.holdout_block_m, "tolerance": TOLERANCE},
    }
    save_metrics(services, model, metrics)
    if keep:
        activate(services, project_id, model.version)
        base["active"] = model.version
    return TrainResult(
        decision=metrics["decision"], reason=reason, version=model.version, taught=len(teach), judged=len(judging),
        new=new.to_json() if new else {}, old=old.to_json() if old else {}, **base,
    )  # fmt: skip


def _by_snapshot(services: Services, project_id: str, snapshot: str) -> ModelVersion | None:
    found = [v for v in list_versions(services, project_id) if v.metrics.get("snapshot") == snapshot]
    return found[-1] if found else None


def _judge(
    services: Services,
    project_id: str,
    taxonomy: Taxonomy,
    model: ModelVersion,
    current: ModelVersion | None,
    judging: Sequence[AnnotatedChip],
) -> tuple[Judged | None, Judged | None]:
    if not judging:
        return None, None
    heads = {"new": load_head(services, project_id, model.version)}
    if current is not None and current.version != model.version:
        with suppress(NotFoundError):
            heads["old"] = load_head(services, project_id, current.version)
    found = judge(services, project_id, taxonomy, heads, judging)
    return found["new"], found.get("old")


def decide(
    new: Judged | None, old: Judged | None, current: ModelVersion | None, model: ModelVersion
) -> tuple[bool, str]:
    """Return whether a new model is kept, and why.

    An old model that was never judged by a hold-out may have learned from the very chips that judge; comparing with it
    would favour it, so it gives way.
    """
    if current is None:
        return True, "the first model of this project"
    if current.version == model.version:
        return True, "the same model as before"
    if new is None or new.mean_iou is None:
        return True, "too few labels to keep some apart for judging"
    if old is None or old.mean_iou is None or not current.metrics.get("judged"):
        return True, f"mean IoU {new.mean_iou:.3f} on the hold-out; the old model was never judged on it"
    if new.mean_iou >= old.mean_iou - TOLERANCE:
        return True, f"mean IoU {new.mean_iou:.3f} on the hold-out, the old model {old.mean_iou:.3f}"
    return False, f"mean IoU {new.mean_iou:.3f} on the hold-out is worse than the old model's {old.mean_iou:.3f}"


def _record(services: Services, result: TrainResult) -> None:
    if result.decision in ("unchanged", "nothing"):
        return
    key = project_key(result.project_id, f"loop/history/{result.snapshot}.json")
    services.store.put_json(key, {**result.to_json(), "at": _now()})


def history(services: Services, project_id: str) -> list[dict[str, Any]]:
    """Return all trainings of a project, oldest first."""
    found = [services.store.get_json(key) for key in services.store.list(project_key(project_id, "loop/history"))]
    return sorted(found, key=lambda item: str(item.get("at")))


def use_version(services: Services, project_id: str, version: str) -> ModelVersion:
    """Let an older version predict again; the queue follows when it is refreshed.

    Raises:
        NotFoundError: the project has no such version.
    """
    model = get_version(services, project_id, version)
    activate(services, project_id, version)
    LoopState(services, project_id).ask("refresh")
    return model


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
