"""Order the queue: which task Label Studio serves next, written where Label Studio itself looks.

Label Studio (1.23) serves unfinished tasks by the score of the prediction whose version is the project's model version,
lowest first. So the rank is written as that score, the version is set after predictions of it exist, and the sampling
last. `cluster` would let Label Studio reorder by what each person has seen; diversity lies in the rank already.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from geolabel.core.ids import digest
from geolabel.errors import GeoLabelError, LabelStudioError, NotFoundError
from geolabel.pipeline.chain import NO_LABELS_VERSION, open_project
from geolabel.pipeline.labels import project_config, project_key
from geolabel.pipeline.queue_columns import ensure_view, write_queue_columns
from geolabel.pipeline.queue_table import QueueTask, candidates_of, read_queue
from geolabel.sample.ranks import assign_scores
from geolabel.sample.registry import SAMPLERS
from geolabel.services import Services

SAMPLING = "Uncertainty sampling"
_PARALLEL = 3
#: The same tasks in the same state always give the same queue.
_SEED = 7
Report = Callable[[int, int | None, str], None]


@dataclass(slots=True, kw_only=True)
class RankResult:
    """What came of ranking.

    Attributes:
        project_id: Of Label Studio.
        version: Model version whose predictions sort the queue.
        sampler: Its name.
        order: Open tasks in the order in which they are served.
        reasons: Why, by task id.
        written: Scores written; the others were right already.
        waiting: Open tasks without a prediction of the version; Label Studio serves them after all others.
        unreadable: Sentence by chip id.
        gone: Tasks that were deleted meanwhile.
        reason: Why there is no queue, or "".
    """

    project_id: str
    version: str = ""
    sampler: str = ""
    order: list[int] = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)
    written: int = 0
    columns: int = 0
    waiting: list[int] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    gone: int = 0
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return JSON types."""
        value = {name: getattr(self, name) for name in self.__slots__}
        return value | {"reasons": {str(key): text for key, text in self.reasons.items()}}


def rank_project(services: Services, project_id: str, *, sampler: str = "", report: Report | None = None) -> RankResult:
    """Rank the open tasks of a project and let Label Studio serve them so; doing it twice writes nothing twice.

    Args:
        services: Everything.
        project_id: Of Label Studio.
        sampler: Name; the setting's when not given.
        report: Called with (done, total, message).

    Raises:
        NotFoundError: the project is gone, or there is no such sampler.
    """
    tell = report or (lambda done, total, message: None)
    name = sampler or services.settings.loop.sampler
    choose = SAMPLERS.get(name)
    labelstudio = services.labelstudio
    project = labelstudio.project(int(project_id))
    config = project_config(services, project_id)
    view = open_project(services, project_id, config)
    tasks = list(labelstudio.tasks(int(project_id), query={"ordering": ["tasks:id"]}))
    version = _version(tasks, view.version, ready=view.ready)
    result = RankResult(project_id=project_id, version=version, sampler=name)
    items = read_queue(services, project_id, tasks, view.taxonomy, version)
    still_open = [item for item in items if item.open]
    if not still_open:
        result.reason = "there are no tasks" if not items else "every task is labelled"
        _finish(services, result, items, {})
        return result
    tell(0, len(still_open), "choosing")
    ordered, reasons, doubts = _order(services, project_id, items, view.taxonomy, choose, result)
    _write(services, ordered, result, tell)
    _serve(services, project, result)
    result.order = [item.id for item in ordered if item.prediction is not None or version == NO_LABELS_VERSION]
    result.reasons = {item.id: reasons[item.id] for item in ordered if item.id in reasons}
    _finish(services, result, items, doubts)
    tell(len(still_open), len(still_open), "ranked")
    return result


def _version(tasks: Sequence[Mapping[str, Any]], wanted: str, *, ready: bool) -> str:
    """Return the version that can sort the queue now: the current one, or none at all before its first prediction."""
    if not ready:
        return NO_LABELS_VERSION
    have = any(
        p.get("model_version") == wanted
        for task in tasks
        if not task.get("is_labeled")
        for p in task.get("predictions") or []
        if isinstance(p, Mapping)
    )
    return wanted if have else NO_LABELS_VERSION


