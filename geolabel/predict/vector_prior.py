"""An existing vector layer (map extract, cadastre, last year's labels) as pre-labels."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from geolabel.core.scene import Chip
from geolabel.errors import GeoLabelError, InputError, ModelError
from geolabel.predict.contract import ChipInput, ChipPrediction, PredictContext, PredictorSpec
from geolabel.predict.geometry import GeometryRules, MaskObject, regions_from_objects

NAME = "vector_prior"
_EDGE_POINTS = 8
_LINE_M = 4.0
_POINT_M = 2.0


class VectorPrior:
    """Regions from a vector file that GDAL reads, of any CRS; only what lies on a chip is read for it.

    Args:
        path: File or GDAL address; a layer after "|layername=".
        field: Attribute with the class; "" gives every feature the class `label`.
        label: Class of all features, when there is no field.
        labels: Attribute value → class of the project.
        score: What the layer is worth, 0 to 1: the raw score of its regions.
        line_width_m: Lines become strips of this width, points squares of it, metres.
    """

    def __init__(
        self,
        path: str = "",
        field: str = "",
        label: str = "",
        labels: Mapping[str, str] | None = None,
        score: float = 0.7,
        line_width_m: float = _LINE_M,
    ) -> None:
        self._path, _, layer = path.partition("|layername=")
        self._layer = layer or None
        self._field, self._label = field, label
        self._labels = {str(k).lower(): v for k, v in (labels or {}).items()}
        self._score = float(score)
        self._line_width_m = float(line_width_m)
        self._info: dict[str, Any] | None = None
        self._reading = threading.Lock()

    @property
    def spec(self) -> PredictorSpec:
        """What it is and needs."""
        return PredictorSpec(name=NAME, version=f"1-{Path(self._path).stem or 'none'}", max_batch=32)

    def ready(self, context: PredictContext) -> str:
        """Tell why it can't run, or ""."""
        del context
        if not self._path:
            return "no vector layer is set: give its path as the option `path` of the step `vector_prior`"
        remote = self._path.startswith(("/vsi", "http://", "https://"))
        return "" if remote or Path(self._path).exists() else f"no vector layer at {self._path}"

    def load(self, device: str) -> None:
        """Read the layer's header.

        Raises:
            ModelError: it can't be opened, has no CRS, or lacks the field.
        """
        del device
        import pyogrio

        if not self._path:
            raise ModelError("no vector layer is set: give its path as the option `path`")
        try:
            info = pyogrio.read_info(self._path, layer=self._layer)
        except Exception as error:
            raise ModelError(f"the vector layer {self._path} can't be opened: {str(error)[:200]}") from error
        if not info.get("crs"):
            raise ModelError(f"the vector layer {self._path} has no CRS; set one, for example with ogr2ogr -a_srs")
        if self._field and self._field not in list(info["fields"]):
            raise ModelError(f"{self._path} has no field {self._field!r}; it has {', '.join(info['fields']) or 'none'}")
        self._info = info

    def predict(self, batch: Sequence[ChipInput], context: PredictContext) -> list[ChipPrediction]:
        """Give the features on each chip."""
        out = []
        for chip in batch:
            try:
                out.append(self._one(chip, context))
            except (GeoLabelError, ValueError, shapely.errors.GEOSException) as error:
                out.append(ChipPrediction(chip_id=chip.chip.id, score=0.0, error=str(error) or type(error).__name__))
        return out

    def _one(self, chip: ChipInput, context: PredictContext) -> ChipPrediction:
        if self._info is None:
            raise ModelError("the vector layer was not loaded; call load first")
        gsd_m = float(np.sqrt(np.prod(chip.chip.georef.gsd_m())))
        objects, unknown = self._objects(chip.chip, context, gsd_m)
        regions, dropped = regions_from_objects(
            objects,
            classes={item.name: item for item in context.taxonomy.classes},
            width=chip.width,
            height=chip.height,
            gsd_m=gsd_m,
            chip_id=chip.chip.id,
            source=NAME,
            rules=GeometryRules(min_area_px=1.0),
        )
        reason = f"{Path(self._path).name}: {len(regions)} of its objects lie here"
        if unknown:
            some = ", ".join(sorted(unknown)[:5])
            reason += f"; values {some} are no class of the project"
        score = self._score if regions else 0.0
        return ChipPrediction(
            chip_id=chip.chip.id, regions=regions, score=score, reason=reason, facts={"dropped": dict(dropped)}
        )

    def _objects(self, chip: Chip, context: PredictContext, gsd_m: float) -> tuple[list[MaskObject], set[str]]:
        import pyogrio
        import pyproj

        assert self._info is not None
        georef = chip.georef
        there = pyproj.Transformer.from_crs(georef.crs, self._info["crs"], always_xy=True)
        columns = [self._field] if self._field else []
        bounds = _bounds(chip, there)
        with self._reading:
            _, _, geometries, fields = pyogrio.raw.read(
                self._path, layer=self._layer, bbox=bounds, columns=columns, read_geometry=True
            )
        back = pyproj.Transformer.from_crs(self._info["crs"], georef.crs, always_xy=True)
        frame = shapely.box(0, 0, georef.width, georef.height)
        objects: list[MaskObject] = []
        unknown: set[str] = set()
        values = fields[0] if columns else [self._label] * len(geometries)
        for wkb, value in zip(geometries, values, strict=True):
            geometry = shapely.from_wkb(wkb) if wkb is not None else None
            if geometry is None or geometry.is_empty:
                continue
            label = self._class(value, context)
            if label is None:
                unknown.add(str(value))
                continue
            local = _to_chip(geometry, back, chip)
            local = self._as_area(local, gsd_m)
            cut = shapely.make_valid(local).intersection(frame) if local.intersects(frame) else None
            if cut is not None and cut.area > 0:
                parts = [part for part in shapely.get_parts(cut) if isinstance(part, shapely.Polygon)]
                objects += [MaskObject(geometry=p, label=label, score=self._score, source=NAME) for p in parts]
        return objects, unknown

    def _as_area(self, geometry: shapely.Geometry, gsd_m: float) -> shapely.Geometry:
        if geometry.area > 0:
            return geometry
        width_m = self._line_width_m if geometry.length > 0 else _POINT_M
        return geometry.buffer(max(width_m / gsd_m, 1.0) / 2, cap_style="square")

    def _class(self, value: Any, context: PredictContext) -> str | None:
        text = str(value)
        wanted = self._labels.get(text.lower()) or context.options.get("predicted_values", {}).get(text.lower()) or text
        for item in context.taxonomy.classes:
            if wanted.lower() in (item.name.lower(), *(alias.lower() for alias in item.aliases)):
                return item.name
        return None


def _bounds(chip: Chip, there: Any) -> tuple[float, float, float, float]:
    """Return the chip's bounds in the layer's CRS; edges are cut into pieces, since they may bend."""
    georef = chip.georef
    line = np.linspace(0, 1, _EDGE_POINTS)
    edge = np.concatenate([
        np.stack([line * georef.width, line * 0], 1), np.stack([line * georef.width, line * 0 + georef.height], 1),
        np.stack([line * 0, line * georef.height], 1), np.stack([line * 0 + georef.width, line * georef.height], 1),
    ])  # fmt: skip
    world = georef.to_world(edge)
    x, y = there.transform(world[:, 0], world[:, 1])
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError(f"chip {chip.id} can't be placed in the layer's CRS; is it far outside its area of use?")
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())


def _to_chip(geometry: shapely.Geometry, back: Any, chip: Chip) -> shapely.Geometry:
    def move(xy: Any) -> Any:
        x, y = back.transform(xy[:, 0], xy[:, 1])
        return chip.georef.to_pixel(np.stack([x, y], axis=1))

    return shapely.transform(shapely.force_2d(geometry), move)
