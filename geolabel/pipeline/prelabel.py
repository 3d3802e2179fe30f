"""Pre-label tasks: chain, calibrate, route, shape, join across chips, encode, import in bulk, set the model version."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from geolabel.adapters.claims import QUEUED_S, Claims
from geolabel.core.ids import new_region_id
from geolabel.errors import InputError, LabelStudioError, QueueError
from geolabel.labelstudio.task import chip_of_task
from geolabel.pipeline.answers import Answer, Neighbours, predict_batch, record_answers
from geolabel.pipeline.chain import ProjectView, open_project
from geolabel.pipeline.columns import route_columns, write_recorded
from geolabel.pipeline.labels import project_config, tasks_by_id
from geolabel.pipeline.models import active_version, fit_project
from geolabel.services import Services

_BATCH = 16
_IMPORT_EVERY = 64
_KEEP_NEIGHBOURS = 256
_STORED_S = 900
Report = Callable[[int, int | None, str], None]


@dataclass(slots=True, kw_only=True)
class PrelabelResult:
    """What came of it, counted; nothing is dropped without a count.

    Attributes:
        project_id: Of Label Studio.
        version: Model version of the predictions.
        imported: Predictions stored in Label Studio.
        skipped: Tasks that had a prediction of this version, or that somebody else is answering.
        routes: Answers per route.
        failed: Sentence by task id.
        answered: Tasks that this run answered, in order.
        reason: Why nothing could be predicted, or "".
    """

    project_id: str
    version: str = ""
    imported: int = 0
    skipped: int = 0
    regions: int = 0
    losses: int = 0
    routes: Counter[str] = field(default_factory=Counter)
    failed: dict[str, str] = field(default_factory=dict)
    answered: list[int] = field(default_factory=list)
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return JSON types."""
        return {name: getattr(self, name) for name in self.__slots__} | {"routes": dict(self.routes)}


def prelabel(
    services: Services,
    project_id: str,
    task_ids: Sequence[int] | None = None,
    *,
    claimed: bool = False,
    columns: bool = True,
    refit: bool = False,
    report: Report | None = None,
) -> PrelabelResult:
    """Predict tasks of a project and import the predictions.

    Running it twice stores nothing twice: tasks that have a prediction of the same version are skipped, also those
    stored by a run that died.

    Args:
        services: Everything.
        project_id: Of Label Studio.
        task_ids: Tasks; all of the project when not given.
        claimed: The tasks are claimed for this run already.
        columns: Write route and reason into the tasks, as columns of the Data Manager.
        refit: Learn from the newest labels first.
        report: Called with (done, total, message).

    Raises:
        LabelStudioError: Label Studio doesn't answer; what was imported stays.
    """
    tell = report or (lambda done, total, message: None)
    view = _view(services, project_id, refit=refit)
    result = PrelabelResult(project_id=project_id, version=view.version)
    claims = Claims(services.jobs.connection, services.settings.redis.prefix, project_id, view.version)
    if not view.ready:
        result.reason = "; ".join(f"{name}: {why}" for name, why in view.left_out.items()) or "no predictor is set up"
        if claimed and task_ids:
            _quietly(claims.release, list(task_ids))
        return result
    total = len(task_ids) if task_ids is not None else None
    owner = f"job:{new_region_id()}"
    neighbours: Neighbours = {}
    waiting: list[tuple[Mapping[str, Any], Answer]] = []
    done = 0
    for batch in _batches(_tasks(services, project_id, task_ids), _BATCH):
        todo = _free(batch, view, claims, owner, result, claimed=claimed)
        answers = predict_batch(services, view, todo, neighbours=neighbours)
        waiting += zip(todo, answers, strict=True)
        done += len(batch)
        tell(done, total, "predicting")
        for key in list(neighbours)[:-_KEEP_NEIGHBOURS]:
            del neighbours[key]
        if len(waiting) >= _IMPORT_EVERY:
            _import(services, view, claims, waiting, result)
            waiting = []
    _import(services, view, claims, waiting, result)
    tell(done, total or done, "stored")
    # Columns come last: people wait for predictions, and Label Studio takes a request for every task's columns.
    if columns:
        write_recorded(services, project_id, view.version, result.answered)
    return result


def _view(services: Services, project_id: str, *, refit: bool) -> ProjectView:
    config = project_config(services, project_id)
    if refit or active_version(services, project_id) is None:
        fit_project(services, project_id, config=config)
    return open_project(services, project_id, config)


def _tasks(services: Services, project_id: str, task_ids: Sequence[int] | None) -> Iterator[dict[str, Any]]:
    if task_ids is None:
        yield from services.labelstudio.tasks(int(project_id), query={"ordering": ["tasks:id"]})
        return
    for start in range(0, len(task_ids), _IMPORT_EVERY):
        yield from tasks_by_id(services, project_id, task_ids[start : start + _IMPORT_EVERY])


