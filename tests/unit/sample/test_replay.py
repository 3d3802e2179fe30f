"""Replays: blocks are kept apart, curves repeat, labels to the target are counted right."""

from __future__ import annotations

import numpy as np
import pytest

from geolabel.errors import InputError
from geolabel.sample.curves import mean_interval, summarise
from geolabel.sample.registry import SAMPLERS
from geolabel.sample.replay import LabelledTable, Replay, ReplayOptions, labels_to, replay, split_by_block


def small_table(side: int = 10, seed: int = 0) -> LabelledTable:
    rng = np.random.default_rng(seed)
    n = side * side
    index = np.arange(n)
    labels = (rng.random((n, 9)) < 0.3).astype(np.int16)
    features = rng.normal(size=(n, 9, 3)).astype(np.float32) * 0.3
    features[..., 0] += labels * 2
    return LabelledTable(
        name="small", features=features, labels=labels,
        xy_m=np.stack([index % side, index // side], axis=1) * 10.0, spacing_m=10.0, class_names=("", "roof"),
    )  # fmt: skip


def test_blocks_that_judge_are_never_labelled() -> None:
    table = small_table()
    options = ReplayOptions(block_chips=2.0, buffer_chips=1.0)
    pool, test = split_by_block(table, options, 1)
    apart = np.abs(table.xy_m[pool][:, None] - table.xy_m[test][None]).max(axis=2).min()
    assert apart > 10.0
    assert not set(pool) & set(test)


@pytest.mark.parametrize("name", ["random", "mix", "committee"])
def test_a_replay_repeats_and_learns(name: str) -> None:
    options = ReplayOptions(block_chips=2.0, budget=30, trees=6)
    first = replay(small_table(), name, SAMPLERS.get(name), 3, options)
    assert first == replay(small_table(), name, SAMPLERS.get(name), 3, options)
    assert first.scores[-1] > 0.8 * first.full_score
    assert first.labels[-1] <= 30
    assert Replay.from_json(first.to_json()).labels == first.labels


def test_labels_to_wants_the_score_to_hold() -> None:
    assert labels_to([10, 20, 30, 40], [0.2, 0.9, 0.5, 0.6], 0.8) is None
    assert labels_to([10, 20, 30, 40], [0.2, 0.6, 0.9, 0.9], 0.75) == pytest.approx(25.0)


def test_one_class_only_is_no_crash() -> None:
    table = small_table()
    one = LabelledTable(
        name="one", features=table.features, labels=np.zeros_like(table.labels), xy_m=table.xy_m, spacing_m=10.0,
        class_names=("", "roof"),
    )  # fmt: skip
    found = replay(one, "mix", SAMPLERS.get("mix"), 0, ReplayOptions(block_chips=2.0, budget=12, trees=4))
    assert found.full_score == 1.0


def test_too_few_chips_or_blocks_are_refused() -> None:
    with pytest.raises(InputError, match="one block"):
        split_by_block(small_table(), ReplayOptions(block_chips=100.0), 0)
    with pytest.raises(InputError, match="too few"):
        small_table(2)


def test_summary_counts_runs_that_never_reach_the_target() -> None:
    def run(name: str, seed: int, reached: float | None) -> Replay:
        return Replay(
            sampler=name, seed=seed, labels=(10, 100), scores=(0.5, 0.9), full_score=1.0, pool=200, reached=reached
        )

    runs = [run("random", s, 80.0 + s) for s in range(4)] + [run("mix", s, 20.0 + s) for s in range(3)]
    found = summarise([*runs, run("mix", 3, None)])
    assert found["mix"]["not_reached"] == 1
    assert found["mix"]["labels_to_target"][0] == pytest.approx((20 + 21 + 22 + 100) / 4, abs=0.1)
    assert found["mix"]["ratio_to_random"][1] < found["mix"]["ratio_to_random"][0] < found["mix"]["ratio_to_random"][2]
    assert mean_interval([]) is None
