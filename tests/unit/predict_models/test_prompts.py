"""Prompts of people: reading, growing, and the graph cut and outlines behind them."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from geolabel.predict.prompt_graphcut import segment_prompt
from geolabel.predict.prompt_outline import outline_of_logits
from geolabel.predict.prompts import MAX_POINTS, Click, Prompt, Session, grown, read_prompts

ANY = st.floats(-1e6, 1e6) | st.just(float("nan"))


@given(x=st.floats(0, 100), y=st.floats(0, 100), positive=st.booleans())
def test_a_click_lies_where_it_was_made(x: float, y: float, positive: bool) -> None:
    item = {"type": "keypointlabels", "value": {"x": x, "y": y, "keypointlabels": ["a"]}, "is_positive": positive}
    read = read_prompts([item], width_px=640, height_px=480)
    (click,) = read.prompt.clicks
    assert click.positive is positive
    assert abs(click.x - x * 6.4) <= 1e-3
    assert abs(click.y - y * 4.8) <= 1e-3


@given(x=ANY, y=ANY, w=ANY, h=ANY, rotation=ANY)
def test_boxes_are_inside_or_explained(x: float, y: float, w: float, h: float, rotation: float) -> None:
    value = {"x": x, "y": y, "width": w, "height": h, "rotation": rotation, "rectanglelabels": ["a"]}
    read = read_prompts([{"type": "rectanglelabels", "value": value}], width_px=100, height_px=50)
    if read.prompt.box is None:
        assert read.problems
    else:
        xmin, ymin, xmax, ymax = read.prompt.box
        assert 0 <= xmin < xmax <= 100
        assert 0 <= ymin < ymax <= 50


def test_a_session_survives_json_and_forgets_old_clicks() -> None:
    session = Session(region_id="r" * 12, prompt=Prompt(label="a", box=(0, 0, 50, 50)), bounds=(0, 0, 40, 40))
    for i in range(MAX_POINTS + 5):
        session = grown(session, Prompt(label="a", clicks=(Click(x=i % 40, y=i // 40),)), whole=False)
    assert len(session.prompt.clicks) == MAX_POINTS
    assert Session.from_json(session.to_json()) == session
    assert session.region_id == "r" * 12


def test_a_far_click_and_a_box_begin_another_object() -> None:
    session = Session(region_id="r" * 12, prompt=Prompt(clicks=(Click(x=5, y=5),)), bounds=(0, 0, 20, 20))
    assert grown(session, Prompt(clicks=(Click(x=200, y=5),)), whole=False).region_id != session.region_id
    assert grown(session, Prompt(box=(0, 0, 20, 20)), whole=False).region_id != session.region_id
    assert grown(session, Prompt(clicks=(Click(x=22, y=5, positive=False),)), whole=False).region_id == "r" * 12


def test_a_click_beside_the_answer_is_another_object_unless_it_is_negative() -> None:
    session = Session(region_id="r" * 12, prompt=Prompt(clicks=(Click(x=5, y=5),)), bounds=(0, 0, 20, 20))
    assert grown(session, Prompt(clicks=(Click(x=19, y=5),)), whole=False).region_id == "r" * 12
    assert grown(session, Prompt(clicks=(Click(x=22, y=5),)), whole=False).region_id != session.region_id


def test_a_complete_description_with_all_earlier_clicks_is_of_the_same_object() -> None:
    first, second = Click(x=5, y=5), Click(x=80, y=5)
    session = Session(region_id="r" * 12, prompt=Prompt(label="a", clicks=(first,)), bounds=(0, 0, 20, 20))
    longer = grown(session, Prompt(label="a", clicks=(first, second)), whole=True)
    assert longer.region_id == "r" * 12
    assert longer.prompt.clicks == (first, second)
    assert grown(session, Prompt(label="a", clicks=(second, second)), whole=True).region_id != "r" * 12


def test_a_click_on_the_same_place_takes_the_old_one_back() -> None:
    session = Session(region_id="r" * 12, prompt=Prompt(clicks=(Click(x=5, y=5), Click(x=9, y=9))))
    session = grown(session, Prompt(clicks=(Click(x=5, y=5, positive=False),)), whole=False)
    assert session.prompt.clicks == (Click(x=9, y=9), Click(x=5, y=5, positive=False))


@pytest.mark.parametrize("shape", [(1, 1), (2, 9), (3, 3), (40, 7), (64, 64)])
def test_the_graph_cut_answers_pictures_of_any_size(shape: tuple[int, int]) -> None:
    rgb = np.full((*shape, 3), 90, np.uint8)
    prompt = Prompt(clicks=(Click(x=shape[1] / 2, y=shape[0] / 2),))
    mask, score = segment_prompt(rgb, np.ones(shape, bool), prompt)
    assert mask.shape == shape
    assert 0 <= score <= 1
    nothing, _ = segment_prompt(rgb, np.zeros(shape, bool), prompt)
    assert not nothing.any()


def test_the_graph_cut_is_the_same_twice() -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (80, 90, 3), dtype=np.uint8)
    prompt = Prompt(box=(20, 20, 60, 60), clicks=(Click(x=40, y=40),))
    first, _ = segment_prompt(rgb, np.ones((80, 90), bool), prompt)
    second, _ = segment_prompt(rgb, np.ones((80, 90), bool), prompt)
    assert (first == second).all()


@pytest.mark.parametrize("size", [(64, 64), (512, 256), (300, 1000)])
def test_the_outline_of_logits_lies_where_the_logits_say(size: tuple[int, int]) -> None:
    logits = np.full((64, 64), -5, np.float32)
    logits[16:32, 8:24] = 5
    logits[40:60, 40:60] = 5
    sx, sy = size[0] / 64, size[1] / 64
    prompt = Prompt(clicks=(Click(x=12 * sx, y=20 * sy),))
    outline = outline_of_logits(logits, size, prompt)
    wanted = shapely.box(8 * sx, 16 * sy, 24 * sx, 32 * sy)
    assert outline.intersection(wanted).area / outline.union(wanted).area > 0.9
    assert not outline.intersects(shapely.box(40 * sx, 40 * sy, 60 * sx, 60 * sy))


def test_no_logits_above_zero_give_no_outline() -> None:
    logits = np.full((8, 8), -1, np.float32)
    assert outline_of_logits(logits, (64, 64), Prompt(clicks=(Click(x=1, y=1),))).is_empty
