"""Limits of the rules, with what they mean; policy may set each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Option:
    """A limit: its ordinary value and its meaning."""

    value: float
    meaning: str


OPTIONS: Mapping[str, Option] = {
    "spike_deg": Option(2.0, "corners sharper than this are spikes, degrees"),
    "spike_px": Option(1.0, "spikes have both edges at least this long, px"),
    "sliver_px": Option(0.75, "areas narrower than this on average (twice area over outline) are slivers, px"),
    "repeat_px": Option(1e-6, "neighbouring points nearer than this are repeated, px"),
    "duplicate_iou": Option(0.999, "areas of one class that share this much are duplicates"),
    "near_iou": Option(0.9, "areas that share this much are near-duplicates, or one thing with two classes"),
    "overlap_share": Option(0.01, "overlaps below this share of the smaller area are ignored"),
    "overlap_px": Option(1.0, "overlaps below this area are ignored, px²"),
    "gap_px": Option(1.0, "gaps below this area are ignored, px²"),
    "gap_max_px": Option(400.0, "enclosed gaps above this area are taken as meant, px²"),
    "gap_width_px": Option(4.0, "open gaps narrower than this are gaps, px"),
    "min_area_m2": Option(0.0, "smaller areas are reported, m²; classes may set their own"),
    "max_area_m2": Option(0.0, "larger areas are reported, m²; 0 for no limit"),
    "min_length_m": Option(0.0, "shorter lines are reported, m; classes may set their own"),
    "max_length_m": Option(0.0, "longer lines are reported, m; 0 for no limit"),
    "outside_px": Option(0.5, "records may reach this far past the image's border, px"),
    "nodata_share": Option(0.1, "records may lie on nodata with this share"),
    "grid_px": Option(0.01, "images may lie this far from the scene's grid, px"),
}
