"""The few-shot predictor: a pixel classifier trained on whatever the project's people have labelled so far."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from geolabel.predict.contract import (
    ChipInput,
    ChipPrediction,
    FeatureExtractor,
    PredictContext,
    PredictorSpec,
    predict_each,
)
from geolabel.predict.geometry import GeometryRules, MaskObject, label_polygons, regions_from_objects
from geolabel.predict.pixelhead import PixelHead
from geolabel.predict.refine import objects_of_class, refine_probabilities
from geolabel.predict.registry import make_extractor

NAME = "fewshot"
NO_LABELS = "no labels yet: annotate a few chips, then ask again"
_BLOCK_PX = 1024
_HALO_PX = 48
_FULL_PX = 256 * 256


class FewShotPredictor:
    """Predicts regions of the classes that people have drawn in this project.

    Args:
        extractor: Name of the feature extractor; heads that learned from another one are refused.
        tolerance_m: How far outlines may move when vertices are taken out; None: one pixel.
    """

    def __init__(self, extractor: str = "classical", tolerance_m: float | None = None) -> None:
        self._extractor: FeatureExtractor = make_extractor(extractor)
        self._rules = GeometryRules(tolerance_m=tolerance_m)

    @property
    def spec(self) -> PredictorSpec:
        """What it is and needs."""
        return PredictorSpec(name=NAME, version="1", trained=True, memory_bytes=400_000_000, max_batch=16)

    def load(self, device: str) -> None:
        """Load the feature extractor."""
        self._extractor.load(device)

    def predict(self, batch: Sequence[ChipInput], context: PredictContext) -> list[ChipPrediction]:
        """Predict chips with the project's head; without one every answer says that there are no labels yet."""
        head = context.heads.get(NAME)
        if not isinstance(head, PixelHead):
            return [ChipPrediction(chip_id=chip.chip.id, score=0.0, reason=NO_LABELS) for chip in batch]
        return predict_each(batch, lambda chip: self._one(chip, head, context))

    def _one(self, chip: ChipInput, head: PixelHead, context: PredictContext) -> ChipPrediction:
        if not chip.valid.any():
            return ChipPrediction(chip_id=chip.chip.id, score=1.0, reason="the chip holds no data")
        probabilities = self.probabilities(chip, head)
        gsd_m = float(np.sqrt(np.prod(chip.chip.georef.gsd_m())))
        objects = segment(probabilities, chip, head, context, gsd_m)
        regions, dropped = regions_from_objects(
            objects,
            classes={label_class.name: label_class for label_class in context.taxonomy.classes},
            width=chip.width,
            height=chip.height,
            gsd_m=gsd_m,
            chip_id=chip.chip.id,
            source=NAME,
            rules=self._rules,
        )
        uncertainty = pixel_uncertainty(probabilities)
        learned = sum(head.table.counts.values())
        reason = f"few-shot: {len(regions)} regions by a pixel classifier that learned from {learned} labels"
        if dropped:
            reason += "; dropped " + ", ".join(f"{count} {why}" for why, count in sorted(dropped.items()))
        return ChipPrediction(
            chip_id=chip.chip.id,
            regions=regions,
            score=chip_score(uncertainty, chip.valid),
            reason=reason,
            uncertainty=uncertainty.astype(np.float16),
            facts={"dropped": dict(dropped), "labels": learned},
        )

    def probabilities(self, chip: ChipInput, head: PixelHead) -> npt.NDArray[np.float32]:
        """Return refined (class, row, col) float32 probabilities of a chip of any size, in blocks where it is large."""
        out = np.zeros((len(head.names), chip.height, chip.width), dtype=np.float32)
        for rows, cols, inner_rows, inner_cols in _blocks(chip.height, chip.width):
            block = _cut(chip, rows, cols)
            planes = refine_probabilities(self._raw(block, head), block.rgb, head.refinement)
            top, left = inner_rows.start - rows.start, inner_cols.start - cols.start
            height, width = inner_rows.stop - inner_rows.start, inner_cols.stop - inner_cols.start
            out[:, inner_rows, inner_cols] = planes[:, top : top + height, left : left + width]
        return out

    def _raw(self, chip: ChipInput, head: PixelHead) -> npt.NDArray[np.float32]:
        import cv2

        found = self._extractor.features(chip)
        array = np.asarray(found.array, dtype=np.float32)
        # Every second pixel says nearly as much as every pixel, and takes a quarter of the time; small chips get all.
        if found.stride_px == 1 and chip.height * chip.width > _FULL_PX:
            array = array[::2, ::2]
        flat = head.probabilities(array.reshape(-1, array.shape[-1]))
        planes = np.moveaxis(flat.reshape(*array.shape[:2], -1), -1, 0)
        if planes.shape[1:] == (chip.height, chip.width):
            return np.ascontiguousarray(planes)
        size = (chip.width, chip.height)
        return np.stack([cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR) for plane in planes])


