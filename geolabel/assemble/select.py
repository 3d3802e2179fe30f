"""Which annotations and predictions of a task are taken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import orjson

from geolabel.assemble.area import Area, bounds_meet
from geolabel.assemble.rules import read_rules
from geolabel.errors import InputError

_WHICH = ("latest", "first", "all", "ground_truth")
_LABEL_KEYS = ("labels", "rectanglelabels", "polygonlabels", "brushlabels", "keypointlabels", "ellipselabels",
               "bitmasklabels", "vectorlabels", "polylinelabels")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectRules:
    """Rules of choice; every rule given must hold.

    Attributes:
        which: "latest" (ground truth first, then newest), "first", "all" or "ground_truth" (else none).
        annotators: E-mail addresses or ids of people whose annotations count; empty for everyone.
        not_annotators: People whose annotations don't count.
        labels: Labels that are taken; empty for all.
        updated_after, updated_before: ISO 8601 UTC, the later bound excluded.
        states: States of review or consensus that count, as `state_of` tells; empty for any.
        skipped: Take skipped annotations too.
        predictions: False: none. True or "fill": of tasks from which no annotation is taken. "all": of every task.
        models: Model versions whose predictions count; empty for any (then the newest prediction is taken).
        min_score: Predicted regions with a lower score are left out.
        aoi: Area of interest: [west, south, east, north] in degrees, or a GeoJSON geometry. Here tasks whose chip lies
            outside are left out; `within_area` cuts to the region.
    """

    which: Literal["latest", "first", "all", "ground_truth"] = "latest"
    annotators: tuple[str | int, ...] = ()
    not_annotators: tuple[str | int, ...] = ()
    labels: tuple[str, ...] = ()
    updated_after: str = ""
    updated_before: str = ""
    states: tuple[str, ...] = ()
    skipped: bool = False
    predictions: bool | Literal["fill", "all"] = False
    models: tuple[str, ...] = ()
    min_score: float = 0.0
    aoi: Any = None

    def __post_init__(self) -> None:
        if self.which not in _WHICH:
            raise InputError(f"select.which is {self.which!r}; it must be one of {', '.join(_WHICH)}")
        if self.predictions not in (False, True, "fill", "all"):
            raise InputError(f"select.predictions is {self.predictions!r}; it must be false, true, 'fill' or 'all'")
        if not 0.0 <= self.min_score <= 1.0:
            raise InputError(f"select.min_score is {self.min_score}; it must lie in 0 to 1")


@lru_cache(maxsize=16)
def _read(text: bytes) -> tuple[SelectRules, Area | None]:
    rules = read_rules(SelectRules, orjson.loads(text), "select")
    return rules, None if rules.aoi is None else Area.of(rules.aoi)


def select_annotations(task: Mapping[str, Any], rules: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the annotations and predictions of a task that the rules take, marked by the key `_predicted`.

    Args:
        task: A task of Label Studio with `annotations` and `predictions`.
        rules: JSON of `SelectRules`.

    Raises:
        InputError: a rule is unknown or wrong.
    """
    wanted, area = _read(orjson.dumps(dict(rules), option=orjson.OPT_SORT_KEYS))
    if area is not None and not bounds_meet(task, area):
        return []
    chosen = [_marked(a, wanted, predicted=False) for a in _pick(_counting(task, wanted), wanted.which)]
    if wanted.predictions == "all" or (wanted.predictions and not chosen):
        chosen += [_marked(p, wanted, predicted=True) for p in _predictions(task, wanted)]
    return chosen


def state_of(annotation: Mapping[str, Any]) -> str:
    """Return the state of review: what a reviewer or consensus wrote, else what Label Studio's own fields say."""
    for key in ("geolabel_state", "review_state", "state"):
        value = annotation.get(key)
        if isinstance(value, str) and value:
            return value
    if annotation.get("ground_truth"):
        return "ground_truth"
    return "skipped" if annotation.get("was_cancelled") else "submitted"


def people_of(annotation: Mapping[str, Any]) -> set[str]:
    """Return the names under which an annotator is known: id, e-mail address, user name."""
    who = annotation.get("completed_by")
    names = [who.get("id"), who.get("email"), who.get("username")] if isinstance(who, Mapping) else [who]
    return {str(n) for n in [*names, annotation.get("created_username")] if n not in (None, "")}


def _listed(task: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    value = task.get(key)
    return [a for a in value if isinstance(a, Mapping)] if isinstance(value, list) else []


def _counting(task: Mapping[str, Any], rules: SelectRules) -> list[Mapping[str, Any]]:
    wanted, refused = ({str(n) for n in names} for names in (rules.annotators, rules.not_annotators))
    found = []
    for annotation in _listed(task, "annotations") or _listed(task, "completions"):
        if annotation.get("was_cancelled") and not rules.skipped:
            continue
        people = people_of(annotation)
        if (wanted and not wanted & people) or refused & people:
            continue
        updated = str(annotation.get("updated_at") or annotation.get("created_at") or "")
        if (rules.updated_after and updated < rules.updated_after) or (
            rules.updated_before and updated >= rules.updated_before
        ):
            continue
        if rules.states and state_of(annotation) not in rules.states:
            continue
        found.append(annotation)
    return found


def _age(annotation: Mapping[str, Any]) -> tuple[str, int]:
    number = annotation.get("id")
    updated = annotation.get("updated_at") or annotation.get("created_at") or ""
    return str(updated), number if isinstance(number, int) else 0


def _pick(annotations: Sequence[Mapping[str, Any]], which: str) -> list[Mapping[str, Any]]:
    if which == "all":
        return sorted(annotations, key=_age)
    if which == "ground_truth":
        annotations = [a for a in annotations if a.get("ground_truth")]
    if not annotations:
        return []
    if which == "first":
        return [min(annotations, key=_age)]
    return [max(annotations, key=lambda a: (bool(a.get("ground_truth")), *_age(a)))]


def _predictions(task: Mapping[str, Any], rules: SelectRules) -> Iterable[Mapping[str, Any]]:
    found = _listed(task, "predictions")
    if rules.models:
        found = [p for p in found if str(p.get("model_version")) in rules.models]
    return [max(found, key=_age)] if found else []


def _marked(source: Mapping[str, Any], rules: SelectRules, *, predicted: bool) -> dict[str, Any]:
    out = {**source, "_predicted": predicted}
    result = source.get("result")
    if isinstance(result, list) and (rules.labels or (predicted and rules.min_score > 0.0)):
        out["result"] = [r for r in result if _wanted(r, rules, predicted=predicted)]
    return out


def _wanted(item: Any, rules: SelectRules, *, predicted: bool) -> bool:
    if not isinstance(item, Mapping):
        return True  # decoding tells what is wrong with it
    score = item.get("score")
    if predicted and isinstance(score, int | float) and score < rules.min_score:
        return False
    value = item.get("value")
    if not rules.labels or not isinstance(value, Mapping):
        return True
    labels = [label for key in _LABEL_KEYS for label in value.get(key) or ()]
    return not labels or any(label in rules.labels for label in labels)
