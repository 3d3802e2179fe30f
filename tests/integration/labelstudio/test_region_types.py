"""Every kind of region of every template: taken by a real Label Studio, valid by its own rules, and back the same."""

from __future__ import annotations

import uuid
from contextlib import closing
from typing import Any

import numpy as np
import pytest

from geolabel.adapters.labelstudio import LabelStudio
from geolabel.core.labels import Origin, Region
from geolabel.core.shapes import (
    Box,
    Ellipse,
    Line,
    Mask,
    MultiPolygon,
    Point,
    Polygon,
    RotatedBox,
    Shape,
    ShapeKind,
    to_shapely,
)
from geolabel.core.taxonomy import Taxonomy
from geolabel.labelstudio.codec import decode_result, encode_regions
from geolabel.labelstudio.config import LabelConfig
from geolabel.pipeline.templates import TEMPLATES, template_names, template_taxonomy
from tests.servers import LabelStudioAccount

WIDTH, HEIGHT = 320, 200


def _mask() -> Mask:
    rows, cols = np.indices((HEIGHT, WIDTH))
    ring = ((cols - 160) ** 2 + (rows - 100) ** 2 < 70**2) & ((cols - 160) ** 2 + (rows - 100) ** 2 > 30**2)
    return Mask.from_array(ring)


SQUARE = ((20.0, 20.0), (120.0, 20.0), (120.0, 120.0), (20.0, 120.0))
HOLE = ((40.0, 40.0), (60.0, 40.0), (50.0, 60.0))
SHAPES: dict[ShapeKind, Shape] = {
    "polygon": Polygon(exterior=SQUARE, holes=(HOLE,)),
    "multipolygon": MultiPolygon(
        parts=(Polygon(exterior=SQUARE, holes=(HOLE,)), Polygon(exterior=((200.0, 20.0), (240.0, 20.0), (220.0, 60.0))))
    ),
    "box": Box(xmin=10.0, ymin=20.0, xmax=90.0, ymax=70.0),
    "rotated_box": RotatedBox(cx=160.0, cy=100.0, width=80.0, height=30.0, angle_deg=33.0),
    "ellipse": Ellipse(cx=100.0, cy=90.0, rx=40.0, ry=20.0, angle_deg=20.0),
    "line": Line(points=((10.0, 190.0), (150.0, 150.0), (310.0, 180.0))),
    "point": Point(x=33.0, y=44.0),
    "mask": _mask(),
}


def regions_of(taxonomy: Taxonomy) -> list[Region]:
    return [
        Region(
            id=f"region-{label_class.id:03d}-{kind}", shape=SHAPES[kind], label=label_class.name, score=0.75,
            origin=Origin.PREDICTION,
        )
        for label_class in taxonomy.classes
        for kind in label_class.shapes
    ]  # fmt: skip


def same_place(one: Shape, other: Shape) -> bool:
    difference = to_shapely(one).hausdorff_distance(to_shapely(other))
    return bool(one.kind == other.kind and difference < 1e-6)


@pytest.mark.parametrize("name", template_names())
def test_template(name: str, labelstudio: LabelStudioAccount) -> None:
    xml = (TEMPLATES / name / "config.xml").read_text("utf-8")
    config = LabelConfig.parse(xml)
    regions = [r for r in regions_of(template_taxonomy(name)) if config.control_for(r.shape.kind, r.label) is not None]
    assert {region.label for region in regions} == set(config.labels())
    encoded = encode_regions(regions, config, width_px=WIDTH, height_px=HEIGHT)
    assert encoded.losses == ()
    assert _label_studios_own_errors(xml, encoded.result) == []
    with closing(LabelStudio(labelstudio.url, labelstudio.token)) as client:
        project = int(client.create_project(f"types {uuid.uuid4().hex[:8]}", xml)["id"])
        try:
            data = {config.image_key: ["/a.jpg"] if config.multi_image else "/a.jpg", "dates": "2020"}
            task = client.import_tasks(project, [{"data": data}])[0]
            client.import_predictions(
                project, [{"task": task, "result": encoded.result, "score": 0.5, "model_version": "v"}]
            )
            client.annotate(task, encoded.result)
            stored = client.task(task)
        finally:
            client.delete_project(project)
    for kept in (stored["predictions"][0]["result"], stored["annotations"][0]["result"]):
        decoded = decode_result(kept, width_px=WIDTH, height_px=HEIGHT, taxonomy=template_taxonomy(name))
        assert decoded.losses == ()
        assert [(r.id, r.label, r.score) for r in decoded.regions] == [(r.id, r.label, r.score) for r in regions]
        assert all(same_place(a.shape, b.shape) for a, b in zip(decoded.regions, regions, strict=True))


def _label_studios_own_errors(xml: str, result: list[dict[str, Any]]) -> list[str]:
    # What Label Studio runs when its flag for validating predictions is on.
    from label_studio_sdk.label_interface import LabelInterface

    prediction = {"result": result, "score": 0.5, "model_version": "v"}
    return list(LabelInterface(xml).validate_prediction(prediction, return_errors=True))
