"""A project's predictors in order: who is asked first, who next and why, and what comes out for Label Studio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from geolabel.core.ids import digest
from geolabel.core.labels import Region
from geolabel.core.taxonomy import Taxonomy, Thresholds
from geolabel.errors import GeoLabelError, InputError, NotFoundError
from geolabel.labelstudio.config import LabelConfig
from geolabel.pipeline.labels import project_key, project_taxonomy
from geolabel.pipeline.models import active_version, load_heads
from geolabel.predict.calibrate import Calibration
from geolabel.predict.contract import ChipInput, ChipPrediction, PredictContext
from geolabel.predict.registry import PREDICTORS, LoadedModels, make_predictor, pick_device
from geolabel.predict.route import Routed, chip_score, join_reasons, route, thresholds_of
from geolabel.services import Services

DEFAULT_CHAIN = ("text", "exemplar", "vector_prior", "fewshot")
NO_LABELS_VERSION = "no labels yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainStep:
    """One predictor of a chain with its options (JSON types)."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return JSON types."""
        return {"name": self.name, "options": dict(self.options)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectView:
    """Everything that predicting for one project needs, fixed for one request or job.

    Attributes:
        project_id: Of Label Studio.
        config: Label config of the request.
        taxonomy: Its classes with what the store knows of them.
        steps: Predictors that can run, in order.
        left_out: Steps that can't run, with the reason.
        context: For the predictors.
        calibration: By predictor name.
        thresholds: By class name.
        version: What Label Studio shows; changes whenever predictions may change.
    """

    project_id: str
    config: LabelConfig
    taxonomy: Taxonomy
    steps: tuple[ChainStep, ...]
    left_out: Mapping[str, str]
    context: PredictContext
    calibration: Mapping[str, Calibration]
    thresholds: Mapping[str, Thresholds]
    version: str

    @property
    def ready(self) -> bool:
        """Whether any predictor can run."""
        return bool(self.steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipOutcome:
    """What the chain says of one chip: routed regions, the step that answered, and the reasons of all steps asked."""

    chip: ChipInput
    routed: Routed
    step: str
    score: float
    reason: str
    tried: tuple[tuple[str, str], ...]
    error: str = ""

    @property
    def regions(self) -> tuple[Region, ...]:
        """Regions to show."""
        return self.routed.regions


@lru_cache(maxsize=1)
def process_models() -> LoadedModels:
    """Return the loaded predictors of this process."""
    return LoadedModels()


def chain_steps(services: Services, project_id: str) -> tuple[ChainStep, ...]:
    """Return the chain that the project chose, else the default one, without names that no predictor has.

    Raises:
        InputError: the stored chain is malformed or names a predictor that doesn't exist.
    """
    try:
        stored = services.store.get_json(project_key(project_id, "chain.json"))
    except NotFoundError:
        return tuple(ChainStep(name=name) for name in DEFAULT_CHAIN if name in PREDICTORS)
    try:
        steps = tuple(ChainStep(name=str(s["name"]), options=dict(s.get("options") or {})) for s in stored["steps"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"the chain of project {project_id} is malformed ({error}); set it again") from error
    for step in steps:
        PREDICTORS.get(step.name)
    return steps


def set_chain(services: Services, project_id: str, steps: Sequence[ChainStep]) -> None:
    """Choose the predictors of a project, in order.

    Raises:
        NotFoundError: a name is no predictor.
    """
    for step in steps:
        PREDICTORS.get(step.name)
    services.store.put_json(project_key(project_id, "chain.json"), {"steps": [step.to_json() for step in steps]})


def open_project(services: Services, project_id: str, config: LabelConfig) -> ProjectView:
    """Gather what predicting for a project needs; loads no model, reads a few small objects of the store."""
    taxonomy = project_taxonomy(services, project_id, config)
    active = active_version(services, project_id)
    heads: Mapping[str, Any] = {}
    if active is not None:
        heads = load_heads(services, project_id, active)
    context = PredictContext(project_id=project_id, taxonomy=taxonomy, heads=heads, options=_options(config))
    steps, left_out, identity = [], {}, []
    for step in chain_steps(services, project_id):
        try:
            predictor = make_predictor(step.name, step.options)
            why = _why_not(predictor, context)
        except GeoLabelError as error:
            left_out[step.name] = error.message
            continue
        if why:
            left_out[step.name] = why
            continue
        steps.append(step)
        head = heads.get(step.name)
        identity.append([step.to_json(), predictor.spec.version, active.version if head is not None and active else ""])
    calibration = load_calibration(services, project_id)
    floors = score_floors(config)
    return ProjectView(
        project_id=project_id,
        config=config,
        taxonomy=taxonomy,
        steps=tuple(steps),
        left_out=left_out,
        context=context,
        calibration=calibration,
        thresholds=thresholds_of(taxonomy, floors),
        version=_version(identity, calibration, taxonomy, floors),
    )


def _why_not(predictor: Any, context: PredictContext) -> str:
    ready = getattr(predictor, "ready", None)
    if callable(ready):
        return str(ready(context))
    if predictor.spec.trained and predictor.spec.name not in context.heads:
        return "no labels yet: annotate a few chips, then ask again"
    return ""


def _version(
    identity: list[Any], calibration: Mapping[str, Calibration], taxonomy: Taxonomy, floors: Mapping[str, float]
) -> str:
    if not identity:
        return NO_LABELS_VERSION
    key = digest(
        identity, {name: item.to_json() for name, item in calibration.items()}, taxonomy.to_json(), dict(floors)
    )
    return f"{'+'.join(str(item[0]['name']) for item in identity)}-{key[:10]}"


def score_floors(config: LabelConfig) -> dict[str, float]:
    """Return the least score per class name that the label config lets through (`model_score_threshold`)."""
    floors: dict[str, float] = {}
    for control in config.label_controls():
        if control.score_threshold is not None:
            for tag in control.labels:
                floors[tag.value] = max(floors.get(tag.value, 0.0), control.score_threshold)
    return floors


def predicted_values(config: LabelConfig) -> dict[str, str]:
    """Return which label a foreign model's class name stands for (`predicted_values` of a label, lower case)."""
    names: dict[str, str] = {}
    for control in config.label_controls():
        for tag in control.labels:
            for value in tag.predicted_values:
                names.setdefault(value.lower(), tag.value)
    return names


def _options(config: LabelConfig) -> dict[str, Any]:
    return {"predicted_values": predicted_values(config)}


def load_calibration(services: Services, project_id: str) -> dict[str, Calibration]:
    """Return the calibrations of a project by predictor name; empty before the first."""
    try:
        stored = services.store.get_json(project_key(project_id, "calibration.json"))
    except NotFoundError:
        return {}
    return {name: Calibration.from_json(item) for name, item in stored.get("predictors", {}).items()}


def run_chain(services: Services, view: ProjectView, chips: Sequence[ChipInput]) -> list[ChipOutcome]:
    """Ask the predictors of a project for a batch of chips; every chip gets an outcome, whatever fails.

    A chip goes on to the next predictor for the reasons of `geolabel.predict.route.route`; after the last one it is
    left to people.
    """
    tried: dict[int, list[tuple[str, str]]] = {i: [] for i in range(len(chips))}
    done: dict[int, ChipOutcome] = {}
    for step in view.steps:
        waiting = [i for i in range(len(chips)) if i not in done]
        if not waiting:
            break
        answers = _ask(services, view, step, [chips[i] for i in waiting])
        for i, answer in zip(waiting, answers, strict=True):
            calibration = view.calibration.get(step.name, Calibration())
            renamed = _renamed(answer, view)
            routed = route(renamed, calibration, view.thresholds)
            tried[i].append((step.name, routed.reason))
            if routed.route != "next":
                done[i] = _outcome(chips[i], routed, step.name, answer.score, tried[i])
    for i in range(len(chips)):
        if i not in done:
            reasons = tried[i] or list(view.left_out.items()) or [("manual", "no predictor is set up")]
            manual = Routed(regions=(), route="manual", reason=join_reasons(reasons), raw_scores={})
            done[i] = _outcome(chips[i], manual, "manual", 0.0, reasons)
    return [done[i] for i in range(len(chips))]


def _outcome(
    chip: ChipInput, routed: Routed, step: str, score: float | None, tried: Sequence[tuple[str, str]]
) -> ChipOutcome:
    return ChipOutcome(
        chip=chip,
        routed=routed,
        step=step,
        score=chip_score(routed, score),
        reason=join_reasons(tried),
        tried=tuple(tried),
    )


def _renamed(answer: ChipPrediction, view: ProjectView) -> ChipPrediction:
    """Give regions the project's class names (aliases, `predicted_values`); those of no class are counted out."""
    values = view.context.options.get("predicted_values", {})
    regions, foreign = [], 0
    for region in answer.regions:
        name = values.get(region.label.lower(), region.label)
        if name in view.taxonomy:
            regions.append(replace(region, label=view.taxonomy.by_name(name).name))
        else:
            foreign += 1
    reason = f"{answer.reason}; {foreign} of classes that the project doesn't have" if foreign else answer.reason
    return replace(answer, regions=tuple(regions), reason=reason)


def _ask(services: Services, view: ProjectView, step: ChainStep, chips: Sequence[ChipInput]) -> list[ChipPrediction]:
    device = services.settings.predict.device
    try:
        spec = make_predictor(step.name, step.options).spec
        where = "cpu" if step.name in ("fewshot", "regions") and device == "auto" else pick_device(device)
        predictor = process_models().get(step.name, where, step.options)
    except GeoLabelError as error:
        return [ChipPrediction(chip_id=chip.chip.id, error=error.message) for chip in chips]
    answers: list[ChipPrediction] = []
    for start in range(0, len(chips), spec.max_batch):
        batch = list(chips[start : start + spec.max_batch])
        answers += _safely(predictor, batch, view.context)
    return answers


def _safely(predictor: Any, batch: list[ChipInput], context: PredictContext) -> list[ChipPrediction]:
    """Predict a batch; when that fails, chip by chip, so that one bad chip never costs the others."""
    try:
        answers = list(predictor.predict(batch, context))
        if len(answers) == len(batch):
            return answers
        problem = f"the predictor gave {len(answers)} answers for {len(batch)} chips"
    except Exception as error:  # noqa: BLE001 - the border to a plugin: whatever it raises costs its own chips only
        problem = getattr(error, "message", "") or f"{type(error).__name__}: {error}"
    if len(batch) == 1:
        return [ChipPrediction(chip_id=batch[0].chip.id, error=problem)]
    return [answer for chip in batch for answer in _safely(predictor, [chip], context)]