def _batches(items: Iterable[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _has(task: Mapping[str, Any], version: str) -> bool:
    return any(p.get("model_version") == version for p in task.get("predictions") or [] if isinstance(p, Mapping))


def _free(
    batch: Sequence[Mapping[str, Any]],
    view: ProjectView,
    claims: Claims,
    owner: str,
    result: PrelabelResult,
    *,
    claimed: bool,
) -> list[Mapping[str, Any]]:
    open_tasks = [task for task in batch if not _has(task, view.version)]
    if not claimed:
        ids = [int(task["id"]) for task in open_tasks]
        try:
            mine = claims.take(ids, owner, QUEUED_S)
        except QueueError:
            mine = set(ids)
        open_tasks = [task for task in open_tasks if int(task["id"]) in mine]
    result.skipped += len(batch) - len(open_tasks)
    return open_tasks


def _import(
    services: Services,
    view: ProjectView,
    claims: Claims,
    waiting: Sequence[tuple[Mapping[str, Any], Answer]],
    result: PrelabelResult,
) -> None:
    if not waiting:
        return
    for _, answer in waiting:
        result.routes[answer.route] += 1
        result.regions += len(answer.item["result"])
        result.losses += answer.losses
        if answer.error:
            result.failed[str(answer.task_id)] = answer.error
    # What a run before this one stored, or what the button stored meanwhile, is found here.
    ids = [answer.task_id for _, answer in waiting]
    stored = {int(t["id"]) for t in tasks_by_id(services, view.project_id, ids) if _has(t, view.version)}
    good = [(task, a) for task, a in waiting if not a.error and a.task_id not in stored]
    result.skipped += sum(1 for _, a in waiting if a.task_id in stored)
    if good:
        rows = [{"task": answer.task_id, **answer.item} for _, answer in good]
        _import_rows(services, int(view.project_id), rows)
        first = result.imported == 0
        result.imported += len(rows)
        if first:
            # Label Studio refuses a version before predictions of it exist.
            services.labelstudio.set_model_version(int(view.project_id), view.version)
    answers = [answer for _, answer in waiting]
    record_answers(services, view, answers)
    _quietly(claims.hold, [a.task_id for _, a in good], f"stored:{view.version}", _STORED_S)
    _quietly(claims.release, [a.task_id for a in answers if a.error])
    result.answered += [a.task_id for a in answers]


def _import_rows(services: Services, project_id: int, rows: Sequence[Mapping[str, Any]]) -> None:
    """Import predictions in bulk; when Label Studio refuses the whole call, one by one, so that the others get in."""
    size = services.settings.labelstudio.import_batch
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        try:
            services.labelstudio.import_predictions(project_id, part)
        except LabelStudioError as error:
            if error.retryable:
                raise
            for row in part:
                _post(services, row)


def _post(services: Services, row: Mapping[str, Any]) -> None:
    existing = services.labelstudio.predictions(int(row["task"]))
    if not any(p.get("model_version") == row["model_version"] for p in existing):
        services.labelstudio.post_prediction(row)


def _quietly(call: Callable[..., None], *arguments: Any) -> None:
    """Call something of the claims; without Redis there are none to keep."""
    try:
        call(*arguments)
    except QueueError:
        return


def attach_predictions(
    services: Services, project_id: str, tasks: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], PrelabelResult]:
    """Add predictions to tasks that are about to be imported, so that they travel with them.

    Args:
        services: Everything.
        project_id: Project that they go to; it decides the labels and what was learned.
        tasks: {"data": …} each.

    Returns:
        The tasks in order, with "predictions" and route columns where there are any, and what came of it.
    """
    view = open_project(services, project_id, project_config(services, project_id))
    result = PrelabelResult(project_id=project_id, version=view.version)
    out = [dict(task) for task in tasks]
    if not view.ready:
        result.reason = "; ".join(f"{name}: {why}" for name, why in view.left_out.items())
        return out, result
    neighbours: Neighbours = {}
    for start in range(0, len(out), _BATCH):
        batch = out[start : start + _BATCH]
        for task, answer in zip(batch, predict_batch(services, view, batch, neighbours=neighbours), strict=True):
            result.routes[answer.route] += 1
            if answer.error:
                result.failed[_chip_name(task)] = answer.error
                continue
            result.regions += len(answer.item["result"])
            result.imported += 1
            task["predictions"] = [answer.item]
            task["data"] = {**task["data"], **route_columns(answer.route, answer.step, answer.reason)}
    return out, result


def _chip_name(task: Mapping[str, Any]) -> str:
    try:
        return chip_of_task(task).id
    except InputError:
        return "?"
