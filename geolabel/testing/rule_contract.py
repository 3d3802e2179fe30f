"""What every geometry rule must keep, as a test suite for built-in and third-party ones.

Use it from a test: ``check_rule(my_rule)``.
"""

from __future__ import annotations

import re

import numpy as np
import shapely

from geolabel.core.taxonomy import LabelClass, Taxonomy
from geolabel.errors import PluginError
from geolabel.validate.fixes import FIXES
from geolabel.validate.layer import Layer
from geolabel.validate.options import OPTIONS
from geolabel.validate.rule import Rule
from geolabel.validate.run import check

TAXONOMY = Taxonomy(
    name="contract",
    version="1",
    classes=(
        LabelClass(id=1, name="house", shapes=("polygon",), rules=("no_overlap",), min_area_m2=4.0),
        LabelClass(id=2, name="road", shapes=("line",), min_length_m=5.0),
        LabelClass(id=3, name="field", shapes=("polygon",), rules=("no_gap",)),
    ),
)


def _without_numbers() -> shapely.Geometry:
    with np.errstate(invalid="ignore"):  # shapely warns of what is wanted here
        return shapely.Polygon([(0, 0), (np.nan, 5), (5, 5)])


def made_layers() -> dict[str, Layer]:
    """Return layers of ordinary and odd geometries."""
    square = shapely.box(10, 10, 30, 30)
    odd = [
        shapely.Polygon(),
        _without_numbers(),
        shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)]),
        shapely.Polygon([(0, 0), (5, 5), (9, 9)]),
        shapely.Polygon([(0, 0), (5, 0), (5, 0), (5, 5)]),
        shapely.Polygon([(0, 0), (20, 0), (40, 0.01), (20, 0.02), (20, 9), (0, 9)]),
        shapely.MultiPolygon([shapely.box(0, 0, 4, 4), shapely.box(90, 90, 120, 99)]),
        shapely.LineString([(1, 1), (1, 1)]),
        shapely.LineString([(1, 1), (40, 1)]),
        shapely.Point(3, 3),
        shapely.MultiPoint([(1, 1), (2, 2)]),
        shapely.Polygon([(0, 0), (60, 0), (60, 60), (0, 60)], [[(5, 5), (9, 5), (9, 9), (5, 9)]]),
    ]
    known = {"taxonomy": TAXONOMY, "size": (100.0, 100.0), "metres": (0.5, 0.5), "offset_px": 0.0}
    return {
        "nothing": Layer.of([], **known),
        "one square": Layer.of([square], **known),
        "odd shapes": Layer.of(odd, class_id=np.arange(len(odd)) % 4 + 1, **known),
        "several frames": Layer.of([*odd, *odd], frame=np.repeat([0, 1], len(odd)), **known),
        "nothing known": Layer.of(odd),
        "only odd": Layer.of(odd[:2], **known),
    }


def check_rule(rule: Rule) -> None:
    """Run a rule over ordinary and odd layers.

    Raises:
        PluginError: it broke the contract; the sentence says how.
    """
    spec = rule.spec
    if not re.fullmatch(r"[A-Z]{2,6}\d{3}", spec.code) or not re.fullmatch(r"[a-z][a-z-]*", spec.name):
        raise PluginError(f"code {spec.code!r} or name {spec.name!r} is not of the form GEO010 and self-intersection")
    if spec.fix and spec.fix not in FIXES:
        raise PluginError(f"its fix {spec.fix!r} does not exist; there are {', '.join(FIXES)}")
    if rule.limit and rule.limit not in OPTIONS:
        raise PluginError(f"its limit {rule.limit!r} is no option")
    spec.message.format(value=1.0, limit=1.0)
    for name, layer in made_layers().items():
        before = shapely.to_wkb(layer.geometry, include_srid=True).tolist()
        ((_, found),) = check(layer, [rule])
        if shapely.to_wkb(layer.geometry, include_srid=True).tolist() != before:
            raise PluginError(f"on {name!r} it changed the geometries")
        if len(found.value) != len(found.rows) or len(found.other) not in (0, len(found.rows)):
            raise PluginError(f"on {name!r} its columns differ in length")
        if spec.scope == "record" and len(np.unique(found.rows)) != len(found.rows):
            raise PluginError(f"on {name!r} it names a record twice")
        unsound = np.flatnonzero(~layer.sound)
        judges_all = spec.scope != "record" or spec.code in ("GEO001", "GEO002", "GEO050", "GEO051")
        if not judges_all and np.isin(found.rows, unsound).any():
            raise PluginError(f"on {name!r} it judges records that are empty or have no numbers")
        ((_, again),) = check(layer, [rule])
        if again.rows.tolist() != found.rows.tolist():
            raise PluginError(f"on {name!r} two runs differ")
        if spec.fix and len(found):
            mended = FIXES[spec.fix](layer, found.rows)
            left = Layer.of(
                mended, frame=layer.frame[found.rows], frames=len(layer.pixel), class_id=layer.class_id[found.rows],
                size=layer.size, metres=layer.metres, taxonomy=layer.taxonomy,
            )  # fmt: skip
            ((_, still),) = check(left, [rule])
            if len(still):
                raise PluginError(f"on {name!r} its fix {spec.fix!r} leaves {len(still)} findings")
