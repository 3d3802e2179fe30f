"""Class-agnostic masks given their class by what the project's people have labelled.

Masks come from a class-agnostic predictor (SAM and its kin) or, without weights, from a graph-based segmentation of the
picture at three scales. A mask is described by the pixels inside, by how they differ from a ring around it, and by its
shape; trees learn from the labelled regions and from masks that nobody labelled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from geolabel.core.shapes import to_shapely
from geolabel.core.taxonomy import Taxonomy
from geolabel.predict.contract import ChipInput, ChipPrediction, PredictContext, Predictor, PredictorSpec, predict_each
from geolabel.predict.features import ClassicalFeatures
from geolabel.predict.geometry import MaskObject, burn, label_polygons, regions_from_objects
from geolabel.predict.pixelhead import LabelledChip, PixelHead, PixelTable, choose_thresholds, label_images

NAME = "regions"
EXTRACTOR = "regions/1"
NO_LABELS = "no labels yet: annotate a few chips, then ask again"
MOST_CHIPS = 16
_SCALES = (60.0, 150.0, 400.0)
_SMALLEST_PX = 24
_LARGEST_SHARE = 0.3
_SAME_IOU = 0.5
_OTHER_IOU = 0.2
_RING_PX = 6
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A mask within a window of its chip: first row and column, and the (row, col) bool mask of that window."""

    row: int
    col: int
    mask: Bool

    @property
    def area_px(self) -> int:
        """Pixels inside."""
        return int(self.mask.sum())


