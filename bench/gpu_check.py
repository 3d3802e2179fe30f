"""Check SAM 2.1 tiny on a CUDA device against the CPU: agreement, bf16 per thread, memory, click latency, masks.

Runs from a checkout without installing it: needs torch, and the folder given as --packages on sys.path (sam2 and what
it imports). Weights are random and seeded, the architecture is the real one.

    python -m bench.gpu_check --packages .gpu-wheels --out "$OUT/gpu_check.json"
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _now(device: str) -> float:
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()


def _timed(device: str, run: Callable[[], Any], repeats: int) -> dict[str, float]:
    run()
    times = []
    for _ in range(repeats):
        start = _now(device)
        run()
        times.append((_now(device) - start) * 1000)
    times.sort()
    return {
        "p50_ms": round(statistics.median(times), 2),
        "p95_ms": round(times[max(0, int(len(times) * 0.95) - 1)], 2),
        "repeats": repeats,
    }


class Checks:
    """All checks on one device; each writes what it found, and one that fails doesn't stop the others."""

    def __init__(self, device: str, quick: bool) -> None:
        import numpy as np

        from geolabel.predict.sam_models import SAM21_TINY, load_sam, save_seeded

        self.device, self.quick = device, quick
        folder = Path(tempfile.mkdtemp(prefix="gpu-check-"))
        checkpoint = save_seeded(folder / "sam2.1_tiny_seeded.pt", SAM21_TINY, seed=0)
        self.cpu = load_sam(checkpoint, "cpu")
        self.model = load_sam(checkpoint, device)
        rng = np.random.default_rng(0)
        size = 256 if quick else 1024
        base = rng.integers(0, 255, (size // 16, size // 16, 3), dtype=np.uint8)
        self.rgb = np.ascontiguousarray(np.kron(base, np.ones((16, 16, 1), np.uint8)))
        self.size = (size, size)
        self.found: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        """Run all checks."""
        for name in ("agreement", "threads", "halving", "encode", "click", "automatic"):
            start = time.perf_counter()
            try:
                self.found[name] = getattr(self, name)()
            except Exception as error:  # noqa: BLE001 - a report of every check is wanted, whatever one of them does
                self.found[name] = {"ok": False, "error": f"{type(error).__name__}: {error}"[:500]}
                traceback.print_exc()
            self.found[name]["wall_s"] = round(time.perf_counter() - start, 2)
        return self.found

    def agreement(self) -> dict[str, Any]:
        """Embeddings and masks of the device (bf16 on CUDA) against those of the CPU in fp32."""
        import numpy as np

        ours, theirs = self.model.encode([self.rgb])[0], self.cpu.encode([self.rgb])[0]
        a, b = ours.image.float(), theirs.image.float()
        cosine = float((a * b).sum(0).div(a.norm(dim=0) * b.norm(dim=0)).mean())
        prepared, reference = self.model.prepare(ours), self.cpu.prepare(theirs)
        same = self.model.prepare(theirs)
        clicks = [(self.size[0] * x, self.size[1] * y, True) for x in (0.2, 0.5, 0.8) for y in (0.3, 0.7)]
        from_pixels, from_embedding, scores = [], [], []
        for click in clicks:
            want = self.cpu.ask(reference, self.size, [click])
            got = self.model.ask(prepared, self.size, [click])
            again = self.model.ask(same, self.size, [click])
            from_pixels.append(float(np.mean((got.logits > 0) == (want.logits > 0))))
            from_embedding.append(float(np.mean((again.logits > 0) == (want.logits > 0))))
            scores.append(abs(got.score - want.score))
        return {
            "ok": cosine > 0.99 and min(from_embedding) > 0.95,
            "embedding_cosine": round(cosine, 5),
            "mask_pixels_equal_min": round(min(from_pixels), 4),
            "mask_pixels_equal_same_embedding_min": round(min(from_embedding), 4),
            "score_difference_max": round(max(scores), 4),
        }

    def threads(self) -> dict[str, Any]:
        """Autocast belongs to a thread: eight threads must run in bf16 and give what one thread gives."""
        import numpy as np
        import torch

        prepared = self.model.prepare(self.model.encode([self.rgb])[0])
        clicks = [(self.size[0] * (i + 1) / 10, self.size[1] / 2, True) for i in range(8)]
        alone = [self.model.ask(prepared, self.size, [c]).logits for c in clicks]
        got: dict[int, Any] = {}
        dtypes: dict[int, str] = {}

        def work(i: int) -> None:
            with self.model.running():
                x = torch.ones(2, 2, device=self.model.device)
                dtypes[i] = str((x @ x).dtype)
            for _ in range(5):
                got[i] = self.model.ask(prepared, self.size, [clicks[i]]).logits

        workers = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        equal = min(float(np.mean((got[i] > 0) == (alone[i] > 0))) for i in range(8))
        wanted = "torch.bfloat16" if self.device.startswith("cuda") else "torch.float32"
        return {"ok": set(dtypes.values()) == {wanted} and equal > 0.999, "dtypes": sorted(set(dtypes.values())),
                "pixels_equal_min": round(equal, 5)}  # fmt: skip

    def halving(self) -> dict[str, Any]:
        """A batch too large for memory must be halved and still give every embedding."""
        import torch

        sizes: list[int] = []
        original = self.model._encode

        def counted(images: Any) -> Any:
            sizes.append(len(images))
            return original(images)

        capped = self.device.startswith("cuda")
        if capped:
            # Let this process use little memory, so that a batch of ordinary size is too large.
            torch.cuda.empty_cache()
            total = torch.cuda.get_device_properties(self.device).total_memory
            used = torch.cuda.memory_reserved()
            torch.cuda.set_per_process_memory_fraction(min(1.0, (used + 2.5 * 2**30) / total))
        self.model._encode = counted  # type: ignore[method-assign]
        try:
            count = 32 if capped else 2
            embeddings = self.model.encode([self.rgb] * count, batch=count)
        finally:
            self.model._encode = original  # type: ignore[method-assign]
            if capped:
                torch.cuda.set_per_process_memory_fraction(1.0)
        complete = len(embeddings) == count and all(e is not None for e in embeddings)
        return {"ok": complete and (not capped or len(sizes) > 1), "batches_tried": sizes}

    def encode(self) -> dict[str, Any]:
        """Chips encoded per second by batch."""
        out: dict[str, Any] = {"ok": True}
        for batch in (1,) if self.quick else (1, 4, 8, 16):
            images = [self.rgb] * batch
            timing = _timed(
                self.device, lambda n=images, b=batch: self.model.encode(n, batch=b), 1 if self.quick else 5
            )
            out[f"batch_{batch}"] = {**timing, "chips_per_s": round(batch / timing["p50_ms"] * 1000, 2)}
        return out

    def click(self) -> dict[str, Any]:
        """Click to logits with the embedding at hand: prepared, and from the fp16 form of the store."""
        embedding = self.model.encode([self.rgb])[0]
        prepared = self.model.prepare(embedding)
        click = [(self.size[0] / 3, self.size[1] / 3, True)]
        repeats = 3 if self.quick else 50
        return {
            "ok": True,
            "prepared": _timed(self.device, lambda: self.model.ask(prepared, self.size, click), repeats),
            "from_store": _timed(
                self.device, lambda: self.model.ask(self.model.prepare(embedding), self.size, click), repeats
            ),
        }

    def automatic(self) -> dict[str, Any]:
        """Automatic masks of a 32 × 32 grid."""
        from geolabel.predict.sam_automatic import AutomaticSettings, automatic_masks

        prepared = self.model.prepare(self.model.encode([self.rgb])[0])
        side = 4 if self.quick else 32
        # Random weights give qualities about 0.5 and soft masks: thresholds that let a part of them pass.
        settings = AutomaticSettings(
            points_per_side=side, pred_iou_thresh=0.5, stability_score_thresh=0.5, stability_score_offset=0.05,
            box_nms_thresh=0.95,
        )  # fmt: skip
        masks = automatic_masks(self.model, prepared, self.size, settings)
        timing = _timed(
            self.device, lambda: automatic_masks(self.model, prepared, self.size, settings), 1 if self.quick else 3
        )
        return {"ok": True, "masks": len(masks), **timing,
                "points_per_s": round(side**2 / timing["p50_ms"] * 1000, 1)}  # fmt: skip


def main() -> int:
    """Run, write JSON, and return 0 when all checks hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--packages", default="", help="folder with sam2 and what it imports")
    parser.add_argument("--out", default="gpu_check.json")
    parser.add_argument("--quick", action="store_true", help="small picture, few repeats: to try the script on a CPU")
    options = parser.parse_args()
    if options.packages:
        # At the end: what the machine has itself, torch and numpy above all, comes first.
        sys.path += [options.packages, str(Path(options.packages) / "fallback")]
    import torch

    report: dict[str, Any] = {"torch": torch.__version__, "python": sys.version.split()[0], "device": options.device}
    if options.device.startswith("cuda"):
        report["gpu"] = torch.cuda.get_device_name(options.device)
        report["bf16"] = torch.cuda.is_bf16_supported()
    report["checks"] = Checks(options.device, options.quick).run()
    if options.device.startswith("cuda"):
        report["peak_memory_mb"] = round(torch.cuda.max_memory_allocated() / 2**20)
    report["ok"] = all(item.get("ok") for item in report["checks"].values())
    text = json.dumps(report, indent=2)
    Path(options.out).parent.mkdir(parents=True, exist_ok=True)
    Path(options.out).write_text(text + "\n", "utf-8")
    print(text)
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
