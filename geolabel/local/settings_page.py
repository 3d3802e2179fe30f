"""Write the settings page from the code: ``python -m geolabel.local.settings_page docs/settings.md``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from geolabel.settings import ALIASES, PREFIX, Group, Settings

HEAD = """# Settings

<!-- Written by `make docs` from geolabel/settings.py; a test checks that it is current. -->

Settings come from the environment, from a file `.env` in the current folder, and from what `geolabel up` keeps in
`<state_dir>/env` (its ports and secrets). The first of these that has a value wins. A name with our prefix that is not
in this page is refused, with the nearest names that are. Lists are written with commas.
"""


def page() -> str:
    """Return the whole page."""
    parts = [HEAD, _table("General", [(f"{PREFIX}{name}".upper(), field) for name, field in _plain()])]
    for name, field in Settings.model_fields.items():
        group = field.annotation
        if isinstance(group, type) and issubclass(group, Group):
            rows = [(f"{PREFIX}{name}__{inner}".upper(), value) for inner, value in group.model_fields.items()]
            parts.append(_table((group.__doc__ or name).strip().splitlines()[0].rstrip("."), rows))
    return "\n".join(parts)


def _plain() -> list[tuple[str, FieldInfo]]:
    return [(name, field) for name, field in Settings.model_fields.items() if not _is_group(field)]


def _is_group(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, Group)


def _table(title: str, rows: list[tuple[str, FieldInfo]]) -> str:
    lines = [f"## {title}", "", "| name | default | what it is |", "|---|---|---|"]
    lines += [f"| `{name}`{_alias(name)} | {_default(field)} | {field.description} |" for name, field in rows]
    return "\n".join([*lines, ""])


def _alias(name: str) -> str:
    for alias, path in ALIASES.items():
        if name == f"{PREFIX}{'__'.join(path)}".upper():
            return f" or `{alias}`"
    return ""


def _default(field: FieldInfo) -> str:
    value: Any = field.get_default(call_default_factory=True)
    if hasattr(value, "get_secret_value"):
        value = value.get_secret_value()
    if value in ("", [], None):
        return "–"
    return f"`{','.join(value) if isinstance(value, list) else value}`"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), "utf-8")
