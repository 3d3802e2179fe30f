"""From annotations to objects: which are taken, how parts cut by chip borders are joined, how images are split."""

from __future__ import annotations

from geolabel.assemble.area import within_area
from geolabel.assemble.join import JoinRules, assemble_scene
from geolabel.assemble.select import SelectRules, select_annotations
from geolabel.assemble.splits import SplitRules, split_images

__all__ = [
    "JoinRules",
    "SelectRules",
    "SplitRules",
    "assemble_scene",
    "select_annotations",
    "split_images",
    "within_area",
]
