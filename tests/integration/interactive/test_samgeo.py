"""SamGeo and SamGeo2 of segment-geospatial, each in a process of its own, with seeded random weights."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from geolabel.predict.sam_models import SAM_VIT_B, save_seeded

# The pictures pass one block of SAM 1's encoder: the weights are random, and the other eleven only cost time.
SCRIPT = """
import sys
from pathlib import Path
import numpy as np
from geolabel.predict.samgeo_models import samgeo

def lighter(made):
    if hasattr(made, "sam"):
        made.sam.image_encoder.blocks = made.sam.image_encoder.blocks[:1]
    return made

path, kind = Path(sys.argv[1]), sys.argv[2]
rgb = np.random.default_rng(0).integers(0, 255, (48, 96, 3), dtype=np.uint8)
everything = {"points_per_side": 2, "pred_iou_thresh": -9.0, "stability_score_thresh": 0.0,
              "stability_score_offset": 0.01, "box_nms_thresh": 1.0}
made = lighter(samgeo(path, **everything))
assert type(made).__name__ == kind, type(made)
made.generate(rgb)
assert 0 < len(made.masks) <= 12, len(made.masks)
assert made.masks[0]["segmentation"].shape == (48, 96)
made.save_masks()
assert made.objects.shape == (48, 96) and 0 < made.objects.max() <= len(made.masks)

made = lighter(samgeo(path, automatic=False))
made.set_image(rgb)
# SamGeo takes a box in pixels as an array only, SamGeo2 as a list only.
box = np.array([10, 10, 60, 40]) if kind == "SamGeo" else [10, 10, 60, 40]
for prompt in ({"point_coords": [[40, 30]], "point_labels": 1}, {"boxes": box}):
    masks, scores, _ = made.predict(return_results=True, **prompt)
    assert tuple(masks.shape)[-2:] == (48, 96), masks.shape
print("answered")
"""


def answer(checkpoint: Path, kind: str) -> None:
    """Run the script and expect it to get to its end."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(checkpoint), kind],
        capture_output=True, text=True, check=False, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "answered" in done.stdout


def test_samgeo2_answers_clicks_boxes_and_without_a_prompt(sam_checkpoint: Path) -> None:
    answer(sam_checkpoint, "SamGeo2")


@pytest.mark.slow
def test_samgeo_answers_clicks_boxes_and_without_a_prompt(tmp_path: Path) -> None:
    answer(save_seeded(tmp_path / "vit_b.pth", SAM_VIT_B), "SamGeo")
