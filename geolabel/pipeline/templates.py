"""Label templates: folders of `ls_configs` with a taxonomy and the label config written from it."""

from __future__ import annotations

from pathlib import Path

import yaml

from geolabel.core.taxonomy import Taxonomy
from geolabel.errors import NotFoundError, TaxonomyError
from geolabel.labelstudio.config import LabelConfig, build_config

TEMPLATES = Path(__file__).parent.parent.parent / "ls_configs"
#: Whole images are covered there: bitmasks keep holes, and clicks on single things would only fill the bar.
_BITMASK_TEMPLATES = frozenset({"land-cover"})


def template_names(folder: Path = TEMPLATES) -> list[str]:
    """List the templates."""
    return sorted(path.parent.name for path in folder.glob("*/taxonomy.yaml"))


def read_taxonomy(path: Path) -> Taxonomy:
    """Read a taxonomy file.

    Raises:
        NotFoundError: there is no such file.
        TaxonomyError: it is no YAML, or no taxonomy.
    """
    if not path.is_file():
        raise NotFoundError(f"there is no taxonomy {path}; templates are {', '.join(template_names()) or 'none'}")
    try:
        value = yaml.safe_load(path.read_text("utf-8"))
    except yaml.YAMLError as error:
        raise TaxonomyError(f"{path} is no YAML: {error}") from error
    if not isinstance(value, dict):
        raise TaxonomyError(f"{path} holds a {type(value).__name__}; it must hold name, version and classes")
    return Taxonomy.from_json(value)


def template_taxonomy(name: str, folder: Path = TEMPLATES) -> Taxonomy:
    """Return the taxonomy of a template."""
    return read_taxonomy(folder / name / "taxonomy.yaml")


def template_xml(name: str, folder: Path = TEMPLATES) -> str:
    """Return the label config that a template's taxonomy gives: its own builder's where it has one."""
    taxonomy = template_taxonomy(name, folder)
    covering = name in _BITMASK_TEMPLATES
    return build_config(taxonomy, mask="bitmask" if covering else "brush", prompts=not covering)


def build_templates(folder: Path = TEMPLATES) -> list[str]:
    """Write every generated config.xml; return the names of those that changed."""
    changed = []
    for name in template_names(folder):
        path = folder / name / "config.xml"
        if _is_hand_made(path):
            continue
        xml = template_xml(name, folder)
        if not path.is_file() or path.read_text("utf-8") != xml:
            path.write_text(xml, "utf-8")
            changed.append(name)
    return changed


def check_templates(folder: Path = TEMPLATES) -> list[str]:
    """Return a sentence for every template whose config and taxonomy disagree."""
    wrong = []
    for name in template_names(folder):
        path = folder / name / "config.xml"
        if not path.is_file():
            wrong.append(f"{name} has no config.xml; run `geolabel configs build`")
        elif _is_hand_made(path):
            wrong += _compare(name, LabelConfig.parse(path.read_text("utf-8")), template_taxonomy(name, folder))
        elif path.read_text("utf-8") != template_xml(name, folder):
            wrong.append(f"{name}/config.xml is not what its taxonomy gives; run `geolabel configs build`")
    return wrong


def _is_hand_made(path: Path) -> bool:
    # A template with more than one image or a layout of its own is written by hand and compared by its classes only.
    return path.is_file() and "<!-- by hand -->" in path.read_text("utf-8")


def _compare(name: str, config: LabelConfig, taxonomy: Taxonomy) -> list[str]:
    offered, wanted = set(config.labels()), set(taxonomy.names())
    if offered == wanted:
        return []
    return [f"{name}/config.xml offers {sorted(offered)}; its taxonomy has {sorted(wanted)}"]
