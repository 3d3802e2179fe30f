"""ONNX files with metadata: what they want, what they give, and how they are run over a chip of any size.

Metadata is read from the file itself, in the form that Deepness writes (`model_type`, `class_names`, `resolution`,
`tiles_overlap`, `seg_thresh`, `standardization_mean` …), and from options, which win.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from geolabel.errors import ModelError

Task: TypeAlias = Literal["segmentation", "detection"]
Planes: TypeAlias = npt.NDArray[np.float32]
_REFUSED = ("regression", "regressor", "recognition", "superresolution")
_FREE_TILE_PX = 512
#: Published constants of Dynamic World (google/dynamicworld, Apache-2.0): mean and spread of ln(0.005·DN + 1) per band.
_DW_MEAN = (1.7417268, 1.72612, 1.6798346, 1.7734969, 2.2891543, 2.3829397, 2.3828939, 2.1952484, 1.5548129)
_DW_STD = (2.0232987, 2.0389052, 2.1795928, 2.2890068, 2.6171675, 2.7734136, 2.7578333, 2.7890925, 2.4140535)
_DW_BANDS = ("B2", "B3", "B4", "B5", "B6", "B7", "B8", "B11", "B12")
_DW_NAMES = (
    "water", "trees", "grass", "flooded vegetation", "crops", "shrub and scrub", "built", "bare", "snow and ice",
)  # fmt: skip
#: Names that mean the same Sentinel-2 band.
BAND_NAMES: dict[str, tuple[str, ...]] = {
    "B2": ("b2", "b02", "blue"),
    "B3": ("b3", "b03", "green"),
    "B4": ("b4", "b04", "red"),
    "B5": ("b5", "b05", "rededge1", "red edge 1", "re1"),
    "B6": ("b6", "b06", "rededge2", "red edge 2", "re2"),
    "B7": ("b7", "b07", "rededge3", "red edge 3", "re3"),
    "B8": ("b8", "b08", "nir", "nir08"),
    "B11": ("b11", "swir1", "swir16"),
    "B12": ("b12", "swir2", "swir22"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxSpec:
    """How a model is fed and read.

    Attributes:
        task: Segmentation (classes per pixel) or detection (boxes).
        names: Per output, its class names by channel; channel 0 of several may be a background.
        layout: "nchw" or "nhwc".
        channels: Bands taken.
        tile: (height, width) it insists on, or None for any.
        bands: Names of the chip's bands to feed, in order; empty: the rendered RGB.
        normalise: "unit" (0 to 1), "raw", or "dynamicworld".
        mean: Subtracted per band after that.
        std: Divided by per band after that.
        threshold: Least probability.
        iou: Of two overlapping boxes the surer one stays.
        resolution_m: Ground size of a pixel that it learned on, or None.
        logits: Outputs are logits (softmax is applied), not probabilities.
    """

    task: Task
    names: tuple[tuple[str, ...], ...]
    layout: str
    channels: int
    tile: tuple[int, int] | None
    bands: tuple[str, ...] = ()
    normalise: str = "unit"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    threshold: float = 0.5
    iou: float = 0.5
    resolution_m: float | None = None
    logits: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)


class OnnxModel:
    """A loaded ONNX file.

    Args:
        path: Of the file.
        options: Over the file's metadata: task, classes, bands, normalise, mean, std, threshold, logits, resolution_m.

    Raises:
        ModelError: it can't be read, or is of a kind that makes no regions.
    """

    def __init__(self, path: Path, options: Mapping[str, Any], device: str = "cpu") -> None:
        import onnxruntime

        if not path.is_file():
            raise ModelError(f"no ONNX file at {path}; give the path of one in the option `model`")
        providers = ["CPUExecutionProvider"]
        if device.startswith("cuda") and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            providers.insert(0, "CUDAExecutionProvider")
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), settings, providers=providers)
        except Exception as error:
            raise ModelError(f"{path.name} can't be loaded as an ONNX model: {str(error)[:200]}") from error
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4:
            shapes = [item.shape for item in inputs]
            raise ModelError(f"{path.name} has inputs {shapes}; one of four dimensions is expected (pictures)")
        self._input = inputs[0].name
        meta = {key: _value(text) for key, text in self._session.get_modelmeta().custom_metadata_map.items()}
        outputs = [list(item.shape) for item in self._session.get_outputs()]
        self.spec = _spec(path.name, inputs[0].shape, outputs, meta, options, self._input)

    def run(self, planes: Planes) -> list[Planes]:
        """Run over (band, row, col) float32 planes of any size; returns (class, row, col) probabilities per output.

        A model of a fixed input size is slid over the planes with an eighth of overlap, means where tiles overlap.
        """
        _, height, width = planes.shape
        tile_h, tile_w = self.spec.tile or (min(height, _FREE_TILE_PX), min(width, _FREE_TILE_PX))
        sums: list[Planes] = []
        weight = np.zeros((height, width), dtype=np.float32)
        for top in _starts(height, tile_h):
            for left in _starts(width, tile_w):
                part = planes[:, top : top + tile_h, left : left + tile_w]
                rows, cols = part.shape[1:]
                pad = ((0, 0), (0, tile_h - rows), (0, tile_w - cols))
                found = self._tile(np.pad(part, pad, mode="edge") if pad[1][1] or pad[2][1] else part)
                if not sums:
                    sums = [np.zeros((f.shape[0], height, width), np.float32) for f in found]
                for total, one in zip(sums, found, strict=True):
                    total[:, top : top + rows, left : left + cols] += one[:, :rows, :cols]
                weight[top : top + rows, left : left + cols] += 1
        return [total / weight for total in sums]

    def boxes(self, planes: Planes) -> Planes:
        """Run a detector over planes that are padded to its input; returns (n, 5 + classes): x, y, w, h, objectness, …

        Coordinates are px of the planes; objectness is 1 where the model has none.
        """
        _, height, width = planes.shape
        size = self.spec.tile or (-(-height // 32) * 32, -(-width // 32) * 32)
        found = []
        for top in _starts(height, size[0]):
            for left in _starts(width, size[1]):
                part = planes[:, top : top + size[0], left : left + size[1]]
                pad = ((0, 0), (0, size[0] - part.shape[1]), (0, size[1] - part.shape[2]))
                out = np.asarray(self._raw(np.pad(part, pad, mode="edge"))[0][0], dtype=np.float32)
                count = len(self.spec.names[0])
                if out.shape[0] in (4 + count, 5 + count) and out.shape[1] not in (4 + count, 5 + count):
                    out = out.T
                if out.shape[1] == 4 + count:
                    out = np.concatenate([out[:, :4], np.ones((len(out), 1), np.float32), out[:, 4:]], axis=1)
                out[:, 0] += left
                out[:, 1] += top
                found.append(out)
        return np.concatenate(found)

    def _raw(self, planes: Planes) -> list[Any]:
        batch = planes[None] if self.spec.layout == "nchw" else np.moveaxis(planes, 0, -1)[None]
        try:
            return list(self._session.run(None, {self._input: np.ascontiguousarray(batch, dtype=np.float32)}))
        except Exception as error:
            raise ModelError(f"the ONNX model failed: {str(error)[:200]}") from error

    def _tile(self, planes: Planes) -> list[Planes]:
        import cv2

        out = []
        for raw in self._raw(planes):
            array = np.asarray(raw, dtype=np.float32)[0]
            if array.ndim == 2:
                array = array[None]
            elif self.spec.layout == "nhwc":
                array = np.moveaxis(array, -1, 0)
            if self.spec.logits:
                shifted = np.exp(array - array.max(axis=0, keepdims=True))
                array = shifted / shifted.sum(axis=0, keepdims=True)
            if array.shape[1:] != planes.shape[1:]:
                # Valid convolutions give a smaller picture: it covers the middle of the input.
                lost = planes.shape[1] - array.shape[1], planes.shape[2] - array.shape[2]
                if 0 <= lost[0] < 64 and 0 <= lost[1] < 64:
                    before = lost[0] // 2, lost[1] // 2
                    pad = ((0, 0), (before[0], lost[0] - before[0]), (before[1], lost[1] - before[1]))
                    array = np.pad(array, pad, mode="edge")
                else:
                    size = (planes.shape[2], planes.shape[1])
                    array = np.stack([cv2.resize(p, size, interpolation=cv2.INTER_LINEAR) for p in array])
            out.append(array)
        return out


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _starts(length: int, tile: int) -> list[int]:
    if length <= tile:
        return [0]
    step = max(1, tile - tile // 8)
    return [*range(0, length - tile, step), length - tile]


def _spec(
    name: str,
    shape: Sequence[Any],
    outputs: list[list[Any]],
    meta: Mapping[str, Any],
    options: Mapping[str, Any],
    input_name: str,
) -> OnnxSpec:
    kind = str(options.get("task") or meta.get("model_type") or "segmentation").lower()
    if any(word in kind for word in _REFUSED):
        raise ModelError(f"{name} is a model of kind {kind!r}; regions come from segmentation or detection models only")
    task: Task = "detection" if kind.startswith("detect") else "segmentation"
    layout = "nhwc" if isinstance(shape[-1], int) and shape[-1] <= 32 and not _small(shape[1]) else "nchw"
    rows, cols = (shape[1], shape[2]) if layout == "nhwc" else (shape[2], shape[3])
    channels = shape[-1] if layout == "nhwc" else shape[1]
    if not isinstance(channels, int):
        raise ModelError(f"{name} does not say how many bands it takes (input {list(shape)}); fix that number")
    dynamic_world = input_name == "s2" and channels == len(_DW_BANDS) and layout == "nhwc"
    if task == "segmentation" and any(len(out) not in (3, 4) for out in outputs):
        raise ModelError(f"{name} gives outputs {outputs}; a segmentation gives (batch, class, row, col)")
    classes = options.get("classes") or (list(_DW_NAMES) if dynamic_world else meta.get("class_names"))
    return OnnxSpec(
        task=task,
        names=_names(classes, outputs, layout, task),
        layout=layout,
        channels=channels,
        tile=(rows, cols) if isinstance(rows, int) and isinstance(cols, int) else None,
        bands=tuple(options.get("bands") or (_DW_BANDS if dynamic_world else ())),
        normalise=str(options.get("normalise") or ("dynamicworld" if dynamic_world else "unit")),
        mean=tuple(options.get("mean") or meta.get("standardization_mean") or ()),
        std=tuple(options.get("std") or meta.get("standardization_std") or ()),
        threshold=float(options.get("threshold") or meta.get("seg_thresh") or meta.get("det_conf") or 0.5),
        iou=float(options.get("iou") or meta.get("det_iou_thresh") or 0.5),
        resolution_m=_resolution(options, meta, dynamic_world),
        logits=bool(options.get("logits", dynamic_world)),
        facts=dict(meta),
    )


def _small(size: Any) -> bool:
    return isinstance(size, int) and size <= 32


def _resolution(options: Mapping[str, Any], meta: Mapping[str, Any], dynamic_world: bool) -> float | None:
    if options.get("resolution_m"):
        return float(options["resolution_m"])
    if meta.get("resolution"):
        return float(meta["resolution"]) / 100  # Deepness writes centimetres
    return 10.0 if dynamic_world else None


def _names(classes: Any, outputs: list[list[Any]], layout: str, task: Task) -> tuple[tuple[str, ...], ...]:
    given = classes if isinstance(classes, list) and classes and isinstance(classes[0], Mapping) else [classes]
    names = []
    for number, output in enumerate(outputs[:1] if task == "detection" else outputs):
        found = given[number] if number < len(given) else None
        if isinstance(found, Mapping):
            ordered = [str(found[key]) for key in sorted(found, key=int)]
        else:
            ordered = [str(item) for item in found or ()]
        axis = -1 if layout == "nhwc" else 1
        count = output[axis] if len(output) == 4 and isinstance(output[axis], int) and task != "detection" else 1
        names.append(tuple(ordered or [f"class {i}" for i in range(count)]))
    return tuple(names)


def _column(values: Sequence[float]) -> Planes:
    return np.asarray(values, dtype=np.float32)[:, None, None]


def normalised(planes: npt.NDArray[Any], spec: OnnxSpec) -> Planes:
    """Return planes as the model learned to see them, float32; values that are not finite become 0 first."""
    x = np.nan_to_num(np.asarray(planes, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    if spec.normalise == "dynamicworld":
        mean, std = _column(_DW_MEAN), _column(_DW_STD)
        scaled = np.exp((np.log(np.maximum(x, 0) * np.float32(0.005) + 1) - mean) / std * 5 - 1)
        return np.asarray(scaled / (scaled + 1), dtype=np.float32)
    if spec.normalise == "unit":
        x = x / np.float32(255)
    if spec.mean:
        x = x - _column(spec.mean)
    if spec.std:
        x = x / _column(spec.std)
    return x
