"""The registry of replaceable parts."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import pytest

from geolabel import plugins
from geolabel.errors import NotFoundError, PluginError
from geolabel.plugins import Registry, boundary


def test_listing_imports_nothing() -> None:
    registry: Registry[Any] = Registry("geolabel.things", {"absent": "no_such_module:Thing"})
    assert registry.names() == ["absent"]
    assert "absent" in registry


def test_an_unknown_name_lists_what_there_is() -> None:
    registry: Registry[Any] = Registry("geolabel.things", {"one": "json:dumps", "two": "json:loads"})
    with pytest.raises(NotFoundError, match="no thing 'three'. There are: one, two"):
        registry.get("three")
    assert registry.get("one")([1]) == "[1]"


def test_a_part_that_cannot_be_imported_is_a_plugin_error_that_keeps_its_cause() -> None:
    registry: Registry[Any] = Registry("geolabel.things", {"broken": "no_such_module:Thing"})
    with pytest.raises(PluginError, match="'broken' failed: ModuleNotFoundError") as caught:
        registry.get("broken")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_two_parts_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint(name="one", value="json:loads", group="geolabel.things")
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point])
    registry: Registry[Any] = Registry("geolabel.things", {"one": "json:dumps"})
    with pytest.raises(PluginError, match="Two things are called 'one'"):
        registry.names()


def test_a_part_of_another_package_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint(name="other", value="json:loads", group="geolabel.things")
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point])
    registry: Registry[Any] = Registry("geolabel.things", {"one": "json:dumps"})
    assert registry.names() == ["one", "other"]
    assert registry.get("other")("[1]") == [1]


def test_our_own_errors_pass_the_boundary_unchanged() -> None:
    with pytest.raises(NotFoundError, match="gone"), boundary("thing", "one"):
        raise NotFoundError("gone")
