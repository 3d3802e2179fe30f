"""From a chip's outcome to what Label Studio stores: encoded regions, score, version, and the record beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from geolabel.core.ids import digest
from geolabel.core.labels import Region
from geolabel.core.scene import Chip
from geolabel.errors import GeoLabelError, InputError
from geolabel.labelstudio.codec import encode_regions
from geolabel.labelstudio.task import chip_of_task, task_data
from geolabel.pipeline.chain import ChipOutcome, ProjectView, run_chain
from geolabel.pipeline.chip_inputs import read_chip_input
from geolabel.pipeline.labels import project_key
from geolabel.predict.contract import ChipInput
from geolabel.predict.merge import merge_chips
from geolabel.services import Services

#: Chips predicted before with their regions, by chip id.
Neighbours = dict[str, tuple[Chip, tuple[Region, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is said of one task.

    Attributes:
        task_id: Of Label Studio.
        item: {"result", "score", "model_version"} as Label Studio takes it.
        route: "accept", "review", "empty", "manual" or "failed".
        reason: For people.
        step: Predictor that answered.
        raw_scores: Raw score by region id, for calibration.
        losses: Regions that the label config cannot carry.
        error: Sentence when the task could not be predicted.
    """

    task_id: int
    item: dict[str, Any]
    route: str
    reason: str
    step: str = ""
    raw_scores: Mapping[str, float] = field(default_factory=dict)
    losses: int = 0
    error: str = ""


def empty_item(version: str, score: float = 0.0) -> dict[str, Any]:
    """Return a prediction without regions."""
    return {"result": [], "score": score, "model_version": version}


def failed(task_id: int, version: str, sentence: str) -> Answer:
    """Return the answer for a task that could not be predicted."""
    return Answer(task_id=task_id, item=empty_item(version), route="failed", reason=sentence, error=sentence)


def predict_batch(
    services: Services,
    view: ProjectView,
    tasks: Sequence[Mapping[str, Any]],
    *,
    neighbours: Neighbours | None = None,
) -> list[Answer]:
    """Predict tasks and return one answer for each, in order; a task that fails costs no other.

    Objects that reach over several chips of the batch (and of `neighbours`, predicted before) are joined and cut back.

    Args:
        services: For pixels.
        view: Of the project.
        tasks: As Label Studio gives them.
        neighbours: Chips predicted before with their regions, by chip id; this batch is added to it.
    """
    answers: dict[int, Answer] = {}
    chips: dict[int, ChipInput] = {}
    for index, task in enumerate(tasks):
        task_id = _task_id(task)
        try:
            chips[index] = read_chip_input(services, chip_of_task(task), task_id)
        except GeoLabelError as error:
            answers[index] = failed(task_id, view.version, error.message)
        except Exception as error:  # noqa: BLE001 - one unreadable chip must not cost the batch
            answers[index] = failed(task_id, view.version, f"the chip can't be read: {type(error).__name__}: {error}")
    order = list(chips)
    outcomes = dict(zip(order, run_chain(services, view, [chips[i] for i in order]), strict=True))
    merged = _merged(outcomes, {} if neighbours is None else neighbours)
    for index, outcome in outcomes.items():
        answers[index] = answer_of(tasks[index], outcome, merged[outcome.chip.chip.id], view)
    if neighbours is not None:
        for outcome in outcomes.values():
            neighbours[outcome.chip.chip.id] = (outcome.chip.chip, outcome.regions)
    return [answers[i] for i in range(len(tasks))]


def _task_id(task: Mapping[str, Any]) -> int:
    try:
        return int(task.get("id") or 0)
    except (TypeError, ValueError):
        return 0


