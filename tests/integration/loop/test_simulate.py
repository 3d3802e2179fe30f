"""`geolabel simulate`: curves on disk, resumed, in two processes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from geolabel.cli.app import run
from geolabel.errors import InputError, NotFoundError
from geolabel.pipeline.simulate import read_table, simulate, write_table
from geolabel.sample.replay import LabelledTable, ReplayOptions

OPTIONS = ReplayOptions(block_chips=3.0, budget=20, trees=4)


def _table() -> LabelledTable:
    rng = np.random.default_rng(5)
    index = np.arange(144)
    labels = (rng.random((144, 9)) < 0.3).astype(np.int16)
    features = rng.normal(size=(144, 9, 3)).astype(np.float32) + labels[..., None]
    return LabelledTable(
        name="made", features=features, labels=labels, xy_m=np.stack([index % 12, index // 12], axis=1) * 10.0,
        spacing_m=10.0, class_names=("", "roof"),
    )  # fmt: skip


def test_a_stopped_simulation_goes_on_where_it_was(tmp_path: Path) -> None:
    simulate(_table(), tmp_path, ["random"], seeds=2, options=OPTIONS, processes=1)
    again = simulate(_table(), tmp_path, ["random", "mix"], seeds=2, options=OPTIONS, processes=2)
    assert again.resumed == 2
    assert len(again.replays) == 4
    value = json.loads(again.json_path.read_text("utf-8"))
    assert set(value["samplers"]) == {"random", "mix"}
    assert again.png_path.read_bytes().startswith(b"\x89PNG")
    whole = simulate(_table(), tmp_path / "new", ["random", "mix"], seeds=2, options=OPTIONS, processes=1)
    assert whole.summary == again.summary


def test_the_command_reads_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_table(_table(), tmp_path / "t.npz")
    words = ["simulate", "--table", str(tmp_path / "t.npz"), "--samplers", "random", "--seeds", "2", "--budget", "12"]
    assert run([*words, "--block", "3", "--processes", "1", "--out", str(tmp_path / "out")]) == 0
    assert "random" in capsys.readouterr().out


def test_wrong_input_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no sampler 'best'"):
        simulate(_table(), tmp_path, ["best"], seeds=1)
    (tmp_path / "x.npz").write_bytes(b"no table")
    with pytest.raises(InputError, match="no table"):
        read_table(tmp_path / "x.npz")
    assert run(["simulate"]) == 2
