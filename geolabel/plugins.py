"""Registries of replaceable parts: built-ins and third-party entry points go through the same door.

Parts are named by strings (``"module:attribute"``) and imported on first use, so that listing them costs nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from geolabel.errors import GeoLabelError, NotFoundError, PluginError

T = TypeVar("T")


class Registry(Generic[T]):
    """The parts of one kind, by name.

    Args:
        group: Entry point group of third-party parts, for example ``"geolabel.exporters"``.
        builtin: Name to ``"module:attribute"``.
    """

    def __init__(self, group: str, builtin: Mapping[str, str]) -> None:
        self.group = group
        self._builtin = dict(builtin)
        self._targets: dict[str, str] | None = None
        self._loaded: dict[str, T] = {}

    @property
    def kind(self) -> str:
        """What the parts are called in messages: the group's last word, singular."""
        return self.group.rpartition(".")[2].removesuffix("s")

    def targets(self) -> dict[str, str]:
        """Map every name to its ``"module:attribute"``, nothing imported.

        Raises:
            PluginError: two parts claim one name.
        """
        if self._targets is None:
            targets = dict(self._builtin)
            for point in entry_points(group=self.group):
                if point.name in targets and targets[point.name] != point.value:
                    raise PluginError(
                        f"Two {self.kind}s are called {point.name!r}: {targets[point.name]} and {point.value}. "
                        "Uninstall or rename one."
                    )
                targets[point.name] = point.value
            self._targets = targets
        return self._targets

    def names(self) -> list[str]:
        """List all names, sorted."""
        return sorted(self.targets())

    def __contains__(self, name: object) -> bool:
        return name in self.targets()

    def get(self, name: str) -> T:
        """Import and return a part.

        Raises:
            NotFoundError: there is none of that name.
            PluginError: it can't be imported.
        """
        if name not in self._loaded:
            target = self.targets().get(name)
            if target is None:
                raise NotFoundError(f"There is no {self.kind} {name!r}. There are: {', '.join(self.names())}.")
            with boundary(self.kind, name):
                self._loaded[name] = load_target(target)
        return self._loaded[name]


def load_target(target: str) -> Any:
    """Import ``"module:attribute"``."""
    module, _, attribute = target.partition(":")
    loaded: Any = importlib.import_module(module)
    for part in attribute.split("."):
        loaded = getattr(loaded, part)
    return loaded


@contextmanager
def boundary(kind: str, name: str) -> Iterator[None]:
    """Turn whatever a part raises into a :class:`PluginError` that keeps the cause; our own errors pass."""
    try:
        yield
    except GeoLabelError:
        raise
    except Exception as error:
        raise PluginError(f"The {kind} {name!r} failed: {type(error).__name__}: {error}") from error
