"""Answer clicks and boxes of a person in Label Studio's editor.

What a person shows of one object grows over several requests, since the page sends one drawn region at a time: it is
kept for some minutes per project, task, person and class in Redis. Without Redis every request stands for itself.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import redis

from geolabel.core.labels import Region
from geolabel.core.scene import Chip
from geolabel.core.shapes import ShapeKind
from geolabel.core.taxonomy import LabelClass, Taxonomy
from geolabel.errors import GeoLabelError, InputError
from geolabel.labelstudio.config import LabelConfig
from geolabel.labelstudio.encode import encode_regions
from geolabel.labelstudio.task import chip_of_task, task_data
from geolabel.pipeline.embed import GRAPH_CUT, engines, interactive_model, picture_of
from geolabel.pipeline.labels import project_taxonomy
from geolabel.predict.geometry import GeometryRules, MaskObject, regions_from_objects
from geolabel.predict.prompts import Prompt, Session, grown, read_prompts
from geolabel.services import Services

log = logging.getLogger(__name__)
SESSION_S = 900
PROVENANCE_S = 30 * 86400
EMBED_JOB = "workers.jobs_models.embed"
_KINDS: tuple[ShapeKind, ...] = ("polygon", "multipolygon", "mask", "rotated_box", "box", "ellipse")
_PICTURE_BYTES = 256_000_000
Rgb = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a model made of a prompt: outline in chip px (maybe empty), 0 to 1 score, model version."""

    outline: Any
    score: float
    version: str


def answer_prompt(
    services: Services, task: dict[str, Any], config: LabelConfig, context: dict[str, Any], project_id: str
) -> dict[str, Any]:
    """Answer one interactive request.

    Args:
        services: Store, Redis.
        task: As Label Studio sends it.
        config: Label config of the request.
        context: `params.context`: {"result": [regions drawn as prompts]}, optionally {"user": …}.
        project_id: Project.

    Returns:
        {"result", "score", "model_version", "explanation"}: the last says in one sentence why `result` is empty.

    Raises:
        GeoLabelError: the task is not ours, or its raster or the model can't be read.
    """
    results = [item for item in context.get("result") or [] if isinstance(item, Mapping)]
    index = next((item["item_index"] for item in results if isinstance(item.get("item_index"), int)), None)
    chip = _chip(task, index)
    width, height = chip.georef.width, chip.georef.height
    read = read_prompts(results, width_px=width, height_px=height)
    taxonomy = project_taxonomy(services, project_id, config)
    if not read.prompt.clicks and read.prompt.box is None:
        return _empty("; ".join(read.problems) or "the request holds no click and no box")
    try:
        label_class = _class(taxonomy, config, read.prompt.label)
    except InputError as error:
        return _empty(error.message)
    memory = _Memory(services, (project_id, str(task.get("id") or chip.id), _person(task, context), label_class.name))
    prompt = replace(read.prompt, label=label_class.name)
    session = grown(memory.load(), prompt, whole=len(results) > 1)
    if not session.prompt.usable:
        return _empty("a negative click alone shows no object; click on the object first, or draw a box")
    found = _ask(services, project_id, chip, session.prompt)
    regions = _regions(found, label_class, chip, session.region_id, index)
    if regions:
        xmin, ymin, xmax, ymax = found.outline.bounds
        session = replace(session, bounds=(xmin, ymin, xmax, ymax))
    memory.save(session, found, regions)
    encoded = encode_regions(regions, config, width_px=width, height_px=height)
    item = {"result": encoded.result, "score": round(found.score, 4), "model_version": found.version}
    if not encoded.result:
        reasons = [loss.message for loss in encoded.losses] or ["no object was found there; add a click or draw a box"]
        item["explanation"] = "; ".join([*read.problems, *reasons])
    return item


def _empty(sentence: str) -> dict[str, Any]:
    log.info("prompt without answer: %s", sentence)
    return {"result": [], "score": 0.0, "model_version": "interactive", "explanation": sentence}


def _chip(task: Mapping[str, Any], index: int | None) -> Chip:
    geos = task_data(task).get("geos")
    if index is not None and isinstance(geos, list):
        if not 0 <= index < len(geos):
            raise InputError(f"the prompt names image {index}; the task has images 0 to {len(geos) - 1}")
        return Chip.from_geo(geos[index])
    return chip_of_task(task)


def _class(taxonomy: Taxonomy, config: LabelConfig, label: str) -> LabelClass:
    """Return the class of the prompt with the shape kind that the answer shall have.

    Raises:
        InputError: no such class, or the config offers no shape that can hold an area.
    """
    if not label and len(taxonomy.classes) == 1:
        label = taxonomy.classes[0].name
    if label not in taxonomy:
        what = f"label {label!r} is unknown" if label else "no label was chosen"
        raise InputError(f"{what}; choose one of {', '.join(taxonomy.names())} before you click")
    found = taxonomy.by_name(label)
    offered = (*found.shapes, *config.kinds_for(found.name))
    areas = [kind for kind in offered if kind in _KINDS]
    if not areas:
        raise InputError(f"the label config offers no polygon, brush, bitmask or box for {label!r}; add one")
    # The class's own order decides between outlines and masks; boxes are for classes that have nothing else.
    kind = next((k for k in areas if k in ("polygon", "multipolygon", "mask")), areas[0])
    return replace(found, shapes=(kind,), min_area_m2=0.0)


