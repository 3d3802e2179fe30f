"""Any ONNX segmentation or detection model with metadata as a predictor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from geolabel.errors import InputError, ModelError
from geolabel.predict.contract import ChipInput, ChipPrediction, PredictContext, PredictorSpec, predict_each
from geolabel.predict.geometry import MaskObject, label_polygons, regions_from_objects
from geolabel.predict.onnx_models import BAND_NAMES, OnnxModel, OnnxSpec, normalised
from geolabel.predict.refine import objects_of_class

NAME = "onnx"
_BACKGROUND = ("background", "_background", "bg", "none")
_MIN_AREA_PX = 9


class OnnxPredictor:
    """Regions by an ONNX file.

    Args:
        model: Path of the file.
        options: Over the file's own metadata, see `OnnxModel`; `labels` maps its class names to the project's.
    """

    def __init__(self, model: str = "", labels: Mapping[str, str] | None = None, **options: Any) -> None:
        self._path = model
        self._labels = {name.lower(): label for name, label in (labels or {}).items()}
        self._options = options
        self._model: OnnxModel | None = None

    @property
    def spec(self) -> PredictorSpec:
        """What it is and needs."""
        return PredictorSpec(name=NAME, version=f"1-{Path(self._path).stem or 'none'}", memory_bytes=500_000_000)

    def ready(self, context: PredictContext) -> str:
        """Tell why it can't run, or ""."""
        del context
        if not self._path:
            return "no ONNX file is set: give its path as the option `model` of the step `onnx`"
        return "" if Path(self._path).is_file() else f"no ONNX file at {self._path}"

    def load(self, device: str) -> None:
        """Load the file.

        Raises:
            ModelError: it is missing, damaged or makes no regions.
        """
        if not self._path:
            raise ModelError("no ONNX file is set: give its path as the option `model`")
        self._model = OnnxModel(Path(self._path), self._options, device)

    def predict(self, batch: Sequence[ChipInput], context: PredictContext) -> list[ChipPrediction]:
        """Predict chips."""
        return predict_each(batch, lambda chip: self._one(chip, context))

    def _one(self, chip: ChipInput, context: PredictContext) -> ChipPrediction:
        if self._model is None:
            raise ModelError("the ONNX predictor was not loaded; call load first")
        if not chip.valid.any():
            return ChipPrediction(chip_id=chip.chip.id, score=1.0, reason="the chip holds no data")
        spec = self._model.spec
        planes = normalised(chosen_planes(chip, spec), spec)
        if spec.task == "detection":
            objects, unknown, score = self._detected(planes, context)
        else:
            objects, unknown, score = self._segmented(planes, chip, context)
        # Two outputs may say the same of one place; it is one object then, with the surer score.
        objects.sort(key=lambda item: item.score)
        distinct = {(item.label, item.geometry.wkb): item for item in objects}
        regions, dropped = regions_from_objects(
            list(distinct.values()),
            classes={item.name: item for item in context.taxonomy.classes},
            width=chip.width,
            height=chip.height,
            gsd_m=float(np.sqrt(np.prod(chip.chip.georef.gsd_m()))),
            chip_id=chip.chip.id,
            source=NAME,
        )
        reason = f"{Path(self._path).name}: {len(regions)} regions"
        if unknown:
            reason += f"; its classes {', '.join(sorted(unknown))} are not in the project"
        return ChipPrediction(
            chip_id=chip.chip.id, regions=regions, score=score, reason=reason, facts={"dropped": dict(dropped)}
        )

    def _segmented(
        self, planes: npt.NDArray[np.float32], chip: ChipInput, context: PredictContext
    ) -> tuple[list[MaskObject], set[str], float]:
        assert self._model is not None
        spec = self._model.spec
        objects: list[MaskObject] = []
        unknown: set[str] = set()
        sure = []
        for names, probabilities in zip(spec.names, self._model.run(planes), strict=True):
            best = probabilities.argmax(axis=0)
            sure.append(float(probabilities.max(axis=0)[chip.valid].mean()))
            single = probabilities.shape[0] == 1
            for channel, plane in enumerate(probabilities):
                name = names[channel] if channel < len(names) else f"class {channel}"
                if name.lower() in _BACKGROUND:
                    continue
                label = self._label(name, context)
                if label is None:
                    unknown.add(name)
                    continue
                inside = (plane >= spec.threshold) if single else (best == channel) & (plane >= 1 / len(probabilities))
                labelled = objects_of_class(inside & chip.valid, _MIN_AREA_PX)
                sizes = np.maximum(np.bincount(labelled.ravel()), 1)
                means = np.bincount(labelled.ravel(), weights=plane.ravel()) / sizes
                for number, outline in label_polygons(labelled).items():
                    score = float(np.clip(means[number], 0, 1))
                    objects.append(MaskObject(geometry=outline, label=label, score=score, source=NAME))
        return objects, unknown, min(1.0, max(0.0, float(np.mean(sure))))

    def _detected(
        self, planes: npt.NDArray[np.float32], context: PredictContext
    ) -> tuple[list[MaskObject], set[str], float]:
        assert self._model is not None
        spec = self._model.spec
        rows = self._model.boxes(planes)
        scores = rows[:, 4:5] * rows[:, 5:]
        kind, best = scores.argmax(axis=1), scores.max(axis=1)
        good = np.flatnonzero(best >= spec.threshold)
        good = good[np.argsort(-best[good], kind="stable")]
        height, width = planes.shape[1:]
        frame = shapely.box(0, 0, width, height)
        kept: list[MaskObject] = []
        unknown: set[str] = set()
        for i in good:
            name = spec.names[0][int(kind[i])]
            label = self._label(name, context)
            if label is None:
                unknown.add(name)
                continue
            x, y, w, h = (float(v) for v in rows[i, :4])
            outline = shapely.box(x - w / 2, y - h / 2, x + w / 2, y + h / 2).intersection(frame)
            if outline.is_empty or any(label == o.label and _iou(o.geometry, outline) > spec.iou for o in kept):
                continue
            kept.append(MaskObject(geometry=outline, label=label, score=float(min(best[i], 1.0)), source=NAME))
        return kept, unknown, float(np.mean([o.score for o in kept])) if kept else 0.0

    def _label(self, name: str, context: PredictContext) -> str | None:
        """Return the project's class for one of the model's: by `labels`, `predicted_values`, name or alias."""
        wanted = self._labels.get(name.lower()) or context.options.get("predicted_values", {}).get(name.lower()) or name
        for item in context.taxonomy.classes:
            if wanted.lower() in (item.name.lower(), *(alias.lower() for alias in item.aliases)):
                return item.name
        return None


