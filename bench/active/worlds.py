"""The three data sets of the benchmark as tables of labelled chips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from geolabel.pipeline.labelled_tables import cut_table
from geolabel.sample.replay import LabelledTable

#: Land cover of the made scene with the share of ground that each class covers: a few rule, most are rare.
SHARES = {
    "cropland": 0.46,
    "forest": 0.27,
    "grassland": 0.14,
    "built-up": 0.06,
    "water": 0.035,
    "bare": 0.018,
    "wetland": 0.011,
    "quarry": 0.006,
}
GRID = (50, 40)
CELL = 8  # ground cells along the edge of a chip
BANDS = 10


def made_scene(seed: int = 2026) -> LabelledTable:
    """Return 2,000 chips of a made landscape: patches of very unequal classes, correlated in space, seen imperfectly.

    Ground: every class has a smooth random field; the class whose field, shifted to meet its share, is highest owns a
    cell. So classes form patches of all sizes, and rare ones lie in few places. Looks: every class has one to four
    sub-types (crops, stands, roofs) with their own spectra, chosen by another smooth field; haze, soil and season drift
    over the scene; cells mix with their neighbours; sensor noise and 1 % wrong labels come on top.
    """
    rng = np.random.default_rng(seed)
    width, height = GRID[0] * CELL, GRID[1] * CELL
    names = list(SHARES)
    fields = np.stack([_smooth(rng, height, width, s) for s in (22, 20, 12, 7, 9, 6, 8, 6)])
    owner = _with_shares(fields, np.array(list(SHARES.values())))
    subtypes = (4, 3, 3, 3, 2, 2, 1, 1)
    centres = rng.normal(size=(len(names), 4, BANDS))
    base = rng.normal(size=(len(names), BANDS)) * 1.0
    base[5] = base[3] + rng.normal(size=BANDS) * 0.55  # bare ground looks like built-up
    base[6] = (base[2] + base[4]) / 2 + rng.normal(size=BANDS) * 0.4  # wetland between grass and water
    base[7] = base[5] + rng.normal(size=BANDS) * 0.6  # quarries look like bare ground
    looks = np.zeros((height, width, BANDS))
    for c, count in enumerate(subtypes):
        which = np.stack([_smooth(rng, height, width, 16) for _ in range(count)]).argmax(axis=0)
        spectra = base[c] + 0.75 * centres[c]
        looks[owner == c] = spectra[which[owner == c]]
    drift = np.stack([_smooth(rng, height, width, 60) for _ in range(BANDS)], axis=-1)
    looks = _mixed(looks) + 0.35 * drift + 0.45 * rng.normal(size=looks.shape)
    labels = owner.copy()
    wrong = rng.random(labels.shape) < 0.01
    labels[wrong] = rng.integers(len(names), size=int(wrong.sum()))
    return cut_table("made scene, 2000 chips", looks, labels, size_px=CELL, spacing_m=100.0, class_names=tuple(names))


def _smooth(rng: np.random.Generator, height: int, width: int, sigma: float) -> npt.NDArray[np.float64]:
    from scipy.ndimage import gaussian_filter

    field = gaussian_filter(rng.normal(size=(height, width)), sigma, mode="wrap")
    return np.asarray((field - field.mean()) / field.std(), dtype=np.float64)


def _with_shares(fields: npt.NDArray[np.float64], shares: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Shift the fields until each class owns its share of the ground."""
    shift = np.zeros(len(shares))
    for _ in range(400):
        owner = (fields + shift[:, None, None]).argmax(axis=0)
        have = np.bincount(owner.reshape(-1), minlength=len(shares)) / owner.size
        shift += 0.15 * np.clip(np.log(shares / np.maximum(have, 1e-4)), -1, 1)
    return np.asarray(owner, dtype=np.int64)


def _mixed(looks: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(looks, (0.6, 0.6, 0)), dtype=np.float64)


def kampala(data_dir: Path, size: int = 64) -> LabelledTable:
    """Return kampala_a as chips of 64 px (4.8 m): roofs against the rest, with the few-shot predictor's features."""
    import geopandas
    import rasterio
    import rasterio.features

    from geolabel.core.georef import Georeference, Window
    from geolabel.core.scene import Chip, RenderSpec
    from geolabel.predict.contract import ChipInput
    from geolabel.predict.features import ClassicalFeatures

    folder = data_dir / "imagery/labelled/kampala_buildings_oam"
    with rasterio.open(folder / "kampala_a.tif") as source:
        pixels, transform, crs = source.read([1, 2, 3]), source.transform, source.crs
    shapes = geopandas.read_file(folder / "kampala_a_buildings.geojson").to_crs(crs).geometry
    height, width = pixels.shape[1:]
    labels = rasterio.features.rasterize(list(shapes), (height, width), transform=transform, dtype="uint8")
    georef = Georeference.from_parts(crs=crs, transform=transform, width=width, height=height)
    render = RenderSpec(bands=(1, 2, 3), rescale=((0, 255),) * 3)
    chip = Chip(
        id="kampala", scene_id="kampala", window=Window(col=0, row=0, width=width, height=height), georef=georef,
        render=render,
    )  # fmt: skip
    whole = ChipInput(
        chip=chip, scene=None, pixels=pixels, valid=np.ones((height, width), bool),
        rgb=np.ascontiguousarray(np.moveaxis(pixels, 0, -1)),
    )  # fmt: skip
    looks = np.asarray(ClassicalFeatures().features(whole).array, dtype=np.float32)
    return cut_table("kampala_a, 256 chips", looks, labels, size_px=size, spacing_m=4.8, class_names=("", "building"))


def slovenia(data_dir: Path, size: int = 5) -> LabelledTable:
    """Return the Sentinel-2 patch as chips of 5 × 5 px (50 m): land cover by NDVI over the year and 13 bands.

    Classes with fewer than 100 pixels, and pixels without a class, are left out.
    """
    folder = data_dir / "imagery/labelled/eolearn_slovenia_s2"
    cover = np.load(folder / "TestEOPatch/mask_timeless/LULC.npy")[..., 0]
    ndvi = np.load(folder / "TestEOPatch/data/NDVI.npy")[..., 0]
    clouds = np.load(folder / "TestEOPatch/mask/CLM.npy")[..., 0]
    valid = np.load(folder / "TestEOPatch/mask/IS_VALID.npy")[..., 0]
    bands = np.load(folder / "REFERENCE_SCENES.npy")
    clear = (clouds == 0) & valid & np.isfinite(ndvi)
    dates = [i for i in range(len(ndvi)) if clear[i].mean() > 0.95]
    series = np.where(clear[dates], ndvi[dates], np.nan)
    series = np.where(np.isfinite(series), series, np.nanmedian(series, axis=(1, 2), keepdims=True))
    scene = np.nan_to_num(bands[np.argmin([float(np.nanmean(b[..., 1])) for b in bands])])
    looks = np.concatenate([np.moveaxis(series, 0, -1), scene], axis=-1).astype(np.float32)
    found, counts = np.unique(cover, return_counts=True)
    kept = [int(c) for c, n in zip(found, counts, strict=True) if c > 0 and n >= 100]
    labels = np.full(cover.shape, -1, dtype=np.int16)
    for index, c in enumerate(kept):
        labels[cover == c] = index
    return cut_table(
        "Slovenia land cover, 400 chips", looks, labels, size_px=size, spacing_m=50.0,
        class_names=tuple(f"LULC {c}" for c in kept),
    )  # fmt: skip
