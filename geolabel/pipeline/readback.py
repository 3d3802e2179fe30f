"""Read every written file again and compare it with what went in: records, classes, places, areas."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from geolabel.core.dataset import Batch, Dataset
from geolabel.core.georef import Georeference
from geolabel.core.placing import place, scene_georefs
from geolabel.errors import GeoLabelError
from geolabel.formats.contract import Format, Written

TOLERANCE_PX = 0.01
_COLUMNS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadBack:
    """The comparison of one format.

    Attributes:
        records: Records read, by class id.
        offset_px: Largest difference of any bound of any record, px, or None when the format keeps no outlines.
        area_difference: Largest relative difference of the area of a record, or None.
        problems: Sentences; empty when the files hold what went in.
    """

    records: dict[int, int]
    offset_px: float | None
    area_difference: float | None
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return JSON types."""
        return {
            "records": {str(k): v for k, v in sorted(self.records.items())},
            "offset_px": None if self.offset_px is None else round(self.offset_px, 6),
            "area_difference": None if self.area_difference is None else round(self.area_difference, 9),
            "problems": list(self.problems),
        }


def read_back(form: Format, dataset: Dataset, folder: Path, written: Written) -> ReadBack:
    """Read a format's folder and compare it with the dataset it was written from."""
    try:
        back = form.read(folder, dataset.taxonomy)
        if form.spec.stream == "objects":
            return _compare_objects(form, dataset, back, written)
        return _compare_parts(form, dataset, back, written)
    except GeoLabelError as error:
        problem = f"{form.spec.name} could not be read again: {error.message}"
        return ReadBack(records={}, offset_px=None, area_difference=None, problems=(problem,))


def _signatures(batches: Iterable[Batch], georefs: list[Georeference] | None, crs: str) -> npt.NDArray[np.float64]:
    """Return (n, 8): key, class, four bounds, area, length of every record; the key is a hash of its id."""
    parts: list[npt.NDArray[np.float64]] = [np.empty((0, _COLUMNS))]
    for batch in batches:
        geometry = batch.geometry if georefs is None else place(batch, georefs, crs)
        keys = np.fromiter((hash(i) % (1 << 52) for i in batch.id.tolist()), np.float64, len(batch))
        bounds = shapely.bounds(geometry)
        parts.append(np.column_stack([keys, batch.class_id, bounds, shapely.area(geometry), shapely.length(geometry)]))
    out: npt.NDArray[np.float64] = np.concatenate(parts)
    return out


def _compare_objects(form: Format, dataset: Dataset, back: Dataset, written: Written) -> ReadBack:
    crs = back.scenes[0].georef.crs
    # Both sides are compared in the CRS of the file; a pixel there is as wide as the finest scene's.
    right = _signatures(dataset.objects(), scene_georefs(dataset.scenes), crs)
    found = _signatures(back.objects(), None, crs)
    pixel = _pixel_size(dataset, crs)
    cut = {loss.count for loss in written.losses if loss.what == "antimeridian"}
    return _judge(form, right, found, pixel, geometric=not cut)


