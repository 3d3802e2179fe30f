"""Rules about one geometry: no coordinates, crossing itself, without area, repeated points, spikes, slivers."""

from __future__ import annotations

import numpy as np
import shapely

from geolabel.core.issues import Severity
from geolabel.validate.layer import Layer
from geolabel.validate.rule import Findings, Rule, RuleSpec


def _empty(layer: Layer) -> Findings:
    return Findings.of(np.flatnonzero(layer.empty))


def _not_finite(layer: Layer) -> Findings:
    return Findings.of(np.flatnonzero(~layer.finite))


def _crossing(layer: Layer) -> Findings:
    return Findings.of(np.flatnonzero(~layer.is_valid & ~layer.flat))


def _degenerate(layer: Layer) -> Findings:
    short = layer.linear & (layer.length == 0)
    return Findings.of(np.flatnonzero(layer.flat | short))


def _repeated(layer: Layer) -> Findings:
    rings = layer.rings
    step = np.abs(rings.xy[rings.after] - rings.xy).max(axis=1, initial=0.0)
    near = step <= layer.option("repeat_px") * layer.pixel[layer.frame[rings.record]]
    near &= (rings.after != np.arange(len(step))) & ~layer.flat[rings.record]  # what is flat is told by GEO011
    rows, counts = np.unique(rings.record[near], return_counts=True)
    lines = np.flatnonzero(layer.linear & (layer.length > 0))
    if len(lines):
        xy, index = shapely.get_coordinates(layer.geometry[lines], return_index=True)
        same = (index[1:] == index[:-1]) & (np.abs(np.diff(xy, axis=0)).max(axis=1, initial=0.0) == 0)
        found, more = np.unique(lines[index[1:][same]], return_counts=True)
        rows, counts = np.concatenate([rows, found]), np.concatenate([counts, more])
    return Findings.of(rows, counts.astype(np.float64))


def spike_vertices(layer: Layer) -> np.ndarray:  # type: ignore[type-arg]
    """Return for every vertex of `layer.rings` whether the outline turns back on itself there.

    Both edges must be longer than a pixel: shorter ones are the raggedness of traced masks.
    """
    rings = layer.rings
    back = rings.xy[rings.before] - rings.xy
    on = rings.xy[rings.after] - rings.xy
    cross = np.abs(back[:, 0] * on[:, 1] - back[:, 1] * on[:, 0])
    dot = (back * on).sum(axis=1)
    long = layer.option("spike_px") * layer.pixel[layer.frame[rings.record]]
    shorter = np.minimum((back * back).sum(axis=1), (on * on).sum(axis=1))
    out: np.ndarray = (  # type: ignore[type-arg]
        (dot > 0) & (cross < np.tan(np.radians(layer.option("spike_deg"))) * dot) & (shorter >= long**2)
    )
    return out


def _spikes(layer: Layer) -> Findings:
    found = spike_vertices(layer)
    rows, counts = np.unique(layer.rings.record[found], return_counts=True)
    solid = layer.area[rows] != 0
    return Findings.of(rows[solid], counts[solid].astype(np.float64))


def _slivers(layer: Layer) -> Findings:
    rows = np.flatnonzero(layer.areal & (layer.area > 0))
    width = 2 * layer.area[rows] / np.maximum(layer.length[rows], 1e-300) / layer.pixel[layer.frame[rows]]
    thin = width < layer.option("sliver_px")
    return Findings.of(rows[thin], width[thin])


def _winding(layer: Layer) -> Findings:
    rows = np.flatnonzero(layer.areal & (layer.area != 0))
    parts, owner = shapely.get_parts(layer.geometry[rows], return_index=True)
    wrong = ~shapely.is_ccw(shapely.get_exterior_ring(parts))
    rings, polygon = shapely.get_rings(parts, return_index=True)
    inner = np.zeros(len(rings), dtype=bool)
    inner[1:] = polygon[1:] == polygon[:-1]
    bad = inner & shapely.is_ccw(rings)
    wrong[polygon[bad]] = True
    return Findings.of(np.unique(rows[owner[wrong]]))


EMPTY = Rule(
    spec=RuleSpec(
        code="GEO001", name="empty", title="no geometry", severity=Severity.ERROR,
        message="the record has no geometry; draw it again or delete it",
    ),
    check=_empty,
)  # fmt: skip
NOT_FINITE = Rule(
    spec=RuleSpec(
        code="GEO002", name="not-finite", title="a coordinate that is no number", severity=Severity.ERROR,
        message="a coordinate is NaN or infinite; all must be finite numbers",
    ),
    check=_not_finite,
)  # fmt: skip
CROSSING = Rule(
    spec=RuleSpec(
        code="GEO010", name="self-intersection", title="the outline crosses or touches itself", severity=Severity.ERROR,
        message="the outline crosses or touches itself, or a hole leaves it; it must be a simple outline",
        fix="make_valid",
    ),
    check=_crossing,
)  # fmt: skip
DEGENERATE = Rule(
    spec=RuleSpec(
        code="GEO011", name="degenerate", title="too few different points", severity=Severity.ERROR,
        message="the points enclose no area or make no line; a polygon needs 3 points not in line, a line 2",
    ),
    check=_degenerate,
)  # fmt: skip
REPEATED = Rule(
    spec=RuleSpec(
        code="GEO012", name="repeated-points", title="neighbouring points at one place", severity=Severity.WARNING,
        message="{value:.0f} points repeat their neighbour; each should be there once", fix="remove_repeated_points",
    ),
    check=_repeated, limit="repeat_px",
)  # fmt: skip
SPIKES = Rule(
    spec=RuleSpec(
        code="GEO013", name="spike", title="the outline turns back on itself", severity=Severity.WARNING,
        message="{value:.0f} corners are sharper than {limit:g}°; such spikes come from slips of the mouse",
        fix="remove_spikes",
    ),
    check=_spikes, limit="spike_deg",
)  # fmt: skip
SLIVERS = Rule(
    spec=RuleSpec(
        code="GEO014", name="sliver", title="narrower than a pixel", severity=Severity.WARNING,
        message="it is {value:.2f} px wide on average; areas should be at least {limit:g} px wide",
    ),
    check=_slivers, limit="sliver_px",
)  # fmt: skip
WINDING = Rule(
    spec=RuleSpec(
        code="GEO015", name="winding", title="wound the wrong way", severity=Severity.WARNING, on=False,
        message="rings don't follow the right-hand rule: outer ones run counter-clockwise, holes clockwise",
        fix="orient",
    ),
    check=_winding,
)  # fmt: skip
