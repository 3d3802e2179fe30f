"""Rules of CONTRIBUTING.md that a machine can check."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PRODUCT = sorted(path for folder in ("geolabel", "ml_backend", "workers") for path in (ROOT / folder).rglob("*.py"))
EVERYTHING = sorted([*PRODUCT, *(ROOT / "tests").rglob("*.py"), *(ROOT / "bench").rglob("*.py")])
FILE_LINES, FUNCTION_LINES = 500, 60
ENVIRONMENT = {"environ", "getenv", "environb"}
REFUSED_NAMES = {"utils", "util", "common", "helpers", "helper", "misc"}


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_files_are_short_and_named_by_their_subject() -> None:
    long = [_name(path) for path in EVERYTHING if len(path.read_text("utf-8").splitlines()) > FILE_LINES]
    assert not long, f"more than {FILE_LINES} lines"
    assert not [_name(path) for path in EVERYTHING if path.stem in REFUSED_NAMES]


def test_functions_are_short_and_only_settings_read_the_environment() -> None:
    long, reading = [], []
    for path in PRODUCT:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            where = f"{_name(path)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _body_lines(node) > FUNCTION_LINES:
                long.append(f"{where} {node.name}: {_body_lines(node)} lines")
            is_os = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os"
            if is_os and node.attr in ENVIRONMENT and path.name != "settings.py":
                reading.append(where)
    assert not long, f"more than {FUNCTION_LINES} lines"
    assert not reading, "only settings.py reads the environment"


def _body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the first statement to the last: a long list of documented options is not a long function."""
    body = node.body[1:] if ast.get_docstring(node) is not None and len(node.body) > 1 else node.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1
