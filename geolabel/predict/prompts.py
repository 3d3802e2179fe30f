"""Prompts of people: clicks and boxes on a chip, and how single ones grow into the description of one object."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from geolabel.core.ids import new_region_id
from geolabel.errors import InputError

MAX_POINTS = 64
#: Smallest edge of a box that can mean something, px.
MIN_BOX_PX = 2.0
#: A negative click belongs to the object when it lies within its bounds widened by this share, or this many px.
_REACH_SHARE = 0.25
_REACH_PX = 8.0
BoxPx = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Click:
    """A key point in chip px; negative ones say "not this"."""

    x: float
    y: float
    positive: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What a person showed of one object.

    Attributes:
        label: Class name the answer gets; "" while none is chosen.
        clicks: In the order given.
        box: (xmin, ymin, xmax, ymax) in chip px, or None.
        tags: Names of the label config's controls that the prompts were drawn with.
    """

    label: str = ""
    clicks: tuple[Click, ...] = ()
    box: BoxPx | None = None
    tags: tuple[str, ...] = ()

    @property
    def positive(self) -> tuple[Click, ...]:
        """Clicks on the object."""
        return tuple(c for c in self.clicks if c.positive)

    @property
    def usable(self) -> bool:
        """Whether anything says where the object is (negative clicks alone do not)."""
        return bool(self.box or self.positive)

    def to_json(self) -> dict[str, Any]:
        """Return JSON types."""
        return {
            "label": self.label,
            "clicks": [[c.x, c.y, c.positive] for c in self.clicks],
            "box": list(self.box) if self.box else None,
            "tags": list(self.tags),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Prompt:
        """Rebuild from `to_json`.

        Raises:
            InputError: a field is missing or malformed.
        """
        try:
            box = value.get("box")
            return cls(
                label=str(value["label"]),
                clicks=tuple(Click(x=float(x), y=float(y), positive=bool(p)) for x, y, p in value["clicks"]),
                box=None if box is None else (float(box[0]), float(box[1]), float(box[2]), float(box[3])),
                tags=tuple(str(t) for t in value.get("tags", ())),
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(f"a kept prompt is malformed ({error!r}); click again") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The object that one person is describing on one task in one class.

    Attributes:
        region_id: Given to every answer, so that a better answer takes the place of the one before.
        prompt: Everything shown so far.
        bounds: Of the last answer in chip px, or None before the first.
    """

    region_id: str
    prompt: Prompt
    bounds: BoxPx | None = None

    def to_json(self) -> dict[str, Any]:
        """Return JSON types."""
        return {
            "region_id": self.region_id,
            "prompt": self.prompt.to_json(),
            "bounds": list(self.bounds) if self.bounds else None,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Session:
        """Rebuild from `to_json`.

        Raises:
            InputError: a field is missing or malformed.
        """
        try:
            bounds = value.get("bounds")
            return cls(
                region_id=str(value["region_id"]),
                prompt=Prompt.from_json(value["prompt"]),
                bounds=None if bounds is None else (bounds[0], bounds[1], bounds[2], bounds[3]),
            )
        except (KeyError, TypeError, IndexError) as error:
            raise InputError(f"a kept prompt is malformed ({error!r}); click again") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPrompts:
    """Prompts as they came: the prompt, and a sentence for everything that could not be used."""

    prompt: Prompt
    problems: tuple[str, ...] = field(default_factory=tuple)


def read_prompts(results: Sequence[Mapping[str, Any]], *, width_px: int, height_px: int) -> ReadPrompts:
    """Read the `params.context.result` of a request: key points and rectangles in percent of the image.

    Coordinates are placed on the chip of our own size, never on the size the browser reports. A box that reaches
    outside is cut at the edge.

    Args:
        results: Regions in Label Studio's form.
        width_px: Columns of the chip.
        height_px: Rows of the chip.
    """
    clicks: list[Click] = []
    box: BoxPx | None = None
    labels: list[str] = []
    tags: list[str] = []
    problems: list[str] = []
    for item in results:
        value = item.get("value") if isinstance(item, Mapping) else None
        if not isinstance(value, Mapping):
            problems.append("a prompt has no value")
            continue
        kind = str(item.get("type", "")).lower().removesuffix("labels")
        try:
            if "width" in value and "height" in value and kind != "keypoint":
                box = _box(value, width_px, height_px)
            elif "x" in value and "y" in value:
                clicks.append(_click(item, value, width_px, height_px))
            else:
                problems.append(f"a prompt of type {item.get('type')!r} is neither a key point nor a rectangle")
                continue
        except (InputError, TypeError, ValueError) as error:
            problems.append(str(error))
            continue
        labels += _labels(value)
        tags.append(str(item.get("from_name", "")))
    if len(clicks) > MAX_POINTS:
        problems.append(f"{len(clicks)} clicks are more than {MAX_POINTS}; the last {MAX_POINTS} are used")
        clicks = clicks[-MAX_POINTS:]
    prompt = Prompt(
        label=labels[0] if labels else "",
        clicks=tuple(clicks),
        box=box,
        tags=tuple(dict.fromkeys(tag for tag in tags if tag)),
    )
    return ReadPrompts(prompt=prompt, problems=tuple(problems))


def _number(value: Any, what: str) -> float:
    number = float(value)
    if isinstance(value, bool) or not math.isfinite(number):
        raise InputError(f"{what} is {value!r}; it must be a finite number of percent")
    return number


def _click(item: Mapping[str, Any], value: Mapping[str, Any], width_px: int, height_px: int) -> Click:
    x = _number(value["x"], "x of a click") * width_px / 100
    y = _number(value["y"], "y of a click") * height_px / 100
    if not (0 <= x <= width_px and 0 <= y <= height_px):
        raise InputError(
            f"the click at ({x:.1f}, {y:.1f}) px lies outside the image of {width_px} × {height_px} px; click inside"
        )
    positive = item.get("is_positive", value.get("is_positive", True))
    return Click(x=min(x, width_px - 1e-3), y=min(y, height_px - 1e-3), positive=positive is not False)


def _box(value: Mapping[str, Any], width_px: int, height_px: int) -> BoxPx:
    x, y = _number(value["x"], "x of a box") * width_px / 100, _number(value["y"], "y of a box") * height_px / 100
    w = _number(value["width"], "width of a box") * width_px / 100
    h = _number(value["height"], "height of a box") * height_px / 100
    angle = math.radians(_number(value.get("rotation") or 0, "rotation of a box"))
    # Label Studio turns a rectangle about its corner; the upright box around it is the prompt.
    xs, ys = zip(*[_turned(x, y, dx, dy, angle) for dx in (0, w) for dy in (0, h)], strict=True)
    xmin, xmax = max(min(xs), 0.0), min(max(xs), float(width_px))
    ymin, ymax = max(min(ys), 0.0), min(max(ys), float(height_px))
    if xmax - xmin < MIN_BOX_PX or ymax - ymin < MIN_BOX_PX:
        raise InputError(
            f"the box covers {max(xmax - xmin, 0):.1f} × {max(ymax - ymin, 0):.1f} px of the image; "
            f"draw it at least {MIN_BOX_PX:g} px wide and high, inside the image"
        )
    return (xmin, ymin, xmax, ymax)


def _turned(x: float, y: float, dx: float, dy: float, angle: float) -> tuple[float, float]:
    return x + dx * math.cos(angle) - dy * math.sin(angle), y + dx * math.sin(angle) + dy * math.cos(angle)


def _labels(value: Mapping[str, Any]) -> Iterable[str]:
    for key in ("keypointlabels", "rectanglelabels", "labels"):
        found = value.get(key)
        if isinstance(found, list) and found:
            return [str(label) for label in found]
    return []


def grown(session: Session | None, new: Prompt, *, whole: bool) -> Session:
    """Add new prompts to the object being described, or begin another one.

    Label Studio's page sends the clicks of one label that wait for an answer to be accepted; each is complete. What
    comes alone (after a box, or with Auto-Accept) joins the object when it lies in the bounds of the last answer or of
    the box that asked for it, or near them if it is negative; a box and a click elsewhere begin another object.

    Args:
        session: The object so far, or None.
        new: What came.
        whole: The request holds the complete description.
    """
    if session is not None and whole and _repeats(session.prompt, new):
        return replace(session, prompt=new)
    if session is None or whole or new.box is not None or not _near(session, new):
        return Session(region_id=new_region_id(), prompt=new)
    clicks = _without_doubles((*session.prompt.clicks, *new.clicks))
    prompt = replace(
        session.prompt,
        clicks=clicks[-MAX_POINTS:],
        label=new.label or session.prompt.label,
        tags=tuple(dict.fromkeys((*session.prompt.tags, *new.tags))),
    )
    return replace(session, prompt=prompt)


def _repeats(old: Prompt, new: Prompt) -> bool:
    """Tell whether a complete description holds all that was shown before, so that it is of the same object."""
    return bool(old.clicks) and set(old.clicks) <= set(new.clicks) and old.box in (None, new.box)


def _without_doubles(clicks: Sequence[Click]) -> tuple[Click, ...]:
    """Keep the last word on every place: a negative click on an old positive one takes it back."""
    last: dict[tuple[float, float], Click] = {}
    for click in clicks:
        key = (round(click.x, 1), round(click.y, 1))
        last.pop(key, None)
        last[key] = click
    return tuple(last.values())


def _near(session: Session, new: Prompt) -> bool:
    boxes = [box for box in (session.bounds, session.prompt.box) if box is not None]
    boxes += [(c.x, c.y, c.x, c.y) for c in session.prompt.positive]
    return bool(new.clicks) and all(any(_reaches(box, click) for box in boxes) for click in new.clicks)


def _reaches(box: BoxPx, click: Click) -> bool:
    xmin, ymin, xmax, ymax = box
    dx = dy = 0.0
    # A positive click just outside may be on the neighbour: its answer must not take the place of one accepted already.
    if not click.positive:
        dx = max((xmax - xmin) * _REACH_SHARE, _REACH_PX)
        dy = max((ymax - ymin) * _REACH_SHARE, _REACH_PX)
    return xmin - dx <= click.x <= xmax + dx and ymin - dy <= click.y <= ymax + dy
