"""Scenes, how they are shown, and the chips cut from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from geolabel.core.georef import Georeference, Window
from geolabel.core.ids import digest
from geolabel.errors import InputError

TASK_SCHEMA = "geolabel.chip/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """One band: GDAL index from 1, name, centre wavelength in nm or None, physical = raw · scale + offset."""

    index: int
    name: str
    wavelength_nm: float | None = None
    scale: float = 1.0
    offset: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return JSON types."""
        return {
            "index": self.index,
            "name": self.name,
            "wavelength_nm": self.wavelength_nm,
            "scale": self.scale,
            "offset": self.offset,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Band:
        """Rebuild from `to_json`."""
        return cls(**{name: value[name] for name in cls.__slots__ if name in value})


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderSpec:
    """What exactly the annotator saw.

    Attributes:
        bands: One or three GDAL band indexes from 1, or empty when an expression or named render rules.
        rescale: Low and high raw value per band, over the whole scene, mapped to 0 and 255.
        gamma: Display gamma, 1 for none.
        expression: Band arithmetic such as "(b4-b1)/(b4+b1)", or "".
        colormap: Name of a colour map for one band, or "".
        nodata: Raw value shown as transparent, or None when the raster's own mask rules.
        steps: Named steps applied before the stretch, in order (JSON), e.g. {"op": "toa", ...}.
        name: Name of the render, e.g. "true-colour".
    """

    bands: tuple[int, ...]
    rescale: tuple[tuple[float, float], ...]
    gamma: float = 1.0
    expression: str = ""
    colormap: str = ""
    nodata: float | None = None
    steps: tuple[Mapping[str, Any], ...] = ()
    name: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return JSON types."""
        return {
            "bands": list(self.bands),
            "rescale": [list(pair) for pair in self.rescale],
            "gamma": self.gamma,
            "expression": self.expression,
            "colormap": self.colormap,
            "nodata": self.nodata,
            "steps": [dict(step) for step in self.steps],
            "name": self.name,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RenderSpec:
        """Rebuild from `to_json`; missing fields take their defaults.

        Raises:
            InputError: bands or rescale are missing or malformed.
        """
        try:
            return cls(
                bands=tuple(int(b) for b in value["bands"]),
                rescale=tuple((float(low), float(high)) for low, high in value["rescale"]),
                gamma=float(value.get("gamma", 1.0)),
                expression=str(value.get("expression", "")),
                colormap=str(value.get("colormap", "")),
                nodata=value.get("nodata"),
                steps=tuple(value.get("steps", ())),
                name=str(value.get("name", "")),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"render {dict(value)!r:.200} needs bands and rescale [[low, high], …] ({error})"
            ) from error

    def digest(self) -> str:
        """Return the id of this way of showing."""
        return digest("render", self.to_json())


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A registered raster.

    Attributes:
        id: Hash of its identity (not of its path).
        uri: Where it is read from: path, https://, s3://, gs://, az://.
        name: Short name for people.
        georef: Of the full-resolution grid.
        bands: In file order.
        dtype: numpy name of the sample type.
        nodata: Declared nodata, or None.
        acquired: ISO 8601 UTC, or None.
        sensor: Platform or instrument, or "".
        region: Free name of the area, used by splits and reports.
        etag: Strong identity of the bytes that were registered.
        render: Default way of showing.
        crs_log: Source CRS, target CRS, operation, accuracy, PROJ versions (JSON).
        properties: Further facts (JSON types): masks, footprints, radiometry, source hash.
    """

    id: str
    uri: str
    name: str
    georef: Georeference
    bands: tuple[Band, ...]
    dtype: str
    nodata: float | None = None
    acquired: str | None = None
    sensor: str = ""
    region: str = ""
    etag: str = ""
    render: RenderSpec | None = None
    crs_log: Mapping[str, Any] = field(default_factory=dict)
    properties: Mapping[str, Any] = field(default_factory=dict)


def chip_id(scene_id: str, window: Window, size_px: tuple[int, int], render_digest: str) -> str:
    """Return the computed id of a chip: scene, window, output size [width, height] and way of showing."""
    return digest("chip", scene_id, window.to_list(), list(size_px), render_digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """A virtual chip: a window of a scene and how it is shown; no pixel is copied to make one.

    Attributes:
        id: Computed by `chip_id`.
        scene_id: Scene it is cut from.
        window: In scene px; may reach past the edge when the plan pads.
        georef: Of the chip's own pixel plane (its size may differ from the window's when resampled).
        render: How it is shown.
        valid_fraction: Part of pixels with data, 0 to 1.
        cloud_fraction: Part of pixels under cloud, 0 to 1, or None when unknown.
        shadow_fraction: Part of pixels in cloud shadow, 0 to 1, or None when unknown.
    """

    id: str
    scene_id: str
    window: Window
    georef: Georeference
    render: RenderSpec
    valid_fraction: float = 1.0
    cloud_fraction: float | None = None
    shadow_fraction: float | None = None

    def to_geo(self) -> dict[str, Any]:
        """Return `task.data.geo`: everything needed to place a pixel of this chip on the Earth."""
        return {
            "schema": TASK_SCHEMA,
            "chip_id": self.id,
            "scene_id": self.scene_id,
            "window": self.window.to_list(),
            **self.georef.to_json(),
            "render": self.render.to_json(),
            "valid_fraction": self.valid_fraction,
            "cloud_fraction": self.cloud_fraction,
            "shadow_fraction": self.shadow_fraction,
        }

    @classmethod
    def from_geo(cls, value: Mapping[str, Any]) -> Chip:
        """Rebuild a chip from `task.data.geo`.

        Raises:
            InputError: the schema is not ours or a field is missing.
            GeoreferenceError: CRS, transform or size are wrong.
        """
        if not isinstance(value, Mapping) or value.get("schema") != TASK_SCHEMA:
            found = value.get("schema") if isinstance(value, Mapping) else type(value).__name__
            raise InputError(
                f"task.data.geo has schema {found!r}; it must be {TASK_SCHEMA!r}, as tasks imported by GeoLabel have"
            )
        try:
            col, row, width, height = (int(v) for v in value["window"])
            return cls(
                id=str(value["chip_id"]),
                scene_id=str(value["scene_id"]),
                window=Window(col=col, row=row, width=width, height=height),
                georef=Georeference.from_json(value),
                render=RenderSpec.from_json(value["render"]),
                valid_fraction=float(value.get("valid_fraction", 1.0)),
                cloud_fraction=value.get("cloud_fraction"),
                shadow_fraction=value.get("shadow_fraction"),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"task.data.geo lacks or garbles a field: {error!r}; import the task again") from error
