"""Rules of CONTRIBUTING.md that a machine can check."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PRODUCT = sorted(path for folder in ("geolabel", "ml_backend", "workers") for path in (ROOT / folder).rglob("*.py"))
EVERYTHING = sorted([*PRODUCT, *(ROOT / "tests").rglob("*.py"), *(ROOT / "bench").rglob("*.py")])
FILE_LINES, FUNCTION_LINES = 500, 60
REFUSED_NAMES = {"utils", "util", "common", "helpers", "helper", "misc"}


def _id(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", EVERYTHING, ids=_id)
def test_files_are_short_and_named_by_their_subject(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= FILE_LINES
    assert path.stem not in REFUSED_NAMES


@pytest.mark.parametrize("path", PRODUCT, ids=_id)
def test_functions_are_short_and_only_settings_read_the_environment(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < FUNCTION_LINES, f"{node.name} at line {node.lineno}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            reads = node.attr in {"environ", "getenv", "environb"}
            assert not reads or path.name == "settings.py", f"environment read at line {node.lineno}"
