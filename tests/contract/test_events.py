"""Webhook bodies as a real Label Studio sends them, and arbitrary ones: read or refused, never anything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geolabel.errors import InputError
from geolabel.labelstudio.codec import decode_result
from geolabel.labelstudio.exports import read_export
from geolabel.pipeline.events import event_key, read_event

RECORDED = {
    "webhook_ANNOTATION_CREATED": (1, 1),
    "webhook_ANNOTATION_UPDATED": (1, 1),
    "webhook_ANNOTATIONS_CREATED": (1, 1),
    "webhook_ANNOTATIONS_DELETED": (0, 1),
    "webhook_TASKS_CREATED": (1, 0),
    "webhook_TASKS_DELETED": (1, 0),
    "webhook_PROJECT_UPDATED": (0, 0),
    "ml_START_TRAINING": (0, 0),
}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**12) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
fields = st.sampled_from(
    ["action", "project", "task", "tasks", "annotation", "annotations", "id", "updated_at", "result", "completed_by"]
)
bodies = st.dictionaries(fields, json_values | st.dictionaries(fields, json_values, max_size=4), max_size=6)


@pytest.fixture(scope="module")
def payloads(data_dir: Path) -> Path:
    folder = data_dir.parent / "reference" / "payloads"
    if not folder.is_dir():
        pytest.skip(f"no recorded payloads in {folder}")
    return folder


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_recorded_events(payloads: Path, name: str) -> None:
    recorded = json.loads((payloads / f"{name}.json").read_text("utf-8"))
    body = recorded.get("body", recorded)
    event = read_event(body)
    assert event["action"] == name.partition("_")[2]
    assert event["project"] == body["project"]["id"]
    tasks, annotations = RECORDED[name]
    assert len(event["tasks"]) >= tasks
    assert len(event["annotations"]) >= annotations
    assert body["project"].get("token", "\0") not in json.dumps(event)
    assert event_key(event) == event_key(read_event(json.loads(json.dumps(body))))
    assert len(json.dumps(event)) < 4000


@given(body=bodies)
def test_any_body_is_an_event_or_refused(body: dict[str, Any]) -> None:
    try:
        event = read_event(body)
    except InputError:
        return
    assert isinstance(event["project"], int)
    assert event_key(event)


@given(
    result=st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "id": json_values,
                "type": st.sampled_from(["polygonlabels", "rectanglelabels", "ellipselabels", "keypointlabels",
                                         "vectorlabels", "brushlabels", "bitmasklabels", "choices", "relation", "x"]),
                "from_name": json_values,
                "value": json_values | st.dictionaries(
                    st.sampled_from(["x", "y", "width", "height", "rotation", "points", "vertices", "rle", "radiusX",
                                     "radiusY", "imageDataURL", "polygonlabels", "brushlabels", "choices", "closed"]),
                    json_values, max_size=6,
                ),
                "meta": json_values,
                "score": json_values,
                "origin": json_values,
                "item_index": json_values,
                "original_width": json_values,
                "original_height": json_values,
            },
        )
        | json_values,
        max_size=5,
    )
)  # fmt: skip
def test_any_result_is_decoded_or_counted(result: list[Any]) -> None:
    decoded = decode_result(result, width_px=64, height_px=48)
    assert all(loss.message for loss in decoded.losses)


@given(value=json_values | st.lists(bodies, max_size=3) | bodies)
def test_any_file_is_read_or_refused(value: Any) -> None:
    try:
        tasks = read_export(value)
    except InputError:
        return
    assert all(stored.kind in ("annotation", "prediction") for task in tasks for stored in task.results)
