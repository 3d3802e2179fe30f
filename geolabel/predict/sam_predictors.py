"""SAM as predictors: automatic masks without classes, and words or exemplars to regions by SAM 3."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geolabel.core.labels import Region
from geolabel.core.taxonomy import LabelClass
from geolabel.errors import ModelError
from geolabel.predict.contract import ChipInput, ChipPrediction, PredictContext, PredictorSpec, predict_each
from geolabel.predict.geometry import MaskObject, label_polygons, regions_from_objects

AUTOMATIC, TEXT, EXEMPLAR = "sam_automatic", "text", "exemplar"
_ANY = LabelClass(id=1, name="object", shapes=("polygon",))


def _outlines(mask: npt.NDArray[np.bool_], label: str, score: float, source: str) -> list[MaskObject]:
    found = label_polygons(mask.astype(np.int32)).get(1)
    if found is None:
        return []
    return [MaskObject(geometry=found, label=label, score=min(1.0, max(0.0, score)), source=source)]


def _regions(
    objects: Sequence[MaskObject], classes: dict[str, LabelClass], chip: ChipInput, source: str
) -> tuple[tuple[Region, ...], dict[str, int]]:
    regions, dropped = regions_from_objects(
        objects,
        classes=classes,
        width=chip.width,
        height=chip.height,
        gsd_m=float(np.sqrt(np.prod(chip.chip.georef.gsd_m()))),
        chip_id=chip.chip.id,
        source=source,
    )
    return regions, dict(dropped)


class SamAutomatic:
    """Masks of everything, without classes: the region classifier names them.

    Args:
        checkpoint: Path of a SAM 1 or SAM 2 checkpoint.
        points_per_side: Grid of clicks.
        pred_iou_thresh: Least predicted quality.
        stability_score_thresh: Least stability.
    """

    def __init__(
        self,
        checkpoint: str = "",
        points_per_side: int = 32,
        pred_iou_thresh: float = 0.8,
        stability_score_thresh: float = 0.95,
    ) -> None:
        self._checkpoint = checkpoint
        self._options: dict[str, Any] = {
            "points_per_side": points_per_side,
            "pred_iou_thresh": pred_iou_thresh,
            "stability_score_thresh": stability_score_thresh,
        }
        self._model: Any = None

    @property
    def spec(self) -> PredictorSpec:
        """What it is and needs."""
        version = f"1-{Path(self._checkpoint).stem or 'none'}"
        return PredictorSpec(name=AUTOMATIC, version=version, class_aware=False, memory_bytes=2 * 10**9, max_batch=4)

    def ready(self, context: PredictContext) -> str:
        """Tell why it can't run, or ""."""
        del context
        if self._checkpoint and Path(self._checkpoint).is_file():
            return ""
        return "no SAM checkpoint: `geolabel models pull sam2.1-tiny`, then give its path as the option `checkpoint`"

    def load(self, device: str) -> None:
        """Load the checkpoint.

        Raises:
            ModelError: it is missing or no SAM.
        """
        from geolabel.predict.sam_models import load_sam

        self._model = load_sam(Path(self._checkpoint or "(none)"), device)

    def predict(self, batch: Sequence[ChipInput], context: PredictContext) -> list[ChipPrediction]:
        """Find the masks of each chip; chips are encoded together."""
        del context
        if self._model is None:
            raise ModelError("SAM was not loaded; call load first")
        if not batch:
            return []
        embeddings = self._model.encode([chip.rgb for chip in batch])
        return [self._one(chip, embedding) for chip, embedding in zip(batch, embeddings, strict=True)]

    def _one(self, chip: ChipInput, embedding: Any) -> ChipPrediction:
        from geolabel.predict.sam_automatic import AutomaticSettings, automatic_masks

        if not chip.valid.any():
            return ChipPrediction(chip_id=chip.chip.id, score=1.0, reason="the chip holds no data")
        size = (chip.width, chip.height)
        masks = automatic_masks(self._model, self._model.prepare(embedding), size, AutomaticSettings(**self._options))
        objects: list[MaskObject] = []
        for item in masks:
            objects += _outlines((item.mask.to_array() > 0) & chip.valid, _ANY.name, item.score, AUTOMATIC)
        regions, dropped = _regions(objects, {_ANY.name: _ANY}, chip, AUTOMATIC)
        unnamed = tuple(_without_label(region) for region in regions)
        reason = f"automatic masks: {len(unnamed)} regions without class"
        return ChipPrediction(
            chip_id=chip.chip.id, regions=unnamed, score=None, reason=reason, facts={"dropped": dropped}
        )


