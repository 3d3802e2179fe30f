"""Automatic masks of one chip beside SAM 2's own generator: same weights, grid and thresholds; time, ratio, agreement.

    python -m bench.automatic [--points 16] [--size 512] [--checkpoint FILE] [--picture FILE]

Without a checkpoint the weights are random and seeded: qualities lie near 0.5 and masks are soft, so the thresholds are
set where about a half passes. Embedding and masks are both counted.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=16)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--checkpoint", default="")
    parser.add_argument("--picture", default="")
    parser.add_argument("--iou", type=float, default=0.5)
    parser.add_argument("--stability", type=float, default=0.2)
    parser.add_argument("--out", default="bench-output/automatic.json")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator

    from geolabel.predict.sam_automatic import AutomaticSettings, automatic_masks
    from geolabel.predict.sam_models import SAM21_TINY, load_sam, save_seeded

    folder = Path(tempfile.mkdtemp())
    checkpoint = Path(options.checkpoint) if options.checkpoint else save_seeded(folder / "seeded.pt", SAM21_TINY)
    model = load_sam(checkpoint)
    rgb = _picture(options.picture, options.size)
    values = {
        "points_per_side": options.points, "pred_iou_thresh": options.iou, "box_nms_thresh": 0.95,
        "stability_score_thresh": options.stability, "stability_score_offset": 0.05 if not options.checkpoint else 1.0,
    }  # fmt: skip
    start = time.perf_counter()
    image = model.prepare(model.encode([rgb])[0])
    encoding_s = time.perf_counter() - start
    ours = automatic_masks(model, image, (options.size, options.size), AutomaticSettings(**values))
    ours_s = time.perf_counter() - start
    generator = SAM2AutomaticMaskGenerator(model.module, output_mode="binary_mask", **values)
    start = time.perf_counter()
    theirs = generator.generate(rgb)
    theirs_s = time.perf_counter() - start
    found = [item.mask.to_array() > 0 for item in ours]
    best = [max((_iou(a, b["segmentation"]) for a in found), default=0.0) for b in theirs]
    report = {
        "size_px": options.size, "points": options.points**2, "weights": options.checkpoint or "random, seeded",
        "ours_s": round(ours_s, 2), "ours_encoding_s": round(encoding_s, 2),
        "sam2_s": round(theirs_s, 2), "ratio": round(theirs_s / ours_s, 2), "masks_ours": len(ours),
        "masks_sam2": len(theirs), "agreement_mean_iou": round(float(np.mean(best)), 4) if best else None,
        "load_1min": round(os.getloadavg()[0], 1),
    }  # fmt: skip
    Path(options.out).parent.mkdir(parents=True, exist_ok=True)
    Path(options.out).write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    print(json.dumps(report, indent=1))


def _picture(path: str, size: int) -> np.ndarray:
    if path:
        import rasterio

        with rasterio.open(path) as raster:
            return np.ascontiguousarray(np.moveaxis(raster.read([1, 2, 3])[:, :size, :size], 0, -1)).astype(np.uint8)
    blocks = np.random.default_rng(0).integers(0, 255, (size // 16, size // 16, 3), dtype=np.uint8)
    return np.ascontiguousarray(np.kron(blocks, np.ones((16, 16, 1), np.uint8)))


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


if __name__ == "__main__":
    main()
