"""Opening a project: titles, templates, and labels without holes."""

from __future__ import annotations

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from geolabel.errors import NotFoundError
from geolabel.local.first_project import template_config, title_of
from geolabel.local.sample_labels import without_holes


@pytest.mark.parametrize(
    ("scenes", "title"),
    [
        (["/data/ortho.tif"], "GeoLabel: ortho"),
        (["https://example.org/a/scene.tif?token=x"], "GeoLabel: scene"),
        (["/a/one.tif", "/a/two.tif", "/a/three.tif"], "GeoLabel: one and 2 more"),
        (["/a/" + "x" * 90 + ".tif"], "GeoLabel: " + "x" * 40),
        ([], "GeoLabel: project"),
    ],
)
def test_titles_fit_what_label_studio_allows(scenes: list[str], title: str) -> None:
    assert title_of(scenes) == title
    assert 3 <= len(title_of(scenes)) <= 50


def test_an_unknown_template_is_a_sentence() -> None:
    with pytest.raises(NotFoundError, match="There is no label template 'nope'. There are: "):
        template_config("nope")


@given(st.lists(st.tuples(st.integers(1, 17), st.integers(1, 17)), max_size=6, unique=True))
def test_cutting_at_holes_keeps_the_area_and_leaves_no_hole(corners: list[tuple[int, int]]) -> None:
    polygon = shapely.box(0, 0, 20, 20)
    for x, y in corners:
        polygon = polygon.difference(shapely.box(x, y, x + 1.5, y + 1.5))
    parts = list(without_holes(polygon))
    assert all(not part.interiors and part.is_valid for part in parts)
    assert sum(part.area for part in parts) == pytest.approx(polygon.area)