def _person(task: Mapping[str, Any], context: Mapping[str, Any]) -> str:
    """Return who prompts: what the client says, else the owner of the draft or annotation that came with the task.

    Label Studio's own request names no one; it sends the drafts and annotations of this person alone.
    """
    if context.get("user"):
        return str(context["user"])[:100]
    for kind, key in (("drafts", "user"), ("annotations", "completed_by")):
        for item in task.get(kind) or []:
            if isinstance(item, Mapping) and item.get(key):
                return str(item[key])[:100]
    return ""


class _Memory:
    """The object that is being described, in Redis; a Redis that does not answer costs the accumulation only."""

    def __init__(self, services: Services, identity: tuple[str, str, str, str]) -> None:
        self._prefix = services.settings.redis.prefix
        self._project, self._task = identity[:2]
        self._key = ":".join([self._prefix, "prompt", *[part.replace(":", "_") for part in identity]])
        self._redis = services.jobs.connection

    def load(self) -> Session | None:
        """Return the session, or None."""
        try:
            data = self._redis.get(self._key)
        except redis.RedisError as error:
            log.warning("prompts are not kept: %s", error)
            return None
        if not isinstance(data, str | bytes):
            return None
        try:
            return Session.from_json(json.loads(data))
        except (InputError, ValueError):
            return None

    def save(self, session: Session, found: Found, regions: Sequence[Region]) -> None:
        """Keep the session, and where each region came from: Label Studio forgets that when one is accepted."""
        provenance: dict[Any, Any] = {
            region.id: json.dumps(
                {"model": found.version, "score": round(found.score, 4), "prompt": session.prompt.to_json()}
            )
            for region in regions
        }
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                pipe.set(self._key, json.dumps(session.to_json()), ex=SESSION_S)
                if provenance:
                    key = f"{self._prefix}:prompted:{self._project}:{self._task}"
                    pipe.hset(key, mapping=provenance)
                    pipe.expire(key, PROVENANCE_S)
                pipe.execute()
        except redis.RedisError as error:
            log.warning("prompts are not kept: %s", error)


def prompted_regions(services: Services, project_id: str, task_id: int) -> dict[str, dict[str, Any]]:
    """Return which regions of a task were made by prompts, by region id: model, score, prompt."""
    key = f"{services.settings.redis.prefix}:prompted:{project_id}:{task_id}"
    found: Any = services.jobs.connection.hgetall(key)
    return {_text(name): json.loads(value) for name, value in found.items()}


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _ask(services: Services, project_id: str, chip: Chip, prompt: Prompt) -> Found:
    name = interactive_model(services)
    if name == GRAPH_CUT:
        return _graph_cut(services, chip, prompt)
    return _sam(services, project_id, name, chip, prompt)


def _graph_cut(services: Services, chip: Chip, prompt: Prompt) -> Found:
    from geolabel.predict.prompt_graphcut import VERSION, segment_prompt
    from geolabel.predict.prompt_outline import outline_of_mask

    rgb = _pictures().get_or_make(f"{services.store.uri}|{chip.id}", lambda: picture_of(services, chip))
    mask, score = segment_prompt(rgb, rgb.any(axis=2), prompt)
    return Found(outline=outline_of_mask(mask, prompt), score=score, version=f"interactive-graphcut-{VERSION}")


@lru_cache(maxsize=1)
def _pictures() -> Any:
    from geolabel.pipeline.picture_memory import PictureMemory

    return PictureMemory(_PICTURE_BYTES)


def _sam(services: Services, project_id: str, name: str, chip: Chip, prompt: Prompt) -> Found:
    from geolabel.predict.prompt_outline import outline_of_logits

    engine = engines().get(services, name)
    image, there = engine.image(services, chip, lambda: picture_of(services, chip))
    if not there:
        _embed_next(services, project_id)
    size = (chip.georef.width, chip.georef.height)
    low = engine.model.ask(image, size, [(c.x, c.y, c.positive) for c in prompt.clicks], prompt.box)
    outline = outline_of_logits(low.logits, size, prompt)
    return Found(outline=outline, score=low.score, version=f"interactive-{engine.model_id}")


def _embed_next(services: Services, project_id: str) -> None:
    """Have a worker compute the embeddings of the tasks that come next; one such job at a time per project."""
    try:
        services.jobs.enqueue(EMBED_JOB, {"project": project_id}, queue="model", job_id=f"embed-{project_id}")
    except GeoLabelError as error:
        log.warning("embeddings are not computed ahead: %s", error.message)


def _regions(found: Found, label_class: LabelClass, chip: Chip, region_id: str, index: int | None) -> list[Region]:
    if found.outline.is_empty:
        return []
    gsd = chip.georef.gsd_m()
    regions, _ = regions_from_objects(
        [MaskObject(geometry=found.outline, label=label_class.name, score=max(0.0, min(1.0, found.score)))],
        classes={label_class.name: label_class},
        width=chip.georef.width,
        height=chip.georef.height,
        gsd_m=float(np.sqrt(gsd[0] * gsd[1])),
        chip_id=chip.id,
        source="interactive",
        rules=GeometryRules(min_area_px=1.0),
    )
    # The same id for every answer about one object: in the editor a better outline takes the place of the last.
    ids = [region_id, *(f"{region_id}{n}" for n in range(1, len(regions)))]
    return [replace(r, id=i, score=found.score, item_index=index) for r, i in zip(regions, ids, strict=True)]