def _pixel_size(dataset: Dataset, crs: str) -> float:
    sizes = []
    for scene in dataset.scenes:
        g = scene.georef
        corner = shapely.Polygon([(0, 0), (1, 0), (1, 1), (0, 1)])
        middle = shapely.transform(corner, lambda xy, at=(g.width // 2, g.height // 2): xy + at)
        world = place(Batch.of([middle]), [g], crs)
        sizes.append(float(np.sqrt(shapely.area(world)[0])))
    return min(sizes, default=1.0)


def _judge(
    form: Format, right: npt.NDArray[np.float64], found: npt.NDArray[np.float64], pixel: float, *, geometric: bool
) -> ReadBack:
    records = {int(c): int(n) for c, n in zip(*np.unique(found[:, 1], return_counts=True), strict=True)}
    expected = {int(c): int(n) for c, n in zip(*np.unique(right[:, 1], return_counts=True), strict=True)}
    if records != expected:
        problem = f"{form.spec.name}: classes and counts read are {records}; written were {expected}"
        return ReadBack(records=records, offset_px=None, area_difference=None, problems=(problem,))
    if not geometric or not len(right):
        return ReadBack(records=records, offset_px=None, area_difference=None, problems=())
    right, found = (a[np.lexsort((a[:, 2], a[:, 1], a[:, 0]))] for a in (right, found))
    problems = []
    if "ids" in form.spec.keeps and not np.array_equal(right[:, 0], found[:, 0]):
        problems.append(f"{form.spec.name}: {int((right[:, 0] != found[:, 0]).sum())} ids differ")
    offset = float(np.abs(right[:, 2:6] - found[:, 2:6]).max() / pixel)
    areas = np.maximum(right[:, 6], pixel**2)
    difference = float((np.abs(right[:, 6] - found[:, 6]) / areas).max())
    if offset > TOLERANCE_PX:
        problems.append(f"{form.spec.name}: a record is off by {offset:.4f} px; at most {TOLERANCE_PX} px is allowed")
    return ReadBack(records=records, offset_px=offset, area_difference=difference, problems=tuple(problems))


def _compare_parts(form: Format, dataset: Dataset, back: Dataset, written: Written) -> ReadBack:
    keeps = form.spec.keeps
    found = _signatures(back.parts(), None, "")
    records = {int(c): int(n) for c, n in zip(*np.unique(found[:, 1], return_counts=True), strict=True)}
    told = {k: v for k, v in written.records.items() if v}
    same = records == told if "instances" in keeps else records.keys() <= told.keys()
    if not same:
        problem = f"{form.spec.name}: classes and counts read are {records}; written were {told}"
        return ReadBack(records=records, offset_px=None, area_difference=None, problems=(problem,))
    problems = list(_misplaced_images(form, dataset, back))
    exact = {"outline", "subpixel", "instances"} <= keeps
    offset: float | None = None
    if exact or ("outline" not in keeps and "rotation" not in keeps):
        right = _signatures(_carried(dataset, keeps), None, "")
        if len(right) == len(found):
            right[:, 0], found[:, 0] = 0.0, 0.0
            order = [np.lexsort(tuple(np.round(a[:, c], 1) for c in (4, 5, 3, 2, 1))) for a in (right, found)]
            bounds = [a[o][:, 2:6] for a, o in zip((right, found), order, strict=True)]
            # Rounded keys may order ties differently; the sums of all bounds can't hide a shift.
            offset = float(np.abs(bounds[0].mean(axis=0) - bounds[1].mean(axis=0)).max()) if len(right) else 0.0
            # Records carried as masks of whole pixels may differ by up to one pixel each.
            if offset > TOLERANCE_PX + _masked_share(dataset, form.spec.whole_pixels_for):
                problems.append(f"{form.spec.name}: records are off by {offset:.4f} px on average")
    return ReadBack(records=records, offset_px=offset, area_difference=None, problems=tuple(problems))


def _masked_share(dataset: Dataset, traits: frozenset[str]) -> float:
    """Return the share of polygons that have one of these traits (holes, multipart)."""
    masked = total = 0
    for batch in dataset.parts() if traits else ():
        several = shapely.get_num_geometries(batch.geometry) > 1
        holes = shapely.get_num_interior_rings(batch.geometry) > 0
        masked += int((several & ("multipart" in traits) | holes & ("holes" in traits)).sum())
        total += len(batch)
    return masked / max(1, total)


def _carried(dataset: Dataset, keeps: frozenset[str]) -> Iterator[Batch]:
    for batch in dataset.parts():
        types = shapely.get_type_id(batch.geometry)
        keep = np.ones(len(batch), dtype=bool)
        if "lines" not in keeps:
            keep &= ~np.isin(types, (1, 2, 5))
        if "points" not in keeps:
            keep &= ~np.isin(types, (0, 4))
        kept = batch.take(keep)
        if "multipart" not in keeps:
            pieces, owner = shapely.get_parts(kept.geometry, return_index=True)
            kept = kept.take(owner).with_columns(geometry=pieces)
        yield kept


def _misplaced_images(form: Format, dataset: Dataset, back: Dataset) -> Iterator[str]:
    right = {image.id: image for image in dataset.images}
    wrong = 0
    for image in back.images:
        known = right.get(image.id)
        if known is None or (known.georef is not None and image.georef != known.georef):
            wrong += 1
    if wrong:
        yield f"{form.spec.name}: {wrong} images have another georeference than was written"