class RegionPredictor:
    """Predicts by classifying masks.

    Args:
        proposals: "graph" for the segmentation that needs no weights, or the name of a class-agnostic predictor.
        options: Of that predictor.
    """

    def __init__(self, proposals: str = "graph", options: dict[str, Any] | None = None) -> None:
        self._proposals = proposals
        self._options = dict(options or {})
        self._features = ClassicalFeatures()
        self._segmenter: Predictor | None = None

    @property
    def spec(self) -> PredictorSpec:
        """What it is and needs."""
        return PredictorSpec(name=NAME, version="1", trained=True, memory_bytes=400_000_000, max_batch=8)

    def load(self, device: str) -> None:
        """Load the class-agnostic predictor, where one was named."""
        if self._proposals != "graph":
            from geolabel.predict.registry import make_predictor

            segmenter = make_predictor(self._proposals, self._options)
            segmenter.load(device)
            self._segmenter = segmenter

    def predict(self, batch: Sequence[ChipInput], context: PredictContext) -> list[ChipPrediction]:
        """Predict chips with the project's region head; without one every answer says that there are no labels yet."""
        head = context.heads.get(NAME)
        if not isinstance(head, PixelHead):
            return [ChipPrediction(chip_id=chip.chip.id, score=0.0, reason=NO_LABELS) for chip in batch]
        return predict_each(batch, lambda chip: self._one(chip, head, context))

    def _one(self, chip: ChipInput, head: PixelHead, context: PredictContext) -> ChipPrediction:
        if not chip.valid.any():
            return ChipPrediction(chip_id=chip.chip.id, score=1.0, reason="the chip holds no data")
        found = self.proposals(chip, context)
        if not found:
            return ChipPrediction(chip_id=chip.chip.id, score=0.5, reason="no masks were found on the chip")
        gsd_m = float(np.sqrt(np.prod(chip.chip.georef.gsd_m())))
        probabilities = head.probabilities(describe(chip, found, self._features, gsd_m))
        objects = _chosen(found, probabilities, head, context, (chip.height, chip.width))
        regions, dropped = regions_from_objects(
            objects,
            classes={label_class.name: label_class for label_class in context.taxonomy.classes},
            width=chip.width,
            height=chip.height,
            gsd_m=gsd_m,
            chip_id=chip.chip.id,
            source=NAME,
        )
        top = np.sort(probabilities, axis=1)
        doubts = np.sort(1.0 - (top[:, -1] - top[:, -2]))
        doubt = float(doubts[-max(1, len(doubts) // 4) :].mean())
        return ChipPrediction(
            chip_id=chip.chip.id,
            regions=regions,
            score=min(max(1.0 - doubt, 0.0), 1.0),
            reason=f"regions: {len(regions)} of {len(found)} masks have a class that people drew",
            facts={"dropped": dict(dropped), "proposals": len(found)},
        )

    def proposals(self, chip: ChipInput, context: PredictContext) -> list[Proposal]:
        """Return the masks of a chip."""
        if self._segmenter is None:
            return graph_proposals(chip)
        answer = self._segmenter.predict([chip], context)[0]
        out = []
        for region in answer.regions:
            mask = burn([(to_shapely(region.shape), 1)], chip.width, chip.height) > 0
            out += _cropped(mask)
        return out


def graph_proposals(chip: ChipInput) -> list[Proposal]:
    """Segment the picture at three scales (Felzenszwalb and Huttenlocher 2004) and return the segments as masks."""
    from scipy import ndimage
    from skimage.segmentation import felzenszwalb

    if min(chip.height, chip.width) < 4:
        return []
    largest = _LARGEST_SHARE * chip.height * chip.width
    out: list[Proposal] = []
    for scale in _SCALES:
        segments = felzenszwalb(chip.rgb, scale=scale, sigma=0.8, min_size=_SMALLEST_PX).astype(np.int32) + 1
        segments[~chip.valid] = 0
        for number, window in enumerate(ndimage.find_objects(segments), start=1):
            if window is None:
                continue
            mask = segments[window] == number
            if _SMALLEST_PX <= mask.sum() <= largest:
                out.append(Proposal(row=window[0].start, col=window[1].start, mask=mask))
    return out


def _cropped(mask: Bool) -> list[Proposal]:
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return []
    window = mask[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    return [Proposal(row=int(rows[0]), col=int(cols[0]), mask=np.ascontiguousarray(window))]


def describe(
    chip: ChipInput, proposals: Sequence[Proposal], extractor: ClassicalFeatures, gsd_m: float
) -> npt.NDArray[np.float32]:
    """Return one vector per mask, (n, 3k + 6) float32: inside mean, inside spread, inside minus ring, shape."""
    import cv2

    array = extractor.features(chip).array
    height, width = array.shape[:2]
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _RING_PX + 1, 2 * _RING_PX + 1))
    rows = []
    for item in proposals:
        top, left = max(0, item.row - _RING_PX), max(0, item.col - _RING_PX)
        bottom = min(height, item.row + item.mask.shape[0] + _RING_PX)
        right = min(width, item.col + item.mask.shape[1] + _RING_PX)
        inside = np.zeros((bottom - top, right - left), dtype=np.uint8)
        inside[
            item.row - top : item.row - top + item.mask.shape[0],
            item.col - left : item.col - left + item.mask.shape[1],
        ] = item.mask
        ring = (cv2.dilate(inside, kernel) > 0) & (inside == 0)
        window = array[top:bottom, left:right]
        own = window[inside > 0]
        around = window[ring].mean(axis=0) if ring.any() else own.mean(axis=0)
        mean = own.mean(axis=0)
        rows.append(np.concatenate([mean, own.std(axis=0), mean - around, _shape_features(inside, gsd_m)]))
    return np.nan_to_num(np.asarray(rows, dtype=np.float32))


def _shape_features(mask: npt.NDArray[np.uint8], gsd_m: float) -> npt.NDArray[np.float32]:
    import cv2

    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    contour = max(contours, key=len)
    area = float(mask.sum())
    perimeter = max(cv2.arcLength(contour, closed=True), 1.0)
    hull = max(float(cv2.contourArea(cv2.convexHull(contour))), 1.0)
    (_, _), (w, h), _ = cv2.minAreaRect(contour)
    long, short = max(w, h, 1.0), max(min(w, h), 1.0)
    values = [
        np.log(area * gsd_m**2 + 1e-3),
        4 * np.pi * area / perimeter**2,
        min(area / hull, 2.0),
        short / long,
        min(area / (long * short), 2.0),
        np.log(long * gsd_m),
    ]
    return np.asarray(values, dtype=np.float32)


def fit_region_head(
    chips: Sequence[LabelledChip], taxonomy: Taxonomy, predictor: RegionPredictor | None = None, *, seed: int = 0
) -> PixelHead | None:
    """Learn from the labelled regions of chips and from the masks that nobody labelled; None without labels."""
    maker = predictor or RegionPredictor()
    names = ("", *taxonomy.names())
    context = PredictContext(project_id="", taxonomy=taxonomy)
    vectors, classes, groups = [], [], []
    counts = dict.fromkeys(names[1:], 0)
    next_group = 0
    for item in chips[-MOST_CHIPS:]:
        owner, owner_class = label_images(item, names)
        gsd_m = float(np.sqrt(np.prod(item.chip.chip.georef.gsd_m())))
        found, kinds, owners = _labelled_masks(maker.proposals(item.chip, context), owner, owner_class)
        if not found:
            continue
        for region in item.regions:
            if region.label in counts:
                counts[region.label] += 1
        vectors.append(describe(item.chip, found, ClassicalFeatures(), gsd_m))
        classes += kinds
        groups += [next_group + number for number in owners]
        next_group += max(owners) + 1
    if not vectors or not any(classes):
        return None
    kinds_array = np.asarray(classes, dtype=np.int32)
    table = PixelTable(
        features=np.concatenate(vectors),
        classes=kinds_array,
        groups=np.asarray(groups, dtype=np.int64),
        names=names,
        shares=np.bincount(kinds_array, minlength=len(names)) / len(kinds_array),
        counts=counts,
    )
    return PixelHead(table, extractor=EXTRACTOR, thresholds=choose_thresholds(table, seed=seed), seed=seed)


def _labelled_masks(
    proposals: Sequence[Proposal], owner: npt.NDArray[np.int32], owner_class: npt.NDArray[np.int32]
) -> tuple[list[Proposal], list[int], list[int]]:
    found: list[Proposal] = []
    kinds: list[int] = []
    owners: list[int] = []
    sizes = np.bincount(owner.reshape(-1))
    for number in range(1, len(sizes)):
        mask = owner == number
        if mask.any():
            found += _cropped(mask)
            kinds.append(int(owner_class[mask][0]))
            owners.append(number)
    for item in proposals:
        window = owner[item.row : item.row + item.mask.shape[0], item.col : item.col + item.mask.shape[1]]
        hits = np.bincount(window[item.mask], minlength=len(sizes))
        best = int(hits[1:].argmax()) + 1 if len(hits) > 1 else 0
        iou = hits[best] / (item.area_px + sizes[best] - hits[best]) if best else 0.0
        share = hits[1:].sum() / item.area_px
        if best and iou >= _SAME_IOU:
            kinds.append(int(owner_class[owner == best][0]))
            owners.append(best)
        elif share <= _OTHER_IOU or iou <= _OTHER_IOU:
            kinds.append(0)
            owners.append(len(sizes) + (item.row // 64) * 100 + item.col // 64)
        else:
            continue  # half of a thing teaches neither
        found.append(item)
    return found, kinds, owners


def _chosen(
    proposals: Sequence[Proposal],
    probabilities: npt.NDArray[np.float32],
    head: PixelHead,
    context: PredictContext,
    shape: tuple[int, int],
) -> list[MaskObject]:
    """Keep the surest of overlapping masks; a mask gives way where surer ones cover most of it."""
    names = head.names
    cuts = np.array([head.thresholds.get(name, 0.5) for name in names[1:]], dtype=np.float32)
    best = (probabilities[:, 1:] / cuts).argmax(axis=1)
    score = probabilities[np.arange(len(best)), best + 1]
    image = np.zeros(shape, dtype=np.int32)
    kept: list[tuple[str, float]] = []
    for i in np.argsort(-score, kind="stable"):
        name = names[int(best[i]) + 1]
        if score[i] < cuts[best[i]] or name not in context.taxonomy:
            continue
        item = proposals[int(i)]
        window = image[item.row : item.row + item.mask.shape[0], item.col : item.col + item.mask.shape[1]]
        free = item.mask & (window == 0)
        if free.sum() < 0.6 * item.area_px:
            continue
        kept.append((name, float(score[i])))
        window[free] = len(kept)
    outlines = label_polygons(image)
    return [
        MaskObject(geometry=outline, label=kept[number - 1][0], score=kept[number - 1][1])
        for number, outline in outlines.items()
    ]