def _blocks(height: int, width: int) -> Iterator[tuple[slice, slice, slice, slice]]:
    """Yield row and column slices with halo, then without; one block where the chip is small enough."""
    if max(height, width) <= _BLOCK_PX + _BLOCK_PX // 2:
        yield slice(0, height), slice(0, width), slice(0, height), slice(0, width)
        return
    for row in range(0, height, _BLOCK_PX):
        for col in range(0, width, _BLOCK_PX):
            bottom, right = min(row + _BLOCK_PX, height), min(col + _BLOCK_PX, width)
            rows = slice(max(0, row - _HALO_PX), min(height, bottom + _HALO_PX))
            cols = slice(max(0, col - _HALO_PX), min(width, right + _HALO_PX))
            yield rows, cols, slice(row, bottom), slice(col, right)


def _cut(chip: ChipInput, rows: slice, cols: slice) -> ChipInput:
    return ChipInput(
        chip=chip.chip,
        scene=chip.scene,
        pixels=chip.pixels[:, rows, cols],
        valid=chip.valid[rows, cols],
        rgb=np.ascontiguousarray(chip.rgb[rows, cols]),
        bands=chip.bands,
        task_id=chip.task_id,
    )


def segment(
    probabilities: npt.NDArray[np.float32], chip: ChipInput, head: PixelHead, context: PredictContext, gsd_m: float
) -> list[MaskObject]:
    """Return the objects of every class: the class whose probability exceeds its threshold by most owns a pixel."""
    names = head.names
    cuts = np.array([1.0, *(head.thresholds.get(name, 0.5) for name in names[1:])], dtype=np.float32)
    has_background = head.table.shares[0] > 0
    ratio = probabilities[1:] / np.maximum(cuts[1:, None, None], 1e-3)
    winner = ratio.argmax(axis=0) + 1
    if has_background:
        winner[ratio.max(axis=0) < 1.0] = 0
    winner[~chip.valid] = 0
    objects: list[MaskObject] = []
    label_image = np.zeros(winner.shape, dtype=np.int32)
    classes: list[int] = [0]
    for index, name in enumerate(names[1:], start=1):
        if name not in context.taxonomy or not (winner == index).any():
            continue
        label_class = context.taxonomy.by_name(name)
        floor_px = max(8.0, label_class.min_area_m2 / gsd_m**2)
        found = objects_of_class(
            winner == index, floor_px, neck_px=head.necks_px.get(name, 0), fill_holes_px=head.refinement.fill_holes_px
        )
        inside = (found > 0) & ((winner == index) | (label_image == 0))
        label_image[inside] = found[inside] + len(classes) - 1
        classes += [index] * int(found.max(initial=0))
    for number, outline in label_polygons(label_image).items():
        index = classes[number]
        score = float(probabilities[index][label_image == number].mean()) if index else 0.0
        objects.append(MaskObject(geometry=outline, label=names[index], score=min(max(score, 0.0), 1.0)))
    return objects


def pixel_uncertainty(probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return (row, col) float32, 0 to 1: one minus the gap between the two likeliest classes (margin)."""
    if probabilities.shape[0] < 2:
        return np.zeros(probabilities.shape[1:], dtype=np.float32)
    top = np.partition(probabilities, -2, axis=0)[-2:]
    return np.asarray(np.clip(1.0 - (top[1] - top[0]), 0.0, 1.0), dtype=np.float32)


def chip_score(uncertainty: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_]) -> float:
    """Return how sure the model is of a chip, 0 to 1: one minus the mean of its most uncertain quarter of pixels."""
    values = uncertainty[valid]
    if values.size == 0:
        return 1.0
    worst = max(1, values.size // 4)
    return float(1.0 - np.partition(values, values.size - worst)[-worst:].mean())
