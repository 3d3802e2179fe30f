"""The command line's frame: lazy verbs, sentences, exit statuses."""

from __future__ import annotations

import sys
import types

import pytest

from geolabel import errors
from geolabel.cli import app


def _verb(monkeypatch: pytest.MonkeyPatch, error: BaseException | None) -> None:
    module = types.ModuleType("geolabel_test_verb")
    module.__spec__ = types.SimpleNamespace(name="geolabel_test_verb")  # type: ignore[assignment]

    def verb(number: int = 1) -> None:
        if error is not None:
            raise error

    module.verb = verb  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "geolabel_test_verb", module)
    monkeypatch.setitem(app.VERBS, "verb", ("geolabel_test_verb:verb", "A verb."))


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, 0),
        (errors.InputError("Not a raster."), 2),
        (errors.ConfigError("Not a setting."), 2),
        (errors.NotFoundError("No project 7."), 3),
        (errors.AdapterError("Label Studio is down."), 4),
        (errors.NotReadyError("Not yet."), 4),
        (errors.ModelError("No weights."), 5),
        (ZeroDivisionError("by zero"), 5),
        (KeyboardInterrupt(), 130),
    ],
)
def test_an_error_is_one_sentence_and_a_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException | None, status: int
) -> None:
    _verb(monkeypatch, error)
    assert app.run(["verb"]) == status
    said = capsys.readouterr().err
    assert "Traceback" not in said
    if isinstance(error, errors.GeoLabelError):
        assert said == f"geolabel: {error.message}\n"


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _verb(monkeypatch, errors.InputError("Not a raster."))
    assert app.run(["--debug", "verb"]) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["no-such-verb"], ["verb", "--nmber", "1"], ["verb", "--number", "x"], ["--nope"]])
def test_wrong_usage_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    _verb(monkeypatch, None)
    assert app.run(words) == 2
    said = capsys.readouterr().err
    assert said.startswith("geolabel: ")
    assert "Traceback" not in said


def test_help_and_version_end_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["--help"]) == 0
    assert app.run([]) == 0
    assert app.run(["--version"]) == 0
    assert "geolabel 0." in capsys.readouterr().out


def test_every_listed_verb_can_be_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    from typer.main import get_command

    group = get_command(app.cli)
    for verb in group.list_commands(None):  # type: ignore[attr-defined]
        assert app.run([verb, "--help"]) == 0, verb
    assert "Usage" in capsys.readouterr().out
