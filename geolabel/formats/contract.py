"""What a format is: what it carries, what it loses, how it writes and reads a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from geolabel.core.dataset import Dataset, ImageRef
from geolabel.core.taxonomy import Taxonomy
from geolabel.errors import InputError

StreamName: TypeAlias = Literal["parts", "objects"]
#: Properties of records that a format may or may not keep; `traits.MESSAGES` says what losing each one means.
KEEPABLE = (
    "outline", "subpixel", "holes", "multipart", "lines", "points", "rotation", "drawn", "instances", "overlaps",
    "score", "predicted", "attributes", "annotator", "times", "sources", "ids", "unplaced", "placed", "empty_images",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatSpec:
    """A format.

    Attributes:
        name: As asked for on the command line.
        title: For people.
        stream: Which stream of a dataset it takes: "objects" (map formats) or "parts" (image formats).
        suffix: Of its one file (".gpkg"), or "" when it writes a folder.
        keeps: Names of `KEEPABLE`; everything else that occurs is counted as lost before writing.
        images: Whether image files are part of it: "no", "beside" (written when asked) or "inside" (when asked).
        crs: "any" (scene's or target CRS), "wgs84" (always longitude and latitude) or "image" (numeric per image).
        whole_pixels_for: Traits whose records are carried as masks of whole pixels, in a format that keeps "subpixel".
        note: What a user must know, one sentence.
    """

    name: str
    title: str
    stream: StreamName
    suffix: str
    keeps: frozenset[str]
    images: Literal["no", "beside", "inside"] = "no"
    crs: Literal["any", "wgs84", "image"] = "any"
    whole_pixels_for: frozenset[str] = frozenset()
    note: str = ""

    def __post_init__(self) -> None:
        unknown = sorted(self.keeps - set(KEEPABLE))
        if unknown:
            raise InputError(f"format {self.name!r} says it keeps {unknown}; known are {', '.join(KEEPABLE)}")

    def to_json(self) -> dict[str, Any]:
        """Return JSON types."""
        return {
            "name": self.name,
            "title": self.title,
            "stream": self.stream,
            "suffix": self.suffix or "folder",
            "keeps": sorted(self.keeps),
            "images": self.images,
            "crs": self.crs,
            "note": self.note,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What a format cannot carry: how many records, and the sentence."""

    what: str
    count: int
    message: str

    def to_json(self) -> dict[str, Any]:
        """Return JSON types."""
        return {"what": self.what, "count": self.count, "message": self.message}


class PixelSource(Protocol):
    """Gives the pixels of labelled images; how is the pipeline's matter."""

    def read(self, image: ImageRef) -> npt.NDArray[Any] | None:
        """Return (band, row, col) raw or (row, col, 3) uint8 rendered pixels, or None when they can't be had."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteOptions:
    """How to write.

    Attributes:
        crs: Target CRSs of map formats that may have any; "scene" is that of the scene. Each is written.
        decimals: Of longitudes and latitudes, or None: at least 7, and enough for 0.005 px.
        images: "none", "rendered" (8 bit, as people saw it) or "raw" (all bands, GeoTIFF).
        pixels: Where pixels come from; needed when images is not "none".
        extra: Further options of one format, by name.
    """

    crs: tuple[str, ...] = ("scene",)
    decimals: int | None = None
    images: Literal["none", "rendered", "raw"] = "none"
    pixels: PixelSource | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return JSON types (the source of pixels is left out)."""
        return {"crs": list(self.crs), "decimals": self.decimals, "images": self.images, "extra": dict(self.extra)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What was written.

    Attributes:
        files: Paths relative to the folder, sorted.
        records: Records in the files by class id.
        losses: Further losses found while writing.
    """

    files: tuple[str, ...]
    records: Mapping[int, int]
    losses: tuple[Loss, ...] = ()


@runtime_checkable
class Format(Protocol):
    """A format; parts of the entry point group `geolabel.exporters` are objects like this."""

    @property
    def spec(self) -> FormatSpec:
        """What it is."""
        ...

    def write(self, dataset: Dataset, folder: Path, options: WriteOptions) -> Written:
        """Write the dataset's files into an existing empty folder, as a stream.

        Raises:
            InputError: an option or the dataset can't be written in this format at all.
        """
        ...

    def read(self, path: Path, taxonomy: Taxonomy | None = None) -> Dataset:
        """Open what `write` (or another program) wrote: a file, or the folder of folder formats.

        Map formats give `objects` whose frame is the CRS itself (identity transform); image formats give `parts`.

        Raises:
            InputError: it is not of this format, or a class is not in the taxonomy.
        """
        ...


def count_classes(counts: dict[int, int], class_id: npt.NDArray[np.int64]) -> None:
    """Add the classes of a batch to the counts."""
    values, numbers = np.unique(class_id, return_counts=True)
    for value, number in zip(values.tolist(), numbers.tolist(), strict=True):
        counts[value] = counts.get(value, 0) + number
