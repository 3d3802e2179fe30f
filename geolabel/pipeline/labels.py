"""What a project's people have said so far, as chips with regions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from geolabel.core.labels import Region
from geolabel.core.scene import Chip
from geolabel.core.taxonomy import LabelClass, Taxonomy
from geolabel.errors import InputError, NotFoundError
from geolabel.labelstudio.codec import decode_result
from geolabel.labelstudio.config import LabelConfig
from geolabel.labelstudio.task import chip_of_task
from geolabel.services import Services

#: Query of the Data Manager: tasks with at least one annotation. Not by `total_annotations`: under load that counter of
#: Label Studio 1.23 stays 0 on annotated tasks (seen with sqlite).
ANNOTATED: dict[str, Any] = {
    "filters": {
        "conjunction": "and",
        "items": [
            {"filter": "filter:tasks:annotations_ids", "operator": "empty", "type": "List", "value": False},
        ],
    }
}
_IDS_A_REQUEST = 150


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotatedChip:
    """A chip that someone has finished: what no region covers is background.

    Attributes:
        task_id: Of Label Studio.
        chip: The chip.
        regions: In chip px.
        updated: ISO 8601 time of the newest annotation taken.
    """

    task_id: int
    chip: Chip
    regions: tuple[Region, ...]
    updated: str = ""

    @property
    def scene_id(self) -> str:
        """Scene that the chip is cut from."""
        return self.chip.scene_id


def project_key(project_id: str, name: str) -> str:
    """Return the store key of something of a project."""
    return f"projects/{project_id}/{name}"


def clean_project_id(value: Any) -> str:
    """Return the id of Label Studio's "2.1795197371" (id and creation time), an int or a text.

    Raises:
        InputError: it holds no project number.
    """
    text = str(value or "").partition(".")[0].strip()
    if not text.isdigit():
        raise InputError(f"project is {value!r}; Label Studio sends its number, e.g. '2.1795197371'")
    return text


def project_config(services: Services, project_id: str) -> LabelConfig:
    """Return the label config of a project, asked from Label Studio."""
    return LabelConfig.parse(str(services.labelstudio.project(int(project_id))["label_config"]))


def project_taxonomy(services: Services, project_id: str, config: LabelConfig) -> Taxonomy:
    """Return the classes of a label config with what the store knows of them: prompts, thresholds, smallest areas.

    The config of the request decides which classes exist and what shapes they may have; a stored taxonomy
    (``projects/{id}/taxonomy.json``) adds the rest to classes of the same name.
    """
    implied = config.taxonomy()
    try:
        stored = Taxonomy.from_json(services.store.get_json(project_key(project_id, "taxonomy.json")))
    except NotFoundError:
        return implied
    classes = [_enriched(item, stored) for item in implied.classes]
    ids = [item.id for item in classes]
    if len(set(ids)) < len(ids):
        return implied
    return Taxonomy(name=stored.name, version=stored.version, classes=tuple(classes))


def _enriched(implied: LabelClass, stored: Taxonomy) -> LabelClass:
    if implied.name not in stored:
        return implied
    known = stored.by_name(implied.name)
    shapes = tuple(kind for kind in known.shapes if kind in implied.shapes) or implied.shapes
    return LabelClass(
        id=known.id,
        name=implied.name,
        colour=implied.colour,
        shapes=shapes,
        prompts=known.prompts or implied.prompts,
        thresholds=known.thresholds,
        min_area_m2=known.min_area_m2,
        min_length_m=known.min_length_m,
        holes=known.holes,
        rectangular=known.rectangular,
        aliases=known.aliases,
        rules=known.rules,
    )


def collect_labels(services: Services, project_id: str, config: LabelConfig | None = None) -> list[AnnotatedChip]:
    """Return every annotated chip of a project, oldest first; skipped annotations and foreign tasks are left out.

    Of several annotations of one task the ground truth counts, else the newest.
    """
    parsed = config or project_config(services, project_id)
    taxonomy = parsed.taxonomy()
    found = []
    for task in services.labelstudio.tasks(int(project_id), query=ANNOTATED):
        item = annotated_chip(task, taxonomy)
        if item is not None:
            found.append(item)
    return sorted(found, key=lambda item: (item.updated, item.task_id))


def annotated_chip(task: Mapping[str, Any], taxonomy: Taxonomy | None = None) -> AnnotatedChip | None:
    """Return the chip of a task with the annotation that counts, or None when there is none or it isn't ours."""
    usable = [a for a in task.get("annotations") or [] if isinstance(a, Mapping) and not a.get("was_cancelled")]
    if not usable:
        return None
    try:
        chip = chip_of_task(task)
    except InputError:
        return None
    chosen = max(usable, key=lambda a: (bool(a.get("ground_truth")), str(a.get("updated_at") or ""), a.get("id") or 0))
    result = [item for item in chosen.get("result") or [] if isinstance(item, Mapping)]
    decoded = decode_result(
        [dict(item) for item in result], width_px=chip.georef.width, height_px=chip.georef.height, taxonomy=taxonomy
    )
    regions = decoded.regions
    if taxonomy is not None:
        regions = tuple(region for region in regions if region.label in taxonomy)
    return AnnotatedChip(
        task_id=int(task.get("id") or 0), chip=chip, regions=regions, updated=str(chosen.get("updated_at") or "")
    )


def tasks_by_id(services: Services, project_id: str, task_ids: Sequence[int]) -> list[dict[str, Any]]:
    """Return tasks with annotations and predictions in the order of their ids; ids that are gone are left out."""
    found: dict[int, dict[str, Any]] = {}
    for start in range(0, len(task_ids), _IDS_A_REQUEST):
        chosen = [int(i) for i in task_ids[start : start + _IDS_A_REQUEST]]
        query = {"selectedItems": {"all": False, "included": chosen}}
        for task in services.labelstudio.tasks(int(project_id), query=query):
            found[int(task["id"])] = task
    return [found[int(i)] for i in dict.fromkeys(task_ids) if int(i) in found]


def limit_chips(items: Sequence[AnnotatedChip], most: int) -> list[AnnotatedChip]:
    """Return at most so many chips, the newest of each class first, so that rare classes stay."""
    if len(items) <= most:
        return list(items)
    newest = sorted(items, key=lambda item: item.updated, reverse=True)
    by_class: dict[str, list[AnnotatedChip]] = {}
    for item in newest:
        for label in {region.label for region in item.regions} or {""}:
            by_class.setdefault(label, []).append(item)
    chosen: dict[int, AnnotatedChip] = {}
    turn = 0
    while len(chosen) < most and any(turn < len(row) for row in by_class.values()):
        for row in _rarest_first(by_class.values()):
            if turn < len(row) and len(chosen) < most:
                chosen.setdefault(row[turn].task_id, row[turn])
        turn += 1
    return sorted(chosen.values(), key=lambda item: (item.updated, item.task_id))


def _rarest_first(rows: Iterable[list[AnnotatedChip]]) -> list[list[AnnotatedChip]]:
    return sorted(rows, key=len)
