"""The brush module of label-studio-sdk, as a judge: the file alone, since importing the package takes ten seconds."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType


@cache
def sdk_brush() -> ModuleType:
    """Load `label_studio_sdk.converter.brush` without the rest of the package."""
    package = find_spec("label_studio_sdk")
    assert package is not None
    assert package.submodule_search_locations is not None
    path = Path(package.submodule_search_locations[0]) / "converter" / "brush.py"
    spec = spec_from_file_location("label_studio_sdk_brush", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