def _order(
    services: Services,
    project_id: str,
    items: Sequence[QueueTask],
    taxonomy: Any,
    choose: Any,
    result: RankResult,
) -> tuple[list[QueueTask], dict[int, str], dict[int, float]]:
    chips = [item for item in items if item.chip is not None]
    reasons: dict[int, str] = {}
    doubts: dict[int, float] = {}
    ordered: list[QueueTask] = []
    if chips:
        candidates, result.unreadable = candidates_of(services, project_id, chips, taxonomy)
        found = choose(candidates, services.settings.loop.rank_most, _SEED)
        for row, why in zip(found.order.tolist(), found.reasons, strict=True):
            ordered.append(chips[row])
            reasons[chips[row].id] = why
        doubts = {item.id: item.doubt for item in chips if item.doubt is not None}
    taken = {item.id for item in ordered}
    rest = [item for item in chips if item.open and item.id not in taken and not item.skipped]
    rest.sort(key=lambda item: (-(doubts.get(item.id) or 0.0), item.chip.id if item.chip else ""))
    reasons |= {item.id: "behind what the sampler chose" for item in rest}
    bad = {item.id for item in [*ordered, *rest] if item.chip and item.chip.id in result.unreadable}
    skipped = [item for item in items if item.open and item.skipped]
    foreign = [item for item in items if item.open and item.chip is None and not item.skipped]
    reasons |= {item.id: "skipped by somebody" for item in skipped}
    reasons |= {item.id: "not a chip of GeoLabel's" for item in foreign}
    reasons |= dict.fromkeys(bad, "its picture can't be read")
    good = [item for item in [*ordered, *rest] if item.id not in bad]
    last = [item for item in [*ordered, *rest] if item.id in bad]
    return [*good, *last, *skipped, *foreign], reasons, doubts


def _write(services: Services, ordered: Sequence[QueueTask], result: RankResult, tell: Report) -> None:
    """Write scores: new predictions in bulk where there is no model yet, else changes to those there are."""
    cold = result.version == NO_LABELS_VERSION
    ranked = [item for item in ordered if item.prediction is not None or cold]
    result.waiting = [item.id for item in ordered if item.prediction is None and not cold]
    current = [None if item.prediction is None else _score(item.prediction) for item in ranked]
    scores = assign_scores(current)
    missing = [(item, score) for item, score in zip(ranked, scores, strict=True) if item.prediction is None]
    size = services.settings.labelstudio.import_batch
    for start in range(0, len(missing), size):
        rows = [
            {"task": item.id, "result": [], "score": score, "model_version": result.version}
            for item, score in missing[start : start + size]
        ]
        result.written += services.labelstudio.import_predictions(int(result.project_id), rows)
    clusters = _clusters(services, ranked)
    changed = []
    for item, score, had in zip(ranked, scores, current, strict=True):
        if item.prediction is None:
            continue
        fields: dict[str, Any] = {"score": score} if had != score else {}
        if clusters is not None and item.prediction.get("cluster") != clusters[item.id]:
            fields["cluster"] = clusters[item.id]
        if fields:
            changed.append((int(item.prediction["id"]), fields))

    def write(pair: tuple[int, dict[str, Any]]) -> bool:
        try:
            services.labelstudio.update_prediction(pair[0], **pair[1])
        except NotFoundError:
            return False
        return True

    # The head of the queue first: people are served from it while the rest is written.
    with ThreadPoolExecutor(_PARALLEL) as pool:
        for done, wrote in enumerate(pool.map(write, changed), start=1):
            result.written += wrote
            result.gone += not wrote
            if done % 50 == 0:
                tell(done, len(changed), "writing")


def _score(prediction: Mapping[str, Any]) -> float | None:
    value = prediction.get("score")
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else None


def _clusters(services: Services, ranked: Sequence[QueueTask]) -> dict[int, int] | None:
    """Return block numbers by task id when clusters are asked for."""
    if not services.settings.loop.clusters:
        return None
    from geolabel.pipeline.labelled_tables import chip_centre_m

    out = {}
    for item in ranked:
        if item.chip is None:
            out[item.id] = 0
            continue
        x, y = chip_centre_m(item.chip)
        gsd = item.chip.georef.gsd_m()
        width = 4.0 * max(gsd[0] * item.chip.georef.width, 1e-3)
        out[item.id] = int(digest("block", item.chip.scene_id, int(x // width), int(y // width))[:6], 16)
    return out


def _serve(services: Services, project: Mapping[str, Any], result: RankResult) -> None:
    """Set version and sampling, in this order and only where they differ; changing them tells all webhooks."""
    number = int(result.project_id)
    if project.get("model_version") != result.version:
        try:
            services.labelstudio.set_model_version(number, result.version)
        except LabelStudioError as error:
            if error.retryable:
                raise
            result.reason = f"Label Studio refuses the version {result.version!r}: {error.message}"
            return
    if project.get("sampling") != SAMPLING:
        services.labelstudio.set_sampling(number, SAMPLING)


def _finish(services: Services, result: RankResult, items: Sequence[QueueTask], doubts: Mapping[int, float]) -> None:
    result.columns = write_queue_columns(services, items, result.order, result.reasons, doubts)
    try:
        ensure_view(services, int(result.project_id))
    except GeoLabelError as error:
        # The tab is a view on the queue; without it the queue still works.
        result.reason = result.reason or f"the tab could not be made: {error.message}"
    kinds = Counter(reason.split(":")[0] for reason in result.reasons.values())
    value = {
        "version": result.version,
        "sampler": result.sampler,
        "order": result.order,
        "reasons": dict(sorted(kinds.items())),
        "waiting": len(result.waiting),
        "unreadable": len(result.unreadable),
        "skipped": sum(item.open and item.skipped for item in items),
        "labelled": sum(item.annotated for item in items),
        "tasks": len(items),
        "reason": result.reason,
    }
    services.store.put_json(project_key(result.project_id, "loop/queue.json"), value)
