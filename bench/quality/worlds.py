"""Labelled scenes, each split by place: labels are bought on one half, the other half judges."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import numpy.typing as npt
import rasterio
import shapely

from geolabel.core.labels import Region
from geolabel.core.scene import Band, RenderSpec
from geolabel.core.shapes import from_shapely
from geolabel.core.taxonomy import LabelClass, Taxonomy
from geolabel.predict.contract import ChipInput
from geolabel.predict.pixelhead import LabelledChip
from geolabel.testing.predictor_contract import make_chip_input


@dataclass(frozen=True, kw_only=True)
class World:
    """A scene with its truth.

    Attributes:
        name: Short name.
        pixels: (band, row, col).
        bands: Names of the bands.
        truth: (class name, outline in px).
        taxonomy: Classes.
        gsd_m: Ground size of a pixel.
        tile_px: Size of the tiles that are annotated whole, one after the other.
        split_col: Columns left of it are for learning, the others judge.
    """

    name: str
    pixels: npt.NDArray[Any]
    bands: tuple[str, ...]
    truth: list[tuple[str, shapely.Geometry]]
    taxonomy: Taxonomy
    gsd_m: float
    tile_px: int
    split_col: int
    objects: bool = True

    def cut(self, col: int, row: int, width: int, height: int) -> LabelledChip:
        """A window with everything that lies in it."""
        box = shapely.box(col, row, col + width, row + height)
        regions = []
        for n, (label, outline) in enumerate(self.truth):
            for k, part in enumerate(shapely.get_parts(outline.intersection(box))):
                if isinstance(part, shapely.Polygon) and part.area >= 4:
                    local = shapely.transform(part, lambda xy: xy - [col, row])
                    regions.append(Region(id=f"truth-{n:05d}-{k}", shape=from_shapely(local), label=label))
        return LabelledChip(chip=self._chip(col, row, width, height), regions=tuple(regions))

    def _chip(self, col: int, row: int, width: int, height: int) -> ChipInput:
        window = self.pixels[:, row : row + height, col : col + width]
        chip = make_chip_input(window, gsd_m=self.gsd_m, chip_id=f"{self.name}-{col}-{row}")
        shown = self._shown()
        low, high = self._stretch(shown)
        rgb = np.clip((window[shown].astype(np.float32) - low[:, None, None]) / (high - low)[:, None, None], 0, 1)
        render = RenderSpec(
            bands=tuple(i + 1 for i in shown),
            rescale=tuple((float(a), float(b)) for a, b in zip(low, high, strict=True)),
        )
        return replace(
            chip,
            chip=replace(chip.chip, render=render),
            rgb=np.ascontiguousarray(np.moveaxis((rgb * 255).astype(np.uint8), 0, -1)),
            bands=tuple(Band(index=i + 1, name=name) for i, name in enumerate(self.bands)),
        )

    def _shown(self) -> list[int]:
        wanted = ("red", "green", "blue")
        return [self.bands.index(name) for name in wanted] if set(wanted) <= set(self.bands) else [0, 0, 0]

    def _stretch(self, shown: list[int]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        # Over the half that labels are bought on: nothing of the judging half enters.
        left = self.pixels[shown][:, :, : self.split_col].reshape(3, -1).astype(np.float32)
        return np.percentile(left, 2, axis=1), np.percentile(left, 98, axis=1) + 1e-6

    def tiles(self) -> list[LabelledChip]:
        """Tiles of the learning half."""
        rows, size = self.pixels.shape[1], self.tile_px
        return [
            self.cut(col, row, size, size)
            for row in range(0, rows - size + 1, size)
            for col in range(0, self.split_col - size + 1, size)
        ]

    def judge(self) -> LabelledChip:
        """The half that judges."""
        rows, cols = self.pixels.shape[1:]
        return self.cut(self.split_col, 0, cols - self.split_col, rows)


def kampala(data: Path) -> World:
    """Roofs of Kampala at 7.5 cm, 98 of them."""
    folder = data / "imagery" / "labelled" / "kampala_buildings_oam"
    pixels, truth, gsd = _read(folder / "kampala_a.tif", folder / "kampala_a_buildings.geojson")
    return World(
        name="kampala_a", pixels=pixels[:3], bands=("red", "green", "blue"), truth=[("building", t) for t in truth],
        taxonomy=_buildings(), gsd_m=gsd, tile_px=128, split_col=512,
    )  # fmt: skip


def atlanta(data: Path) -> World:
    """Footprints of Atlanta, panchromatic, 0.5 m, 43 of them."""
    folder = data / "imagery" / "labelled" / "spacenet_atlanta"
    pixels, truth, gsd = _read(folder / "sample_geotiff.tif", folder / "geotiff_labels.geojson")
    return World(
        name="atlanta", pixels=pixels, bands=("pan",), truth=[("building", t) for t in truth],
        taxonomy=_buildings(), gsd_m=gsd, tile_px=150, split_col=450,
    )  # fmt: skip


def slovenia(data: Path) -> World:
    """Land cover of a Slovenian valley at 10 m, 13 bands; the clearest of the five dates."""
    folder = data / "imagery" / "labelled" / "eolearn_slovenia_s2"
    pixels = np.moveaxis(np.load(folder / "REFERENCE_SCENES.npy")[4], -1, 0)
    frame = geopandas.read_file(folder / "TestEOPatch" / "vector_timeless" / "LULC.gpkg")
    west, north = 465181.0522318204, 5080254.63349641
    width, height = 999.4791604 / pixels.shape[2], 1009.7422952 / pixels.shape[1]
    truth = [
        (str(name), shapely.transform(shape, lambda xy: (xy - [west, north]) / [width, -height]))
        for name, number, shape in zip(frame["LULC_NAME"], frame["LULC_ID"], frame.geometry, strict=True)
        if number != 0
    ]
    names = sorted({name for name, _ in truth})
    classes = tuple(LabelClass(id=n, name=name) for n, name in enumerate(names, start=1))
    bands = (
        "coastal", "blue", "green", "red", "re1", "re2", "re3", "nir", "nir08", "wv", "cirrus", "swir1", "swir2",
    )  # fmt: skip
    return World(
        name="slovenia", pixels=pixels, bands=bands, truth=truth,
        taxonomy=Taxonomy(name="land cover", version="1", classes=classes),
        gsd_m=10.0, tile_px=25, split_col=50, objects=False,
    )  # fmt: skip


WORLDS = {"kampala": kampala, "atlanta": atlanta, "slovenia": slovenia}


def _buildings() -> Taxonomy:
    return Taxonomy(
        name="buildings", version="1", classes=(LabelClass(id=1, name="building", rectangular=True, min_area_m2=2.0),)
    )


def _read(raster: Path, labels: Path) -> tuple[npt.NDArray[Any], list[shapely.Geometry], float]:
    with rasterio.open(raster) as source:
        pixels, inverse, crs = source.read(), ~source.transform, source.crs
        gsd = abs(source.transform.a)
    frame = geopandas.read_file(labels).to_crs(crs)

    def to_px(xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.column_stack(inverse * (xy[:, 0], xy[:, 1]))

    return pixels, [shapely.make_valid(shapely.transform(shape, to_px)) for shape in frame.geometry], gsd
