"""TFRecord in the features of TensorFlow's object detection, and the image's place as numbers.

TensorFlow's floats have 32 bits, too few for northings; transform and bounds are kept as 64-bit bytes too.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from geolabel.core.dataset import Dataset
from geolabel.core.taxonomy import Taxonomy
from geolabel.errors import InputError
from geolabel.formats.coco import missing_images
from geolabel.formats.contract import KEEPABLE, FormatSpec, WriteOptions, Written, count_classes
from geolabel.formats.imagejson import dumps, image_object, read_objects
from geolabel.formats.imagery import ImageParts, by_image, image_bytes

_HEAD = "dataset.json"
_MASK_DELTA = 0xA282EAD8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Protos:
    """Message classes of tensorflow.train.Example, made from its published definition."""

    Example: Any
    Features: Any
    Feature: Any
    BytesList: Any
    FloatList: Any
    Int64List: Any


@lru_cache(maxsize=1)
def _protos() -> _Protos:
    # Source: tensorflow/core/example/example.proto and feature.proto.
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # type: ignore[import-untyped]

    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="geolabel/example.proto", package="geolabel", syntax="proto3")
    lists = {"BytesList": field.TYPE_BYTES, "FloatList": field.TYPE_FLOAT, "Int64List": field.TYPE_INT64}
    for name, kind in lists.items():
        message = file.message_type.add(name=name)
        message.field.add(name="value", number=1, type=kind, label=field.LABEL_REPEATED)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, kind) in enumerate((("bytes", "Bytes"), ("float", "Float"), ("int64", "Int64")), 1):
        feature.field.add(
            name=f"{name}_list", number=number, type=field.TYPE_MESSAGE, type_name=f".geolabel.{kind}List",
            label=field.LABEL_OPTIONAL, oneof_index=0,
        )  # fmt: skip
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    entry.field.add(
        name="value", number=2, type=field.TYPE_MESSAGE, type_name=".geolabel.Feature", label=field.LABEL_OPTIONAL
    )
    features.field.add(
        name="feature", number=1, type=field.TYPE_MESSAGE, type_name=".geolabel.Features.FeatureEntry",
        label=field.LABEL_REPEATED,
    )  # fmt: skip
    example = file.message_type.add(name="Example")
    example.field.add(
        name="features", number=1, type=field.TYPE_MESSAGE, type_name=".geolabel.Features", label=field.LABEL_OPTIONAL
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    made = message_factory.GetMessageClassesForFiles([file.name], pool)
    return _Protos(**{name: made[f"geolabel.{name}"] for name in _Protos.__slots__})


def _libraries() -> tuple[Any, Any]:
    from google_crc32c import value

    return value, _protos()


@dataclass(frozen=True, slots=True, kw_only=True)
class TfRecord:
    """The format."""

    spec: FormatSpec

    def write(self, dataset: Dataset, folder: Path, options: WriteOptions) -> Written:
        """Write SPLIT.tfrecord, label_map.pbtxt and dataset.json; see `Format.write`."""
        crc, protos = _libraries()
        names = dataset.class_names()
        counts: dict[int, int] = {}
        missing = 0
        files: dict[str, Any] = {}
        try:
            for item in by_image(dataset):
                split = item.image.split or "all"
                if split not in files:
                    files[split] = (folder / f"{split}.tfrecord").open("wb")
                made = image_bytes(item.image, options)
                missing += made is None and options.images != "none"
                count_classes(counts, item.parts.class_id)
                example = _example(item, image_object(item, dataset, names), made, protos)
                _append(files[split], example.SerializeToString(deterministic=True), crc)
        finally:
            for file in files.values():
                file.close()
        items = "".join(f"item {{\n  id: {c.id}\n  name: {json.dumps(c.name)}\n}}\n" for c in dataset.taxonomy.classes)
        (folder / "label_map.pbtxt").write_text(items, encoding="utf-8")
        head = {"name": dataset.name, "taxonomy": dataset.taxonomy.to_json(), "attributes": dict(dataset.attributes)}
        (folder / _HEAD).write_bytes(dumps(head) + b"\n")
        listed = tuple(sorted(p.name for p in folder.iterdir()))
        return Written(files=listed, records=counts, losses=(missing_images(missing),) if missing else ())

    def read(self, path: Path, taxonomy: Taxonomy | None = None) -> Dataset:
        """Open a folder; see `Format.read`."""
        if not (path / _HEAD).is_file():
            raise InputError(f"{path.name!r} has no {_HEAD}, which names the classes")
        head = json.loads((path / _HEAD).read_text("utf-8"))
        crc, protos = _libraries()
        records = [
            json.loads(protos.Example.FromString(data).features.feature["image/geolabel"].bytes_list.value[0])
            for file in sorted(path.glob("*.tfrecord"))
            for data in _records(file, crc)
        ]
        return read_objects(path.name, records, taxonomy or Taxonomy.from_json(head["taxonomy"]), head["attributes"])


def _append(file: Any, data: bytes, crc: Any) -> None:
    length = struct.pack("<Q", len(data))
    file.write(length + _masked(crc(length)) + data + _masked(crc(data)))


def _masked(value: int) -> bytes:
    return struct.pack("<I", (((value >> 15) | (value << 17)) + _MASK_DELTA) & 0xFFFFFFFF)


def _records(path: Path, crc: Any) -> Iterator[bytes]:
    with path.open("rb") as file:
        while head := file.read(12):
            length = struct.unpack("<Q", head[:8])[0] if len(head) == 12 else 0
            if len(head) < 12 or _masked(crc(head[:8])) != head[8:]:
                raise InputError(f"{path.name} is no TFRecord file, or damaged")
            data, check = file.read(length), file.read(4)
            if _masked(crc(data)) != check:
                raise InputError(f"{path.name} is damaged: a record's checksum is wrong")
            yield data


def _example(item: ImageParts, record: dict[str, Any], made: tuple[bytes, str] | None, protos: Any) -> Any:
    features: dict[str, Any] = {}

    def add(name: str, values: list[Any], kind: str) -> None:
        lists = {"bytes": protos.BytesList, "float": protos.FloatList, "int64": protos.Int64List}
        features[name] = protos.Feature(**{f"{kind}_list": lists[kind](value=values)})

    image, batch = item.image, item.parts
    add("image/height", [image.height], "int64")
    add("image/width", [image.width], "int64")
    add("image/filename", [image.id.encode()], "bytes")
    add("image/source_id", [image.id.encode()], "bytes")
    if made is not None:
        add("image/encoded", [made[0]], "bytes")
        add("image/format", [made[1].lstrip(".").encode()], "bytes")
    if image.georef is not None:
        six, bounds = image.georef.transform, image.georef.bounds()
        add("image/crs", [image.georef.crs.encode()], "bytes")
        for name, values in (("transform", six), ("bounds", bounds)):
            add(f"image/{name}", list(values), "float")
            add(f"image/{name}_f64", [np.array(values, dtype="<f8").tobytes()], "bytes")
    bounds_px = shapely.bounds(batch.geometry) / [image.width, image.height, image.width, image.height]
    for name, column in (("xmin", 0), ("ymin", 1), ("xmax", 2), ("ymax", 3)):
        add(f"image/object/bbox/{name}", bounds_px[:, column].tolist(), "float")
    add("image/object/class/label", batch.class_id.tolist(), "int64")
    add("image/object/class/text", [o["label"].encode() for o in record["objects"]], "bytes")
    add("image/object/outline", list(shapely.to_wkb(batch.geometry)), "bytes")
    add("image/geolabel", [dumps(record)], "bytes")
    return protos.Example(features=protos.Features(feature=features))


FORMAT = TfRecord(
    spec=FormatSpec(
        name="tfrecord", title="TFRecord", stream="parts", suffix="", keeps=frozenset(KEEPABLE) - {"sources"},
        images="inside", crs="image", note="features of TensorFlow object detection; outlines as WKB in px",
    )
)  # fmt: skip
