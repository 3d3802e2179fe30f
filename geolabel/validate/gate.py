"""Rules over a batch of parts, by policy: refuse, leave out with reasons, mend, or only tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import shapely

from geolabel.core.dataset import KIND_INDEX, Batch, ImageRef, Ints, SceneRef, drawn_kind
from geolabel.core.issues import Severity, ValidationIssue
from geolabel.core.taxonomy import Taxonomy
from geolabel.errors import InputError
from geolabel.validate.fixes import FIXES
from geolabel.validate.layer import Layer
from geolabel.validate.policy import Action, Policy
from geolabel.validate.report import issues_of
from geolabel.validate.rule import Findings, Rule
from geolabel.validate.run import check

_DONE: Mapping[Action, str] = {"report": "reported", "exclude": "excluded", "fix": "fixed", "refuse": "refused"}


def gate(
    batch: Batch,
    images: Sequence[ImageRef],
    scenes: Sequence[SceneRef],
    taxonomy: Taxonomy,
    policy: Mapping[str, Any] | Policy,
    valid: Mapping[int, shapely.Geometry] | None = None,
) -> tuple[Batch, list[ValidationIssue]]:
    """Check parts and return those that pass, with all that was found.

    Args:
        batch: Parts, frame the image's index; all records of an image together, or overlaps stay unseen.
        images, scenes: Frames.
        taxonomy: Classes.
        policy: JSON of a `Policy`, or one.
        valid: Outline of valid pixels by image, in image px; without it nodata is not checked.

    Returns:
        The records that pass, mended where policy says so; issues with `facts["action"]` reported, excluded or fixed.

    Raises:
        InputError: the policy refuses what was found.
    """
    wanted = policy if isinstance(policy, Policy) else Policy.from_json(policy)
    layer, frames = Layer.of_parts(batch, images, scenes, taxonomy, wanted.options, valid)
    found = check(layer, wanted.active())
    refused = [(rule, f) for rule, f in found if len(f) and wanted.action(rule) == "refuse"]
    if refused:
        first = issues_of(batch, layer, frames, images, refused[:1], "refused", most=1)[0]
        told = "; ".join(f"{rule.spec.code} {rule.spec.name} × {len(f)}" for rule, f in refused)
        raise InputError(f"the policy refuses what was found: {told}. First: {first.message}")
    fixed = _mend(batch, layer, [(r, f) for r, f in found if len(f) and wanted.action(r) == "fix"])
    issues: list[ValidationIssue] = []
    for action in ("report", "exclude", "fix"):
        chosen = [(r, f) for r, f in found if len(f) and wanted.action(r) == action]
        issues += issues_of(batch, layer, frames, images, chosen, _DONE[action])
    drop = _wrong_rows(layer, [(r, f) for r, f in found if wanted.action(r) == "exclude"])
    if fixed is not None:
        batch = fixed
        left, frames = Layer.of_parts(batch, images, scenes, taxonomy, wanted.options, valid)
        errors = [r for r in wanted.active() if r.spec.severity is Severity.ERROR and wanted.action(r) != "report"]
        still = [(r, f) for r, f in check(left, errors) if len(f) and r.spec.scope != "place"]
        still = [(r, _not_in(f, drop)) for r, f in still if r.spec.scope == "record"]
        drop |= _wrong_rows(left, still)
        issues += issues_of(batch, left, frames, images, [(r, f) for r, f in still if len(f)], "excluded")
    return (batch.take(~drop) if drop.any() else batch), issues


def _not_in(findings: Findings, drop: Any) -> Findings:
    return Findings.of(findings.rows[~drop[findings.rows]], findings.value[~drop[findings.rows]])


def _wrong_rows(layer: Layer, found: Sequence[tuple[Rule, Findings]]) -> Any:
    drop = np.zeros(len(layer), dtype=bool)
    for rule, findings in found:
        if rule.spec.scope == "record":
            drop[findings.rows] = True
        elif rule.spec.scope == "frame":
            drop |= np.isin(layer.frame, findings.rows)
    return drop


def _mend(batch: Batch, layer: Layer, found: Sequence[tuple[Rule, Findings]]) -> Batch | None:
    """Apply fixes in the order of the rules' codes, each on what the one before left."""
    if not found:
        return None
    shapes = batch.geometry.copy()
    touched: Ints = np.unique(np.concatenate([f.rows for _, f in found]))
    for rule, findings in found:
        now = Layer.of(
            shapes, kind=layer.kind, class_id=layer.class_id, frame=layer.frame, frames=len(layer.pixel),
            size=layer.size, metres=layer.metres, pixel=layer.pixel, options=layer.options,
        )  # fmt: skip
        shapes[findings.rows] = FIXES[rule.spec.fix](now, findings.rows)
    kind = batch.kind.copy()
    for row in touched.tolist():
        changed = not shapely.equals_exact(shapes[row], batch.geometry[row], tolerance=0.0)
        if changed and not shapes[row].is_empty:
            kind[row] = KIND_INDEX[drawn_kind(shapes[row])]
    return batch.with_columns(geometry=shapes, kind=kind)
