"""Regions of every kind as a real Label Studio stored and drew them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from geolabel.labelstudio.codec import decode_result


@pytest.mark.parametrize("kind", ["polygon", "rect", "kp", "brush", "vector"])
def test_recorded_region_of_each_kind(data_dir: Path, kind: str) -> None:
    path = data_dir.parent / "reference" / "payloads" / "prediction_regions_all_types.json"
    if not path.is_file():
        pytest.skip(f"no recorded payloads at {path}")
    item = json.loads(path.read_text("utf-8"))[kind]
    decoded = decode_result([item], width_px=512, height_px=512)
    if kind == "brush":  # the recording is cut off
        assert [loss.code for loss in decoded.losses] == ["LSC006"]
    else:
        assert len(decoded.regions) == 1
        assert decoded.losses == ()
