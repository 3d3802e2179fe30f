"""WebDataset: tar shards of a sample an image: KEY.json, and KEY.png or KEY.tif when images are asked for."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geolabel.core.dataset import Dataset
from geolabel.core.taxonomy import Taxonomy
from geolabel.errors import InputError
from geolabel.formats.coco import missing_images
from geolabel.formats.contract import KEEPABLE, FormatSpec, WriteOptions, Written, count_classes
from geolabel.formats.imagejson import dumps, image_object, read_objects
from geolabel.formats.imagery import by_image, image_bytes

_SHARD = 1000
_HEAD = "dataset.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebDataset:
    """The format."""

    spec: FormatSpec

    def write(self, dataset: Dataset, folder: Path, options: WriteOptions) -> Written:
        """Write SPLIT-000000.tar and so on, 1,000 images a shard; see `Format.write`."""
        names = dataset.class_names()
        counts: dict[int, int] = {}
        missing = 0
        shards: dict[str, tuple[int, int, tarfile.TarFile | None]] = {}
        for item in by_image(dataset):
            split = item.image.split or "all"
            number, held, tar = shards.get(split, (0, 0, None))
            if tar is None or held >= _SHARD:
                if tar is not None:
                    tar.close()
                    number, held = number + 1, 0
                tar = tarfile.open(folder / f"{split}-{number:06d}.tar", "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
            _add(tar, f"{item.image.id}.json", dumps(image_object(item, dataset, names)))
            count_classes(counts, item.parts.class_id)
            pixels = image_bytes(item.image, options)
            if pixels is not None:
                _add(tar, f"{item.image.id}{pixels[1]}", pixels[0])
            missing += pixels is None and options.images != "none"
            shards[split] = (number, held + 1, tar)
        for _, _, tar in shards.values():
            if tar is not None:
                tar.close()
        head = {"name": dataset.name, "taxonomy": dataset.taxonomy.to_json(), "attributes": dict(dataset.attributes)}
        (folder / _HEAD).write_bytes(dumps(head) + b"\n")
        files = tuple(sorted(p.name for p in folder.iterdir()))
        losses = (missing_images(missing),) if missing else ()
        return Written(files=files, records=counts, losses=losses)

    def read(self, path: Path, taxonomy: Taxonomy | None = None) -> Dataset:
        """Open a folder of shards; see `Format.read`."""
        if not (path / _HEAD).is_file():
            raise InputError(f"{path.name!r} has no {_HEAD}, which names the classes of the shards")
        head = json.loads((path / _HEAD).read_text("utf-8"))
        records: list[Any] = []
        for shard in sorted(path.glob("*.tar")):
            try:
                with tarfile.open(shard) as tar:
                    members = (tar.extractfile(member) for member in tar if member.name.endswith(".json"))
                    records += [json.load(file) for file in members if file is not None]
            except (tarfile.TarError, ValueError) as error:
                raise InputError(f"{shard.name} is no shard of WebDataset: {error}") from error
        return read_objects(path.name, records, taxonomy or Taxonomy.from_json(head["taxonomy"]), head["attributes"])


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o644  # time and owner stay 0, so that equal inputs are equal bytes
    tar.addfile(info, io.BytesIO(data))


FORMAT = WebDataset(
    spec=FormatSpec(
        name="webdataset", title="WebDataset", stream="parts", suffix="", keeps=frozenset(KEEPABLE) - {"sources"},
        images="inside", crs="image", note="outlines as WKB in px beside boxes",
    )
)  # fmt: skip
