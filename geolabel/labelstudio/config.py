"""Label configs: what a project's XML offers, and the XML and taxonomy that belong together."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from geolabel.core.shapes import ShapeKind
from geolabel.core.taxonomy import LabelClass, Taxonomy
from geolabel.errors import TaxonomyError

#: Region types of Label Studio with labels of their own, and the shapes each one can carry.
CARRIES: dict[str, tuple[ShapeKind, ...]] = {
    "polygonlabels": ("polygon", "multipolygon"),
    "rectanglelabels": ("box", "rotated_box"),
    "ellipselabels": ("ellipse",),
    "keypointlabels": ("point",),
    "vectorlabels": ("line",),
    "brushlabels": ("mask",),
    "bitmasklabels": ("mask",),
}
#: Plain geometry tags, which take their class from a <Labels> tag.
PLAIN = {name.removesuffix("labels"): kinds for name, kinds in CARRIES.items()}
#: Tags that put values on a region or an image.
ATTRIBUTE_TAGS = frozenset({"choices", "textarea", "number", "rating", "datetime", "taxonomy", "pairwise", "ranker"})
_COLOURS = (
    "#e6194b",
    "#3cb44b",
    "#4363d8",
    "#f58231",
    "#911eb4",
    "#46f0f0",
    "#f032e6",
    "#bcf60c",
    "#008080",
    "#9a6324",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelTag:
    """One label of a control: its value (what results carry: the alias where one is given) and all attributes."""

    value: str
    attributes: Mapping[str, str]

    @property
    def predicted_values(self) -> tuple[str, ...]:
        """Names of a foreign model's classes that this label stands for (attribute `predicted_values`)."""
        return tuple(v.strip() for v in self.attributes.get("predicted_values", "").split(",") if v.strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """One control tag.

    Attributes:
        name: What results carry as `from_name`.
        to_name: Object tag that it works on.
        type: Lower-case tag name, which results carry as `type`.
        labels: Its labels or choices.
        attributes: All XML attributes.
    """

    name: str
    to_name: str
    type: str
    labels: tuple[LabelTag, ...]
    attributes: Mapping[str, str]

    @property
    def smart(self) -> bool:
        """Whether it is a smart tool (prompts for the backend)."""
        return self.attributes.get("smart", "false").lower() == "true"

    @property
    def smart_only(self) -> bool:
        """Whether it exists for prompts alone and never holds a final label."""
        return self.smart and self.attributes.get("smartonly", self.attributes.get("smartOnly", "")).lower() == "true"

    @property
    def score_threshold(self) -> float | None:
        """The attribute `model_score_threshold` (or `score_threshold`), 0 to 1, or None.

        Raises:
            TaxonomyError: it is no number from 0 to 1.
        """
        text = self.attributes.get("model_score_threshold", self.attributes.get("score_threshold"))
        if text is None:
            return None
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0.0 <= value <= 1.0:
            raise TaxonomyError(f"control {self.name!r} has model_score_threshold={text!r}; it must be from 0 to 1")
        return value

    def has(self, label: str) -> bool:
        """Tell whether this control offers the label."""
        return any(tag.value == label for tag in self.labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelConfig:
    """A parsed label config.

    Attributes:
        xml: The text.
        controls: In document order.
        image: Name of the image tag that results go `to_name`.
        image_key: Key of `task.data` that holds the image address ("image" of value="$image").
        multi_image: Whether the image tag takes a list (valueList).
    """

    xml: str
    controls: tuple[Control, ...]
    image: str
    image_key: str
    multi_image: bool = False

    @classmethod
    def parse(cls, xml: str) -> LabelConfig:
        """Parse a label config.

        Raises:
            TaxonomyError: it is no XML, holds no image, or a control lacks its name.
        """
        return _parse(xml)

    def label_controls(self) -> tuple[Control, ...]:
        """Return the controls that put a class on a region, prompts-only ones left out."""
        kinds = {*CARRIES, "labels"}
        return tuple(c for c in self.controls if c.type in kinds and not c.smart_only)

    def labels(self) -> tuple[str, ...]:
        """Return every class name, in document order, once."""
        return tuple(dict.fromkeys(tag.value for control in self.label_controls() for tag in control.labels))

    def control_for(self, kind: ShapeKind, label: str) -> Control | None:
        """Return the control that carries this shape kind and label exactly, a plain (not smart) one first."""
        found = [c for c in self.label_controls() if kind in CARRIES.get(c.type, ()) and c.has(label)]
        found.sort(key=lambda c: c.smart)
        return found[0] if found else None

    def plain_control(self, kind: ShapeKind) -> Control | None:
        """Return a plain geometry tag for this kind (used with a <Labels> tag)."""
        return next((c for c in self.controls if kind in PLAIN.get(c.type, ())), None)

    def labels_control(self, label: str) -> Control | None:
        """Return the <Labels> tag that offers the label."""
        return next((c for c in self.controls if c.type == "labels" and c.has(label)), None)

    def kinds_for(self, label: str) -> tuple[ShapeKind, ...]:
        """Return the shape kinds that regions of this label may have."""
        kinds: list[ShapeKind] = []
        for control in self.label_controls():
            if control.has(label):
                if control.type == "labels":
                    kinds += [kind for c in self.controls for kind in PLAIN.get(c.type, ())]
                else:
                    kinds += CARRIES[control.type]
        return tuple(dict.fromkeys(kinds))

    def taxonomy(self, name: str = "label config") -> Taxonomy:
        """Return the taxonomy that this config implies; ids follow document order."""
        classes = []
        for number, label in enumerate(self.labels(), start=1):
            tags = [tag for c in self.label_controls() for tag in c.labels if tag.value == label]
            colour = next((t.attributes["background"] for t in tags if _is_hex(t.attributes.get("background"))), None)
            prompts = next((t.attributes["prompt"] for t in tags if t.attributes.get("prompt")), "")
            classes.append(
                LabelClass(
                    id=number,
                    name=label,
                    colour=colour or _COLOURS[(number - 1) % len(_COLOURS)],
                    shapes=self.kinds_for(label) or ("polygon",),
                    prompts=tuple(p.strip() for p in prompts.split(",") if p.strip()),
                )
            )
        return Taxonomy(name=name, version="0", classes=tuple(classes))


def _is_hex(colour: str | None) -> bool:
    return bool(colour) and len(colour or "") == 7 and (colour or "").startswith("#")


@lru_cache(maxsize=256)
def _parse(xml: str) -> LabelConfig:
    if "<!DOCTYPE" in xml or "<!ENTITY" in xml:
        raise TaxonomyError("the label config declares a DOCTYPE or entities; Label Studio needs neither, remove them")
    try:
        root = ET.fromstring(xml)
    except ET.ParseError as error:
        raise TaxonomyError(f"the label config is no XML: {error}") from error
    controls, images = [], []
    for element in root.iter():
        tag = element.tag.lower()
        if tag == "image":
            images.append(element)
        elif "toName" in element.attrib or "toname" in element.attrib:
            controls.append(_control(element, tag))
    if not images:
        raise TaxonomyError("the label config has no <Image> tag; GeoLabel labels images, add <Image name=… value=…/>")
    image = images[0]
    value = image.get("valueList") or image.get("valuelist") or image.get("value") or "$image"
    return LabelConfig(
        xml=xml,
        controls=tuple(controls),
        image=image.get("name", "image"),
        image_key=value.lstrip("$").split(".")[0].split("[")[0] or "image",
        multi_image=bool(image.get("valueList") or image.get("valuelist")),
    )


def _control(element: ET.Element, tag: str) -> Control:
    name = element.get("name")
    if not name:
        raise TaxonomyError(f"a <{element.tag}> tag has no name; every control needs one")
    labels = []
    for child in element.iter():
        if child is not element and child.tag.lower() in ("label", "choice"):
            value = child.get("alias") or child.get("value")
            if value:
                labels.append(LabelTag(value=value, attributes=dict(child.attrib)))
    return Control(
        name=name,
        to_name=(element.get("toName") or element.get("toname") or "").split(",")[0],
        type=tag,
        labels=tuple(labels),
        attributes=dict(element.attrib),
    )


_TAGS: tuple[tuple[str, str, str, tuple[ShapeKind, ...]], ...] = (
    ("PolygonLabels", "polygon", "Outline", ("polygon", "multipolygon")),
    ("RectangleLabels", "box", "Box", ("box", "rotated_box")),
    ("EllipseLabels", "ellipse", "Ellipse", ("ellipse",)),
    ("KeyPointLabels", "point", "Point", ("point",)),
    ("VectorLabels", "line", "Line", ("line",)),
)
_BAR_STYLE = "display: flex; flex-wrap: wrap; column-gap: 20px; margin-bottom: -8px"
#: A square chip fits into the window below the bar, without scrolling; zooming works as ever.
_IMAGE_WIDTH = "calc(100vh - 290px)"
_GROUP_STYLE = "display: flex; align-items: center; column-gap: 8px"
_TITLE_STYLE = "font-size: 13px; font-weight: normal; margin: 0"


def build_config(taxonomy: Taxonomy, *, prompts: bool = True, mask: str = "brush", image: str = "$image") -> str:
    """Write the label config of a taxonomy: tools in one bar above the image, each with its name.

    Args:
        taxonomy: Classes; each appears in the controls of its shape kinds.
        prompts: Add smart key points and rectangles for clicks and boxes.
        mask: "brush" or "bitmask": control of classes with shape kind "mask".
        image: Value of the image tag.

    Returns:
        XML, the same text for the same taxonomy.
    """
    root = ET.Element("View")
    bar = ET.SubElement(root, "View", style=_BAR_STYLE)
    first = True
    for tag, name, title, kinds in _TAGS:
        chosen = [c for c in taxonomy.classes if set(kinds) & set(c.shapes)]
        extra: dict[str, str] = {"strokeWidth": "2", "opacity": "0.25"} if tag == "PolygonLabels" else {}
        # Numbers choose the label of the first tool; a key of another group would choose its tool as well.
        first = not _add_control(bar, tag, name, title, chosen, hotkeys=first, **extra) and first
    masks = [c for c in taxonomy.classes if "mask" in c.shapes]
    _add_control(bar, "BitmaskLabels" if mask == "bitmask" else "BrushLabels", "mask", "Brush", masks, hotkeys=first)
    if prompts:
        areal = [c for c in taxonomy.classes if set(c.shapes) & {"polygon", "multipolygon", "mask"}]
        _add_control(bar, "KeyPointLabels", "click", "Smart click", areal, smart="true", smartOnly="true")
        _add_control(bar, "RectangleLabels", "frame", "Smart box", areal, smart="true", smartOnly="true")
    ET.SubElement(
        root, "Image", name="image", value=image, zoom="true", zoomControl="true", rotateControl="false",
        brightnessControl="true", contrastControl="true", crossOrigin="anonymous", maxWidth=_IMAGE_WIDTH,
    )  # fmt: skip
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _add_control(
    bar: ET.Element, tag: str, name: str, title: str, classes: Iterable[LabelClass], *, hotkeys: bool = False,
    **attributes: str,
) -> bool:  # fmt: skip
    """Add a tool to the bar, if it has classes; tell whether it was added."""
    chosen = list(classes)
    if not chosen:
        return False
    group = ET.SubElement(bar, "View", style=_GROUP_STYLE)
    ET.SubElement(group, "Header", value=title, size="6", style=_TITLE_STYLE)
    control = ET.SubElement(group, tag, {"name": name, "toName": "image", **attributes})
    for number, label_class in enumerate(chosen, start=1):
        extra = {"hotkey": str(number)} if hotkeys and number <= 9 else {}
        ET.SubElement(control, "Label", {"value": label_class.name, "background": label_class.colour, **extra})
    return True
