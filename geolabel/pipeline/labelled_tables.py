"""Tables of labelled chips for simulations: from a raster with vector labels, or from a project's annotations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geolabel.errors import GeoLabelError, InputError
from geolabel.predict.contract import ChipInput
from geolabel.sample.replay import LabelledTable
from geolabel.services import Services

_KEEP = 64


def cut_table(
    name: str,
    looks: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    *,
    size_px: int,
    spacing_m: float,
    class_names: Sequence[str],
) -> LabelledTable:
    """Cut a scene into chips, of each a fixed raster of at most 64 pixels.

    Args:
        name: For people.
        looks: (row, col, d) features.
        labels: (row, col) class index; -1 not labelled.
        size_px: Edge of a chip.
        spacing_m: Edge of a chip, metres.
        class_names: By index; "" for background.
    """
    rows, cols = labels.shape[0] // size_px, labels.shape[1] // size_px
    d = looks.shape[2]
    step = max(1, int(np.ceil(size_px / np.sqrt(_KEEP))))
    start = step // 2

    def chips(plane: npt.NDArray[Any], *tail: int) -> npt.NDArray[Any]:
        blocks = plane[: rows * size_px, : cols * size_px].reshape(rows, size_px, cols, size_px, *tail)
        picked = blocks[:, start::step, :, start::step]
        return np.moveaxis(picked, 2, 1).reshape(rows * cols, -1, *tail)

    truth = chips(labels).astype(np.int16)
    number = np.arange(rows * cols)
    xy = np.stack([number % cols, number // cols], axis=1) * spacing_m
    good = (truth >= 0).any(axis=1)
    return LabelledTable(
        name=name, features=chips(looks, d).astype(np.float32)[good], labels=truth[good],
        xy_m=xy[good].astype(np.float64), spacing_m=spacing_m, class_names=tuple(class_names),
    )  # fmt: skip


def table_from_raster(raster: Path, labels: Path, *, field: str = "", size_px: int = 64) -> LabelledTable:
    """Cut a raster with vector labels into labelled chips; what no polygon covers is background.

    Args:
        raster: Anything that GDAL reads, in pixels of at most 8192².
        labels: Polygons in any CRS.
        field: Column with the class; all polygons are one class without it.
        size_px: Edge of a chip.

    Raises:
        InputError: a file can't be read, the raster has no CRS, or the column is absent.
    """
    import geopandas
    import rasterio
    import rasterio.features

    try:
        with rasterio.open(raster) as source:
            if source.crs is None:
                raise InputError(f"{raster} has no CRS; its labels can't be placed")
            if max(source.width, source.height) > 8192:
                raise InputError(f"{raster} has {source.width} × {source.height} px; cut a part of at most 8192 px")
            pixels, transform, crs = source.read(), source.transform, source.crs
        shapes = geopandas.read_file(labels).to_crs(crs)
    except (OSError, ValueError, rasterio.errors.RasterioError) as error:
        raise InputError(f"{raster} and {labels} can't be read together: {error}") from error
    if field and field not in shapes.columns:
        raise InputError(f"{labels} has no column {field!r}; it has {', '.join(map(str, shapes.columns))}")
    values = shapes[field].astype(str) if field else ["labelled"] * len(shapes)
    names = ["", *sorted(set(values))]
    pairs = [(shape, names.index(value)) for shape, value in zip(shapes.geometry, values, strict=True) if shape]
    if not pairs:
        raise InputError(f"{labels} holds no geometry; there is nothing to simulate with")
    plane = rasterio.features.rasterize(pairs, pixels.shape[1:], transform=transform, dtype="int16")
    chip = _whole_chip(pixels, transform, crs)
    return cut_table(
        raster.name, _looks(chip), plane, size_px=size_px, spacing_m=size_px * _gsd(chip), class_names=names
    )


def _gsd(chip: ChipInput) -> float:
    return float(np.sqrt(np.prod(chip.chip.georef.gsd_m())))


def _whole_chip(pixels: npt.NDArray[Any], transform: Any, crs: Any) -> ChipInput:
    from geolabel.core.georef import Georeference, Window
    from geolabel.core.scene import Chip, RenderSpec

    count, height, width = pixels.shape
    valid = np.isfinite(pixels).all(axis=0) if pixels.dtype.kind == "f" else np.ones((height, width), dtype=bool)
    shown = tuple(range(1, min(3, count) + 1))
    low_high = tuple((float(np.percentile(p, 2)), float(np.percentile(p, 98)) + 1e-6) for p in pixels[: len(shown)])
    stretched = np.stack([(p - lo) / (hi - lo) for p, (lo, hi) in zip(pixels, low_high, strict=False)], axis=-1)
    rgb = (np.clip(np.nan_to_num(stretched), 0, 1) * 255).astype(np.uint8)
    if rgb.shape[2] < 3:
        rgb = np.repeat(rgb[:, :, :1], 3, axis=2)
    georef = Georeference.from_parts(crs=crs, transform=transform, width=width, height=height)
    chip = Chip(
        id="whole", scene_id="whole", window=Window(col=0, row=0, width=width, height=height), georef=georef,
        render=RenderSpec(bands=shown, rescale=low_high),
    )  # fmt: skip
    return ChipInput(chip=chip, scene=None, pixels=pixels, valid=valid, rgb=np.ascontiguousarray(rgb))


def _looks(chip: ChipInput) -> npt.NDArray[np.float32]:
    from geolabel.predict.features import ClassicalFeatures

    return np.asarray(ClassicalFeatures().features(chip).array, dtype=np.float32)


def table_from_project(services: Services, project_id: str) -> LabelledTable:
    """Make a table of a project's annotated chips; chips that can't be read are left out.

    Raises:
        InputError: fewer than 8 annotated chips can be read.
    """
    from geolabel.pipeline.chip_inputs import read_chip_input
    from geolabel.pipeline.labels import collect_labels, project_config, project_taxonomy
    from geolabel.predict.pixelhead import LabelledChip, label_images

    config = project_config(services, project_id)
    names = ("", *project_taxonomy(services, project_id, config).names())
    features, labels, places, sizes = [], [], [], []
    for item in collect_labels(services, project_id, config):
        try:
            chip = read_chip_input(services, item.chip, item.task_id)
        except GeoLabelError:
            continue
        _, classes = label_images(LabelledChip(chip=chip, regions=item.regions), names)
        classes = np.where(chip.valid, classes, -1)
        rows = np.linspace(0, chip.height - 1, 8).astype(int)
        cols = np.linspace(0, chip.width - 1, 8).astype(int)
        at = np.ix_(rows, cols)
        features.append(_looks(chip)[at].reshape(_KEEP, -1))
        labels.append(classes[at].reshape(-1))
        places.append(chip_centre_m(item.chip))
        sizes.append(max(item.chip.georef.width, item.chip.georef.height) * _gsd(chip))
    if len(features) < 8:
        raise InputError(
            f"project {project_id} has {len(features)} annotated chips that can be read; at least 8 are needed"
        )
    length = max({f.shape[1] for f in features}, key=lambda d: sum(f.shape[1] == d for f in features))
    kept = [i for i, f in enumerate(features) if f.shape[1] == length]
    return LabelledTable(
        name=f"project {project_id}", features=np.stack([features[i] for i in kept]),
        labels=np.stack([labels[i] for i in kept]).astype(np.int16), xy_m=np.array([places[i] for i in kept]),
        spacing_m=float(np.median(sizes)), class_names=names,
    )  # fmt: skip


def chip_centre_m(chip: Any) -> tuple[float, float]:
    """Return a chip's centre in metres on a plane that all chips of a region share (equirectangular)."""
    outline = chip.georef.outline_lonlat(1)
    lon, lat = (float(v) for v in outline.mean(axis=0))
    return lon * 111_320.0 * float(np.cos(np.radians(lat))), lat * 110_540.0