def _iou(a: shapely.Geometry, b: shapely.Geometry) -> float:
    common = a.intersection(b).area
    return float(common / max(a.area + b.area - common, 1e-9))


def chosen_planes(chip: ChipInput, spec: OnnxSpec) -> npt.NDArray[Any]:
    """Return the planes that a model asks for: bands by name, or the rendered picture.

    Raises:
        InputError: the chip lacks a band, or has another number of them.
    """
    if not spec.bands:
        if spec.channels == 3:
            return np.moveaxis(chip.rgb, -1, 0)
        if chip.pixels.shape[0] != spec.channels:
            raise InputError(
                f"the model takes {spec.channels} bands, the chip has {chip.pixels.shape[0]}; "
                "name the bands in the option `bands`"
            )
        return chip.pixels
    have = {band.name.lower(): i for i, band in enumerate(chip.bands)}
    planes = []
    for name in spec.bands:
        names = (name.lower(), *BAND_NAMES.get(name, ()))
        index = next((have[n] for n in names if n in have), None)
        if index is None:
            there = ", ".join(band.name for band in chip.bands) or "none with a name"
            raise InputError(f"the model takes band {name}, which the chip lacks; it has {there}")
        band = chip.bands[index]
        plane = np.asarray(chip.pixels[index], dtype=np.float32)
        # Reflectance 0 to 1 in the file's own scale: models of Sentinel-2 take digital numbers of 0 to 10,000.
        planes.append(plane * np.float32(band.scale * 10000) if spec.normalise == "dynamicworld" and band.scale > 1e-3
                      and np.nanmax(plane) <= 2 else plane)  # fmt: skip
    return np.stack(planes)