def _without_label(region: Region) -> Region:
    from dataclasses import replace

    return replace(region, label="")


class Sam3Predictor:
    """Words of the taxonomy, or exemplars of the project, to regions by SAM 3 of transformers.

    The presence score of SAM 3 can silence every region of a chip; it is left out of the regions' scores here, and a
    chip that it would have silenced is marked, so that the chain can route it.

    Args:
        checkpoint: Folder of a SAM 3 checkpoint in transformers' form, or a hub id.
        use: "text" or "exemplar".
        threshold: Least score of a region.
    """

    def __init__(self, checkpoint: str = "", use: str = TEXT, threshold: float = 0.3) -> None:
        self._checkpoint, self._use, self._threshold = checkpoint, use, threshold
        self._sam: Any = None

    @property
    def spec(self) -> PredictorSpec:
        """What it is and needs."""
        return PredictorSpec(
            name=self._use,
            version=f"1-{Path(self._checkpoint).name or 'none'}",
            prompts=("text",) if self._use == TEXT else ("exemplar",),
            presence_gate=True,
            memory_bytes=6 * 10**9,
            max_batch=2,
        )

    def ready(self, context: PredictContext) -> str:
        """Tell why it can't run, or ""."""
        if not self._checkpoint:
            return "no SAM 3 weights: `geolabel models pull sam3`, then give their folder as the option `checkpoint`"
        if self._use == EXEMPLAR and not context.exemplars:
            return "no exemplars: the project has no labelled object yet"
        return ""

    def load(self, device: str) -> None:
        """Load SAM 3.

        Raises:
            ModelError: the weights are missing, damaged or of another architecture.
        """
        from geolabel.predict.sam3 import Sam3

        if not self._checkpoint:
            raise ModelError("no SAM 3 weights are set; give a folder or hub id as the option `checkpoint`")
        self._sam = Sam3(self._checkpoint, device)

    def predict(self, batch: Sequence[ChipInput], context: PredictContext) -> list[ChipPrediction]:
        """Ask for every class on every chip."""
        return predict_each(batch, lambda chip: self._one(chip, context))

    def _one(self, chip: ChipInput, context: PredictContext) -> ChipPrediction:
        if self._sam is None:
            raise ModelError("SAM 3 was not loaded; call load first")
        if not chip.valid.any():
            return ChipPrediction(chip_id=chip.chip.id, score=1.0, reason="the chip holds no data")
        objects: list[MaskObject] = []
        silenced = False
        asked = 0
        image = self._sam.image(chip.rgb)
        for label, words, boxes in self._questions(chip, context):
            asked += 1
            for found in self._sam.ask(image, words, boxes):
                if found.score >= self._threshold:
                    silenced = silenced or found.score * found.presence < self._threshold
                    objects += _outlines(found.mask & chip.valid, label, found.score, self._use)
        classes = {item.name: item for item in context.taxonomy.classes}
        regions, dropped = _regions(objects, classes, chip, self._use)
        if not asked:
            reason = "no exemplar lies on this chip; SAM 3 takes exemplars of the same picture only"
        else:
            reason = f"SAM 3 was asked {asked} questions: {len(regions)} regions"
        score = float(np.mean([r.score or 0.0 for r in regions])) if regions else 0.0
        return ChipPrediction(
            chip_id=chip.chip.id, regions=regions, score=score, reason=reason, silenced=silenced,
            facts={"dropped": dropped},
        )  # fmt: skip

    def _questions(
        self, chip: ChipInput, context: PredictContext
    ) -> list[tuple[str, str, list[tuple[float, float, float, float]]]]:
        if self._use == TEXT:
            return [(label, words, []) for label, texts in context.prompts().items() for words in texts]
        boxes: dict[str, list[tuple[float, float, float, float]]] = {}
        for item in context.exemplars:
            if item.chip.chip.id == chip.chip.id:
                boxes.setdefault(item.label, []).append(item.box_px)
        return [(label, "visual", found) for label, found in boxes.items()]


def text_predictor(**options: Any) -> Sam3Predictor:
    """Make the predictor of words."""
    return Sam3Predictor(use=TEXT, **options)


def exemplar_predictor(**options: Any) -> Sam3Predictor:
    """Make the predictor of exemplars."""
    return Sam3Predictor(use=EXEMPLAR, **options)
