"""All samplers by name; third-party ones come by the entry point group ``geolabel.samplers``."""

from __future__ import annotations

from geolabel.plugins import Registry
from geolabel.sample.candidates import Sampler

DEFAULT = "mix"
BUILTIN_SAMPLERS: dict[str, str] = {
    "random": "geolabel.sample.single:random",
    "entropy": "geolabel.sample.single:entropy",
    "margin": "geolabel.sample.single:margin",
    "least-confidence": "geolabel.sample.single:least_confidence",
    "committee": "geolabel.sample.single:committee",
    "core-set": "geolabel.sample.covering:core_set",
    "badge": "geolabel.sample.covering:badge",
    "typiclust": "geolabel.sample.covering:typiclust",
    "prob-cover": "geolabel.sample.covering:prob_cover",
    "class-balanced": "geolabel.sample.spread:class_balanced",
    "spatially-spread": "geolabel.sample.spread:spatially_spread",
    "mix": "geolabel.sample.mix:mix",
}
SAMPLERS: Registry[Sampler] = Registry("geolabel.samplers", BUILTIN_SAMPLERS)
