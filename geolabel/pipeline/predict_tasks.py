"""Answer Label Studio's ``/predict``: what is ready within the time, and a job for the rest.

One entry per task, in order, always. An entry is a prediction, or an empty list for a task that a worker answers.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from geolabel.adapters.claims import ANSWERED_S, QUEUED_S, Claims
from geolabel.core.ids import new_region_id
from geolabel.errors import GeoLabelError, InputError, QueueError
from geolabel.labelstudio.config import LabelConfig
from geolabel.pipeline.answers import Answer, Neighbours, empty_item, predict_batch, record_answers
from geolabel.pipeline.chain import NO_LABELS_VERSION, ProjectView, open_project
from geolabel.pipeline.labels import clean_project_id
from geolabel.pipeline.models import active_version, fit_project
from geolabel.services import Services

log = logging.getLogger(__name__)
_BATCH = 8
PRELABEL_JOB = "workers.jobs_predict.prelabel"
FIT_JOB = "workers.jobs_predict.fit"
#: Somebody waits for the first fit, so it reads few chips; a worker then learns from more.
FIRST_CHIPS = 12
COLUMNS_JOB = "workers.jobs_predict.route_columns"
#: Label Studio stores the answer first.
COLUMNS_DELAY_S = 5.0
Entry = dict[str, Any] | list[Any]


def setup_version(services: Services, payload: Mapping[str, Any]) -> str:
    """Answer ``/setup``: the model version of the project; loads no model.

    Raises:
        InputError: the project or the label config is missing or wrong.
    """
    project_id = clean_project_id(payload.get("project"))
    config = LabelConfig.parse(str(payload.get("schema") or payload.get("label_config") or ""))
    return open_project(services, project_id, config).version


def predict_tasks(services: Services, payload: Mapping[str, Any]) -> list[Entry]:
    """Answer ``/predict``.

    Args:
        services: Label Studio, store, queue.
        payload: {"tasks", "project", "label_config", "params"} as Label Studio sends it.

    Raises:
        InputError: the body has no list of tasks, or project or label config are wrong.
    """
    started = time.monotonic()
    tasks = payload.get("tasks")
    if not isinstance(tasks, list) or not all(isinstance(task, Mapping) for task in tasks):
        raise InputError("the body has no list of tasks; Label Studio sends {'tasks': […], 'project', 'label_config'}")
    if not tasks:
        return []
    project_id = clean_project_id(payload.get("project") or tasks[0].get("project"))
    config = LabelConfig.parse(str(payload.get("label_config") or ""))
    context = _prompt(payload)
    if context is not None:
        return _interactive(services, tasks, config, context, project_id)
    view = _ready_view(services, project_id, config)
    if not view.ready:
        return [empty_item(NO_LABELS_VERSION) for _ in tasks]
    return _answer(services, view, tasks, started)


def _prompt(payload: Mapping[str, Any]) -> dict[str, Any] | None:
    params = payload.get("params")
    context = params.get("context") if isinstance(params, Mapping) else None
    return dict(context) if isinstance(context, Mapping) and context.get("result") else None


def _interactive(
    services: Services,
    tasks: Sequence[Mapping[str, Any]],
    config: LabelConfig,
    context: Mapping[str, Any],
    project_id: str,
) -> list[Entry]:
    from geolabel.pipeline.interactive import answer_prompt

    out: list[Entry] = []
    for task in tasks:
        try:
            out.append(answer_prompt(services, dict(task), config, dict(context), project_id))
        except GeoLabelError as error:
            log.warning("prompt on task %s: %s", task.get("id"), error.message)
            out.append(empty_item("interactive"))
    return out


def _ready_view(services: Services, project_id: str, config: LabelConfig) -> ProjectView:
    """Return the project, after a first fit when it has labels but has never learned."""
    view = open_project(services, project_id, config)
    if active_version(services, project_id) is not None:
        return view
    try:
        model = fit_project(services, project_id, config=config, most_chips=FIRST_CHIPS)
        if model is not None:
            if model.chips >= FIRST_CHIPS:
                services.jobs.enqueue(FIT_JOB, {"project": project_id}, queue="model")
            return open_project(services, project_id, config)
    except GeoLabelError as error:
        # Without Label Studio's answer the labels are unknown; what the chain can do without them is still done.
        log.warning("project %s: first fit failed: %s", project_id, error.message)
    return view


def _answer(services: Services, view: ProjectView, tasks: Sequence[Mapping[str, Any]], started: float) -> list[Entry]:
    settings = services.settings.predict
    ids = [int(task.get("id") or 0) for task in tasks]
    claims = Claims(services.jobs.connection, services.settings.redis.prefix, view.project_id, view.version)
    owner = f"request:{new_region_id()}"
    free, queue_works = _take(claims, [i for i in ids if i], owner)
    if queue_works and len(free) < len(set(ids)):
        free |= _retaken(services, claims, [i for i in ids if i and i not in free], owner)
    entries: dict[int, Entry] = {}
    answered: list[Answer] = []
    seen: Neighbours = {}
    # Tasks without an id (Label Studio's "test" button) and doubled ids are answered once, in place.
    todo = [n for n, i in enumerate(ids) if (i in free or not i) and ids.index(i) == (n if i else ids.index(i))]
    inline, rest = todo[: settings.inline_tasks], todo[settings.inline_tasks :]
    for start in range(0, len(inline), _BATCH):
        if time.monotonic() - started > settings.inline_s * _share(start):
            rest = inline[start:] + rest
            break
        batch = inline[start : start + _BATCH]
        for n, answer in zip(
            batch, predict_batch(services, view, [tasks[n] for n in batch], neighbours=seen), strict=True
        ):
            entries[n] = answer.item
            answered.append(answer)
    _hand_on(services, view, claims, [ids[n] for n in rest], queue_works)
    _finish(services, view, claims, answered, queue_works)
    return [entries.get(n, []) for n in range(len(tasks))]


def _share(start: int) -> float:
    # The first batch is always tried: somebody waits for it.
    return 1.0 if start else float("inf")


def _take(claims: Claims, ids: list[int], owner: str) -> tuple[set[int], bool]:
    try:
        return claims.take(ids, owner, ANSWERED_S), True
    except QueueError as error:
        log.warning("predicting without claims: %s", error.message)
        return set(ids), False


def _retaken(services: Services, claims: Claims, ids: list[int], owner: str) -> set[int]:
    """Return claimed tasks that are answered again: whose claim says "stored" though Label Studio has nothing stored.

    That happens when predictions were deleted there. Claims of requests and jobs that still work are left alone.
    """
    stored = [i for i, holder in claims.owners(ids).items() if holder.startswith("stored:")]
    gone = []
    for task_id in stored:
        version = claims.owners([task_id]).get(task_id, "").removeprefix("stored:")
        try:
            has = any(p.get("model_version") == version for p in services.labelstudio.predictions(task_id))
        except GeoLabelError:
            continue
        if not has:
            gone.append(task_id)
    claims.hold(gone, owner, ANSWERED_S)
    return set(gone)


def _hand_on(services: Services, view: ProjectView, claims: Claims, ids: list[int], queue_works: bool) -> None:
    ids = [i for i in ids if i]
    if not ids:
        return
    if not queue_works:
        log.warning("project %s: %s tasks stay unanswered because Redis is down", view.project_id, len(ids))
        return
    payload = {"project": view.project_id, "tasks": ids, "claimed": True, "version": view.version}
    try:
        job = services.jobs.enqueue(PRELABEL_JOB, payload, queue="model")
        claims.hold(ids, f"job:{job.id}", QUEUED_S)
    except QueueError as error:
        claims.release(ids)
        log.warning("project %s: %s tasks could not be queued: %s", view.project_id, len(ids), error.message)


def _finish(
    services: Services, view: ProjectView, claims: Claims, answered: Sequence[Answer], queue_works: bool
) -> None:
    try:
        record_answers(services, view, [answer for answer in answered if answer.task_id])
        ids = [a.task_id for a in answered if a.task_id]
        if queue_works and ids:
            claims.hold(ids, "answered", ANSWERED_S)
            payload = {"project": view.project_id, "version": view.version, "tasks": ids}
            services.jobs.enqueue(COLUMNS_JOB, payload, queue="cpu", delay_s=COLUMNS_DELAY_S)
    except GeoLabelError as error:
        # The answer itself is what counts; its record serves calibration and the progress page.
        log.warning("project %s: answers not recorded: %s", view.project_id, error.message)
