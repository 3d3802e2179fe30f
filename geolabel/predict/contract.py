"""What a predictor and a feature extractor are: the values they take and give, and what they promise.

A predictor is made once per process and device: ``load`` brings the weights in, ``predict`` is then called with batches
of chips. It never fetches anything about a project itself: taxonomy, trained head, prompts and exemplars come in
:class:`PredictContext`, so one loaded predictor serves every project at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from geolabel.core.labels import Region
from geolabel.core.scene import Band, Chip, Scene
from geolabel.core.taxonomy import Taxonomy
from geolabel.errors import GeoLabelError

PREDICTOR_API = 1

PromptKind: TypeAlias = Literal["none", "text", "exemplar", "point", "box", "mask"]
Pixels: TypeAlias = npt.NDArray[Any]
Rgb: TypeAlias = npt.NDArray[np.uint8]
Valid: TypeAlias = npt.NDArray[np.bool_]
FeatureArray: TypeAlias = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictorSpec:
    """What a predictor is and needs; read before anything is loaded.

    Attributes:
        name: As registered; part of the model version that Label Studio shows.
        version: Changes whenever the same input may give another output.
        api: Version of this contract that it was written for.
        bands: Names of the bands it reads, in order ("red", "green", "nir"); empty: any bands, or the rendered RGB.
        min_bands: Fewest bands a chip must have.
        gsd_m: Smallest and largest ground size of a pixel that it works on, metres, or None for any.
        prompts: Kinds of prompts it takes; ("none",) for one that only looks at the picture.
        class_aware: Whether its regions carry class names; otherwise a region classifier gives them.
        trained: Whether it needs a head trained on the project's annotations.
        presence_gate: Whether one score per chip can silence all its regions (SAM 3); the chain watches such models.
        memory_bytes: Memory of weights and one batch on its device, roughly.
        max_batch: Most chips in one call of `predict`.
    """

    name: str
    version: str
    api: int = PREDICTOR_API
    bands: tuple[str, ...] = ()
    min_bands: int = 1
    gsd_m: tuple[float, float] | None = None
    prompts: tuple[PromptKind, ...] = ("none",)
    class_aware: bool = True
    trained: bool = False
    presence_gate: bool = False
    memory_bytes: int = 0
    max_batch: int = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipInput:
    """One chip as predictors get it.

    Attributes:
        chip: The chip.
        scene: Its scene, or None when it isn't registered here (then `bands` has generic names).
        pixels: (band, row, col) raw values in the raster's own dtype; may hold NaN where `valid` is False.
        valid: (row, col) bool, True where there is data.
        rgb: (row, col, 3) uint8, what the annotator saw; 0 where there is no data.
        bands: One per plane of `pixels`.
        task_id: Of Label Studio, or None; for messages only.
    """

    chip: Chip
    scene: Scene | None
    pixels: Pixels
    valid: Valid
    rgb: Rgb
    bands: tuple[Band, ...] = ()
    task_id: int | None = None

    @property
    def height(self) -> int:
        """Rows, px."""
        return int(self.rgb.shape[0])

    @property
    def width(self) -> int:
        """Columns, px."""
        return int(self.rgb.shape[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Exemplar:
    """One labelled object of the project that shows a model what a class looks like.

    Attributes:
        label: Class name.
        chip: The chip it lies on.
        box_px: (xmin, ymin, xmax, ymax) on that chip, px.
        mask: (row, col) bool on that chip, or None when only the box is known.
    """

    label: str
    chip: ChipInput
    box_px: tuple[float, float, float, float]
    mask: Valid | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictContext:
    """What of the project a predictor may use.

    Attributes:
        project_id: Label Studio's project id.
        taxonomy: Its classes with prompts, thresholds and smallest areas.
        heads: Trained heads of the project by predictor name, e.g. {"fewshot": PixelHead}.
        exemplars: Labelled objects for models that take them.
        options: Free options of this predictor (JSON types).
    """

    project_id: str
    taxonomy: Taxonomy
    heads: Mapping[str, Any] = field(default_factory=dict)
    exemplars: tuple[Exemplar, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def prompts(self) -> dict[str, tuple[str, ...]]:
        """Return the texts to ask for, per class name: its prompts, or its name in plain words."""
        return {
            label_class.name: label_class.prompts or (label_class.name.replace("_", " ").lower(),)
            for label_class in self.taxonomy.classes
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipPrediction:
    """What a predictor says of one chip.

    Attributes:
        chip_id: Of the chip asked.
        regions: In chip px, each with class name ("" when not class-aware), raw score 0 to 1 and computed id.
        score: 0 to 1: how sure the model is of the whole chip; low is worth labelling first. None: unknown.
        reason: One sentence for people: what was done, or why there is nothing.
        uncertainty: (row, col) float16, 0 to 1 per pixel, or None.
        silenced: A presence gate suppressed regions of this chip that the pixels alone supported.
        error: Sentence when this chip failed; then there are no regions.
        facts: Further values (JSON types): counts of what was dropped and why.
    """

    chip_id: str
    regions: tuple[Region, ...] = ()
    score: float | None = None
    reason: str = ""
    uncertainty: npt.NDArray[np.float16] | None = None
    silenced: bool = False
    error: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Predictor(Protocol):
    """A model behind the contract.

    ``load`` is called once per process and device before the first ``predict``, never while Label Studio waits for
    ``/setup``. ``predict`` answers one :class:`ChipPrediction` per chip, in order; it may be called from any thread,
    one call at a time. A single chip that can't be predicted is answered with ``error`` set; only what makes every chip
    impossible (missing weights, wrong checkpoint) is raised, as a ModelError.
    """

    @property
    def spec(self) -> PredictorSpec:
        """What it is and needs."""
        ...

    def load(self, device: str) -> None:
        """Bring weights onto "cpu", "cuda", "cuda:1" or "mps".

        Raises:
            ModelError: weights are missing, damaged or of another architecture.
        """
        ...

    def predict(self, batch: Sequence[ChipInput], context: PredictContext) -> list[ChipPrediction]:
        """Predict up to `spec.max_batch` chips of any size and dtype."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureMap:
    """Features of one chip.

    Attributes:
        array: (h, w, k) float16 or float32; finite.
        stride_px: Chip pixels per cell; 1 for one vector a pixel. Cell (i, j) covers the rows from i·stride_px on.
        names: k names, or empty when the channels have no meaning of their own.
    """

    array: FeatureArray
    stride_px: float = 1.0
    names: tuple[str, ...] = ()


@runtime_checkable
class FeatureExtractor(Protocol):
    """Turns a chip into features for few-shot heads, region classifiers and embeddings."""

    @property
    def name(self) -> str:
        """As registered."""
        ...

    @property
    def version(self) -> str:
        """Changes whenever the same chip may give other features; part of the cache's key."""
        ...

    def load(self, device: str) -> None:
        """Bring weights in, once per process and device."""
        ...

    def features(self, chip: ChipInput) -> FeatureMap:
        """Return one vector per pixel or per cell."""
        ...

    def pooled(self, chip: ChipInput) -> npt.NDArray[np.float32]:
        """Return one (k,) vector for the whole chip."""
        ...


def predict_each(batch: Sequence[ChipInput], one: Callable[[ChipInput], ChipPrediction]) -> list[ChipPrediction]:
    """Predict chips one by one; a chip that fails gets an entry with its error and never costs the others."""
    out = []
    for chip in batch:
        try:
            out.append(one(chip))
        except (GeoLabelError, ValueError, MemoryError) as error:
            out.append(ChipPrediction(chip_id=chip.chip.id, score=0.0, error=str(error) or type(error).__name__))
    return out