def _merged(outcomes: Mapping[int, ChipOutcome], neighbours: Neighbours) -> dict[str, tuple[Region, ...]]:
    here = {outcome.chip.chip.id: outcome for outcome in outcomes.values()}
    regions = {chip_id: outcome.regions for chip_id, outcome in here.items()}
    chips = {chip_id: outcome.chip.chip for chip_id, outcome in here.items()}
    for chip_id, (chip, found) in neighbours.items():
        regions.setdefault(chip_id, found)
        chips.setdefault(chip_id, chip)
    if len(regions) < 2:
        return regions
    joined, _ = merge_chips(regions, chips)
    return {chip_id: joined[chip_id] for chip_id in here}


def answer_of(task: Mapping[str, Any], outcome: ChipOutcome, regions: Sequence[Region], view: ProjectView) -> Answer:
    """Encode the regions of a chip for the project's label config."""
    item_index = reference_index(task)
    placed = [replace(region, item_index=item_index) for region in regions] if item_index is not None else regions
    chip = outcome.chip.chip
    encoded = encode_regions(placed, view.config, width_px=chip.georef.width, height_px=chip.georef.height)
    reason = outcome.reason
    if encoded.losses:
        reason += f"; {len(encoded.losses)} regions changed or left out by the label config"
    item = {"result": encoded.result, "score": round(outcome.score, 4), "model_version": view.version}
    return Answer(
        task_id=_task_id(task),
        item=item,
        route=outcome.routed.route,
        reason=reason,
        step=outcome.step,
        raw_scores=_raw_scores(regions, outcome),
        losses=len(encoded.losses),
    )


def _raw_scores(regions: Sequence[Region], outcome: ChipOutcome) -> dict[str, float]:
    # A region joined over chips has a new id; its own score is then the nearest thing to a raw one.
    raw = outcome.routed.raw_scores
    return {region.id: float(raw.get(region.id, region.score or 0.0)) for region in regions}


def reference_index(task: Mapping[str, Any]) -> int | None:
    """Return which image of a task of several dates the predictions belong to, or None for a single image."""
    try:
        data = task_data(task)
    except InputError:
        return None
    geos = data.get("geos")
    if not isinstance(geos, list) or not geos:
        return None
    wanted = (data.get("geo") or {}).get("chip_id")
    ids = [geo.get("chip_id") if isinstance(geo, Mapping) else None for geo in geos]
    return ids.index(wanted) if wanted in ids else 0


def record_answers(services: Services, view: ProjectView, answers: Sequence[Answer]) -> None:
    """Keep raw scores, routes and reasons of answers in the store; calibration and the progress page read them."""
    if not answers:
        return
    record = {
        "version": view.version,
        "at": datetime.now(UTC).isoformat(),
        "tasks": {
            str(a.task_id): {
                "route": a.route,
                "reason": a.reason,
                "step": a.step,
                # The queue's rank takes the place of this score in Label Studio.
                "score": a.item.get("score"),
                "regions": len(a.item["result"]),
                "losses": a.losses,
                "raw_scores": {key: round(value, 5) for key, value in a.raw_scores.items()},
            }
            for a in answers
        },
    }
    name = digest(*(a.task_id for a in answers))
    services.store.put_json(project_key(view.project_id, f"answers/{view.version}/{name}.json"), record)


def read_records(services: Services, project_id: str) -> dict[str, dict[str, Any]]:
    """Return the newest record by task id, each with the "version" that it speaks of."""
    found: dict[str, dict[str, Any]] = {}
    for (version, task_id), item in read_all_records(services, project_id).items():
        if task_id not in found or item["at"] > found[task_id]["at"]:
            found[task_id] = {**item, "version": version}
    return found


def read_all_records(
    services: Services, project_id: str, version: str | None = None
) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the newest record by (version, task id); of one version where it is given."""
    prefix = project_key(project_id, f"answers/{version}" if version else "answers")
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for key in services.store.list(prefix):
        record = services.store.get_json(key)
        at, of = str(record.get("at", "")), str(record.get("version", ""))
        for task_id, item in record.get("tasks", {}).items():
            if (of, task_id) not in found or at > found[of, task_id]["at"]:
                found[of, task_id] = {**item, "at": at}
    return found
