"""Generated pages are current, and pages name only files and settings that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from geolabel.local.settings_page import page
from geolabel.settings import ALIASES, COMPOSE_NAMES, variable_names

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])


def test_the_settings_page_is_what_the_code_says() -> None:
    assert (ROOT / "docs" / "settings.md").read_text("utf-8") == page(), "run `make docs`"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_between_pages_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text("utf-8")):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_settings_named_in_pages_exist(path: Path) -> None:
    known = {*variable_names(), *ALIASES, *COMPOSE_NAMES}
    for name in re.findall(r"\bGEOLABEL_[A-Z_]*[A-Z]\b", path.read_text("utf-8")):
        if not name.startswith("GEOLABEL_TEST_"):
            assert name in known or any(one.startswith(f"{name}__") for one in known), name
