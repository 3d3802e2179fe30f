"""Hugging Face `datasets` folder: parquet files by split and a dataset card that `load_dataset` reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from geolabel.core.dataset import Dataset
from geolabel.core.taxonomy import Taxonomy
from geolabel.errors import InputError
from geolabel.formats.coco import missing_images
from geolabel.formats.contract import KEEPABLE, FormatSpec, WriteOptions, Written, count_classes
from geolabel.formats.imagejson import dumps, image_object, read_objects
from geolabel.formats.imagery import by_image, image_bytes

_HEAD = "dataset.json"
_ROWS = 200
_OBJECT = pa.struct([
    ("bbox", pa.list_(pa.float64())), ("category", pa.int64()), ("label", pa.string()), ("area", pa.float64()),
    ("score", pa.float64()), ("outline", pa.string()), ("details", pa.string()),
])  # fmt: skip
_SCHEMA = pa.schema([
    ("image_id", pa.string()), ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
    ("width", pa.int64()), ("height", pa.int64()), ("crs", pa.string()), ("transform", pa.list_(pa.float64())),
    ("bounds", pa.list_(pa.float64())), ("objects", pa.list_(_OBJECT)), ("details", pa.string()),
])  # fmt: skip


def _features(with_images: bool) -> dict[str, Any]:
    def value(dtype: str) -> dict[str, str]:
        return {"dtype": dtype, "_type": "Value"}

    def many(feature: Any) -> dict[str, Any]:
        return {"feature": feature, "_type": "List"}

    entry = {
        "bbox": many(value("float64")), "category": value("int64"), "label": value("string"), "area": value("float64"),
        "score": value("float64"), "outline": value("string"), "details": value("string"),
    }  # fmt: skip
    image = {"_type": "Image"} if with_images else {"bytes": value("binary"), "path": value("string")}
    return {
        "image_id": value("string"), "image": image, "width": value("int64"), "height": value("int64"),
        "crs": value("string"), "transform": many(value("float64")), "bounds": many(value("float64")),
        "objects": many(entry), "details": value("string"),
    }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class HuggingFace:
    """The format."""

    spec: FormatSpec

    def write(self, dataset: Dataset, folder: Path, options: WriteOptions) -> Written:
        """Write data/SPLIT.parquet, README.md and dataset.json; see `Format.write`."""
        (folder / "data").mkdir()
        with_images = options.images == "rendered"
        meta = {"huggingface": json.dumps({"info": {"features": _features(with_images)}}, sort_keys=True)}
        schema = _SCHEMA.with_metadata(meta)
        names = dataset.class_names()
        counts: dict[int, int] = {}
        missing = 0
        writers: dict[str, pq.ParquetWriter] = {}
        held: dict[str, list[dict[str, Any]]] = {}
        for item in by_image(dataset):
            split = item.image.split or "train"
            count_classes(counts, item.parts.class_id)
            made = image_bytes(item.image, options)
            missing += made is None and options.images != "none"
            row = _row(image_object(item, dataset, names), made)
            rows = held.setdefault(split, [])
            rows.append(row)
            if split not in writers:
                writers[split] = pq.ParquetWriter(folder / "data" / f"{split}.parquet", schema, compression="zstd")
            if len(rows) >= _ROWS:
                writers[split].write_table(pa.Table.from_pylist(rows, schema=schema))
                rows.clear()
        for split, writer in writers.items():
            if held[split]:
                writer.write_table(pa.Table.from_pylist(held[split], schema=schema))
            writer.close()
        head = {"name": dataset.name, "taxonomy": dataset.taxonomy.to_json(), "attributes": dict(dataset.attributes)}
        (folder / _HEAD).write_bytes(dumps(head) + b"\n")
        (folder / "README.md").write_text(_card(dataset, sorted(writers)), encoding="utf-8")
        files = tuple(sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()))
        return Written(files=files, records=counts, losses=(missing_images(missing),) if missing else ())

    def read(self, path: Path, taxonomy: Taxonomy | None = None) -> Dataset:
        """Open a folder; see `Format.read`."""
        if not (path / _HEAD).is_file():
            raise InputError(f"{path.name!r} has no {_HEAD}, which names the classes")
        head = json.loads((path / _HEAD).read_text("utf-8"))
        records: list[Mapping[str, Any]] = []
        for file in sorted((path / "data").glob("*.parquet")):
            try:
                table = pq.read_table(file, columns=["objects", "details"])
            except (pa.ArrowException, OSError) as error:
                raise InputError(f"{file.name} is no parquet file of this format: {error}") from error
            for row in table.to_pylist():
                objects = [
                    {**json.loads(o["details"]), "label": o["label"], "outline": o["outline"]} for o in row["objects"]
                ]
                records.append({**json.loads(row["details"]), "objects": objects})
        return read_objects(path.name, records, taxonomy or Taxonomy.from_json(head["taxonomy"]), head["attributes"])


def _row(record: dict[str, Any], made: tuple[bytes, str] | None) -> dict[str, Any]:
    objects = []
    own = ("bbox", "category", "label", "area", "outline")
    for entry in record.pop("objects"):
        rest = {k: v for k, v in entry.items() if k not in own}
        objects.append({**{k: entry[k] for k in own}, "score": rest.get("score"), "details": dumps(rest).decode()})
    return {
        "image_id": record["id"], "width": record["width"], "height": record["height"], "crs": record.get("crs"),
        "transform": record.get("transform"), "bounds": record.get("bounds"), "objects": objects,
        "details": dumps(record).decode(),
        "image": None if made is None else {"bytes": made[0], "path": f"{record['id']}{made[1]}"},
    }  # fmt: skip


def _card(dataset: Dataset, splits: list[str]) -> str:
    import yaml

    head = {
        "pretty_name": dataset.name,
        "task_categories": ["object-detection", "image-segmentation"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": s, "path": f"data/{s}.parquet"} for s in splits],
            }
        ],
    }
    classes = "\n".join(f"| {c.id} | {c.name} |" for c in dataset.taxonomy.classes)
    return (
        f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n\n# {dataset.name}\n\n"
        "Boxes are x, y, width, height in pixels; outlines are WKB in pixels; crs, transform, bounds place an image.\n"
        f"\n| category | class |\n|---|---|\n{classes}\n"
    )


FORMAT = HuggingFace(
    spec=FormatSpec(
        name="huggingface", title="Hugging Face datasets", stream="parts", suffix="",
        keeps=frozenset(KEEPABLE) - {"sources"}, images="inside", crs="image",
        note="parquet by split with a dataset card",
    )
)  # fmt: skip
