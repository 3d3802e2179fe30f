"""Which predictors and feature extractors there are, and one loaded instance of each per process and device."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from geolabel.errors import PluginError
from geolabel.plugins import Registry, boundary
from geolabel.predict.contract import PREDICTOR_API, FeatureExtractor, Predictor

PredictorFactory: TypeAlias = Callable[..., Predictor]
ExtractorFactory: TypeAlias = Callable[..., FeatureExtractor]

#: name -> "module:factory"; a factory takes keyword options and loads nothing. Plugins: entry points of the same group.
BUILTIN_PREDICTORS: dict[str, str] = {
    "text": "geolabel.predict.sam_predictors:text_predictor",
    "exemplar": "geolabel.predict.sam_predictors:exemplar_predictor",
    "vector_prior": "geolabel.predict.vector_prior:VectorPrior",
    "onnx": "geolabel.predict.onnx_predictor:OnnxPredictor",
    "sam_automatic": "geolabel.predict.sam_predictors:SamAutomatic",
    "fewshot": "geolabel.predict.fewshot:FewShotPredictor",
    "regions": "geolabel.predict.regions:RegionPredictor",
}
BUILTIN_EXTRACTORS: dict[str, str] = {
    "transformers": "geolabel.predict.backbones:TransformersFeatures",
    "timm": "geolabel.predict.backbones:TimmFeatures",
    "torchgeo": "geolabel.predict.backbones:TorchGeoFeatures",
    "sam": "geolabel.predict.backbones:SamFeatures",
    "classical": "geolabel.predict.features:ClassicalFeatures",
}

PREDICTORS: Registry[PredictorFactory] = Registry("geolabel.predictors", BUILTIN_PREDICTORS)
EXTRACTORS: Registry[ExtractorFactory] = Registry("geolabel.extractors", BUILTIN_EXTRACTORS)


class LoadedModels:
    """Loaded predictors of this process: each (name, options, device) is loaded once, whoever asks first.

    Two threads that ask for the same model wait for one load; two different models load side by side. A load that
    failed is tried again by the next caller.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slots: dict[tuple[str, str, str], _Slot] = {}

    def get(self, name: str, device: str = "cpu", options: Mapping[str, Any] | None = None) -> Predictor:
        """Return the loaded predictor.

        Raises:
            NotFoundError: no predictor has this name.
            ModelError: its weights can't be loaded.
            PluginError: it broke its contract or failed in a way of its own.
        """
        slot = self._slot(name, device, options)
        with slot.lock:
            if slot.predictor is None:
                predictor = make_predictor(name, options)
                with boundary("predictor", name):
                    predictor.load(device)
                slot.predictor = predictor
            return slot.predictor

    def loaded(self) -> list[str]:
        """Name what is in memory, as "name@device"."""
        with self._lock:
            return sorted(f"{key[0]}@{key[2]}" for key, slot in self._slots.items() if slot.predictor is not None)

    def _slot(self, name: str, device: str, options: Mapping[str, Any] | None) -> _Slot:
        key = (name, json.dumps(dict(options or {}), sort_keys=True), device)
        with self._lock:
            return self._slots.setdefault(key, _Slot())


class _Slot:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.predictor: Predictor | None = None


def make_predictor(name: str, options: Mapping[str, Any] | None = None) -> Predictor:
    """Make a predictor without loading it, and check what it says of itself.

    Raises:
        NotFoundError: no predictor has this name.
        PluginError: it can't be made, or speaks another version of the contract.
    """
    factory = PREDICTORS.get(name)
    with boundary("predictor", name):
        predictor = factory(**dict(options or {}))
        spec = predictor.spec
    if spec.api != PREDICTOR_API:
        raise PluginError(
            f"The predictor {name!r} speaks version {spec.api} of the contract; this GeoLabel speaks {PREDICTOR_API}. "
            "Install the release that fits."
        )
    return predictor


def make_extractor(name: str, options: Mapping[str, Any] | None = None) -> FeatureExtractor:
    """Make a feature extractor without loading it.

    Raises:
        NotFoundError: no extractor has this name.
        PluginError: it can't be made.
    """
    factory = EXTRACTORS.get(name)
    with boundary("extractor", name):
        return factory(**dict(options or {}))


def pick_device(wanted: str) -> str:
    """Return the device that "auto" stands for here; any other name is returned as it is."""
    if wanted != "auto":
        return wanted
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
