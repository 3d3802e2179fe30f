"""What image formats share: parts grouped by image, names and files of images, and their georeference as numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from geolabel.core.dataset import AttributeType, Batch, Dataset, ImageRef, SceneRef
from geolabel.core.georef import Georeference, Window
from geolabel.core.placing import scene_plane
from geolabel.core.taxonomy import Taxonomy
from geolabel.errors import InputError
from geolabel.formats.contract import WriteOptions

SIDECAR = "geolabel.json"
_SCHEMA = "geolabel.images/1"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageParts:
    """One image and its records, in order."""

    number: int
    image: ImageRef
    parts: Batch


def by_image(dataset: Dataset) -> Iterator[ImageParts]:
    """Yield every image with its parts, images without any included, in the order of the dataset."""
    at = 0
    held: list[Batch] = []
    frame = -1

    def until(stop: int) -> Iterator[ImageParts]:
        nonlocal at
        while at < stop:
            yield ImageParts(number=at, image=dataset.images[at], parts=Batch.empty())
            at += 1

    for batch in dataset.parts():
        edges = np.flatnonzero(np.diff(batch.frame)) + 1
        for start, stop in zip([0, *edges.tolist()], [*edges.tolist(), len(batch)], strict=True):
            number = int(batch.frame[start])
            if number != frame and held:
                yield from until(frame)
                yield ImageParts(number=frame, image=dataset.images[frame], parts=Batch.concat(held))
                at, held = frame + 1, []
            frame = number
            held.append(batch.take(slice(start, stop)))
    if held:
        yield from until(frame)
        yield ImageParts(number=frame, image=dataset.images[frame], parts=Batch.concat(held))
        at = frame + 1
    yield from until(len(dataset.images))


def georeference(image: ImageRef) -> dict[str, Any]:
    """Return an image's place as numbers: crs, transform (a, b, c, d, e, f), bounds; empty when it has none."""
    if image.georef is None:
        return {}
    return {
        "crs": image.georef.crs,
        "transform": list(image.georef.transform),
        "bounds": list(image.georef.bounds()),
    }


def image_record(image: ImageRef, scenes: Sequence[SceneRef]) -> dict[str, Any]:
    """Return an image as JSON: what `image_of_record` reads."""
    record = {
        "id": image.id, "task_id": image.task_id, "width": image.width, "height": image.height, "split": image.split,
        "item_index": image.item_index, **georeference(image),
    }  # fmt: skip
    if image.scene >= 0:
        record["scene"] = scenes[image.scene].id
    if image.window is not None:
        record["window"] = image.window.to_list()
    return record


def image_of_record(record: Mapping[str, Any], scene_numbers: dict[str, int]) -> ImageRef:
    """Return an image from its JSON; its scene gets the next free number when it is new.

    Raises:
        InputError: a field is missing or wrong.
    """
    try:
        width, height = int(record["width"]), int(record["height"])
        georef = None
        if record.get("crs"):
            georef = Georeference.from_parts(
                crs=record["crs"], transform=record["transform"], width=width, height=height
            )
        scene = -1
        window = None
        if georef is not None:
            scene = scene_numbers.setdefault(str(record.get("scene", record.get("id"))), len(scene_numbers))
            col, row, w, h = record.get("window") or (0, 0, width, height)
            window = Window(col=int(col), row=int(row), width=int(w), height=int(h))
        return ImageRef(
            id=str(record["id"]), task_id=int(record.get("task_id", 0)), width=width, height=height, georef=georef,
            scene=scene, window=window, split=str(record.get("split", "")), item_index=int(record.get("item_index", 0)),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"image {dict(record)!r:.120} lacks or garbles a field: {error!r}") from error


def scenes_of(images: Sequence[ImageRef], names: Mapping[str, int]) -> tuple[SceneRef, ...]:
    """Return the scenes that images were cut from, by their numbers."""
    planes: dict[int, Georeference] = {}
    for image in images:
        if image.georef is None or image.window is None:
            continue
        col, row, width, height = image.window.to_list()
        plane = scene_plane(image.georef, (col, row, width, height))
        known = planes.get(image.scene, plane)
        planes[image.scene] = replace(
            known, width=max(known.width, plane.width), height=max(known.height, plane.height)
        )
    return tuple(SceneRef(id=name, georef=planes[number]) for name, number in names.items())


def write_sidecar(folder: Path, dataset: Dataset, **more: Any) -> None:
    """Write `geolabel.json`: classes, and every image's size, place and split as numbers."""
    head = {
        "schema": _SCHEMA, "name": dataset.name, "taxonomy": dataset.taxonomy.to_json(),
        "attributes": dict(dataset.attributes), **more,
    }  # fmt: skip
    with (folder / SIDECAR).open("w", encoding="utf-8") as file:
        file.write(json.dumps(head, sort_keys=True, ensure_ascii=False)[:-1] + ', "images": [\n')
        for number, image in enumerate(dataset.images):
            file.write("" if number == 0 else ",\n")
            file.write(json.dumps(image_record(image, dataset.scenes), sort_keys=True, ensure_ascii=False))
        file.write("\n]}\n")


def read_sidecar(folder: Path) -> dict[str, Any]:
    """Return `geolabel.json` of a folder.

    Raises:
        InputError: there is none, or it is not ours.
    """
    path = folder / SIDECAR
    if not path.is_file():
        raise InputError(f"{folder.name!r} has no {SIDECAR}, which tells where its images lie on the Earth")
    try:
        value: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise InputError(f"{path.name!r} is no JSON: {error}") from error
    if value.get("schema") != _SCHEMA:
        raise InputError(f"{path.name!r} has schema {value.get('schema')!r}; {_SCHEMA!r} is right")
    return value


def dataset_of_images(
    name: str,
    taxonomy: Taxonomy,
    images: Sequence[ImageRef],
    scene_names: Mapping[str, int],
    parts: Any,
    attributes: Mapping[str, AttributeType] | None = None,
) -> Dataset:
    """Return a dataset that was read from an image format; objects are the parts as drawn."""
    from geolabel.core.placing import objects_as_drawn

    return Dataset(
        name=name, taxonomy=taxonomy, images=tuple(images), scenes=scenes_of(images, scene_names), parts=parts,
        objects=objects_as_drawn(parts, images), attributes=attributes or {},
    )  # fmt: skip


def read_images(side: Mapping[str, Any]) -> tuple[list[ImageRef], dict[str, int]]:
    """Return the images of a sidecar and the numbers of their scenes."""
    names: dict[str, int] = {}
    return [image_of_record(record, names) for record in side["images"]], names


def polygonal(batch: Batch, *, split: bool) -> Batch:
    """Return the polygons of a batch, lines and points left out; multi-polygons as parts of their own when asked."""
    types = shapely.get_type_id(batch.geometry)
    batch = batch.take(np.isin(types, (3, 6)))
    if split and len(batch):
        pieces, owner = shapely.get_parts(batch.geometry, return_index=True)
        batch = batch.take(owner).with_columns(geometry=pieces)
    return batch


def burn(geometry: shapely.Geometry, width: int, height: int) -> npt.NDArray[np.uint8]:
    """Return the pixels whose centre lies inside a polygon, (row, col) uint8 0 and 1."""
    return burn_all([(geometry, 1)], width, height, np.uint8)


def burn_all(shapes: Sequence[tuple[shapely.Geometry, int]], width: int, height: int, dtype: Any) -> npt.NDArray[Any]:
    """Return (row, col) values of the last polygon whose inside holds the pixel's centre, 0 outside of all."""
    from affine import Affine
    from rasterio.features import rasterize

    kept = [(shape, value) for shape, value in shapes if not shape.is_empty]
    if not kept:
        return np.zeros((height, width), dtype=dtype)
    out: npt.NDArray[Any] = rasterize(
        kept, out_shape=(height, width), fill=0, transform=Affine.identity(), dtype=np.dtype(dtype).name
    )
    return out


def image_bytes(image: ImageRef, options: WriteOptions) -> tuple[bytes, str] | None:
    """Return an image as (bytes, suffix): PNG as rendered or GeoTIFF of raw bands; None when it can't be had."""
    if options.images == "none" or options.pixels is None:
        return None
    pixels = options.pixels.read(image)
    if pixels is None:
        return None
    if options.images == "rendered":
        import cv2

        done, data = cv2.imencode(".png", np.ascontiguousarray(pixels[:, :, ::-1]))
        if not done:
            raise InputError(f"image {image.id} of shape {pixels.shape} could not be encoded as PNG")
        return data.tobytes(), ".png"
    return geotiff_bytes(pixels, image), ".tif"


def geotiff_bytes(pixels: npt.NDArray[Any], image: ImageRef) -> bytes:
    """Return (band, row, col) pixels as a deflated GeoTIFF at the image's place."""
    from rasterio.io import MemoryFile

    place: dict[str, Any] = {}
    if image.georef is not None:
        place = {"crs": image.georef.crs, "transform": image.georef.affine}
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff", width=pixels.shape[2], height=pixels.shape[1], count=pixels.shape[0], dtype=pixels.dtype,
            compress="deflate", **place,
        ) as target:  # fmt: skip
            target.write(pixels)
        return bytes(memory.read())


def write_image(image: ImageRef, folder: Path, options: WriteOptions) -> str | None:
    """Write an image file below a folder and return its name, or None when it can't be had."""
    made = image_bytes(image, options)
    if made is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{image.id}{made[1]}").write_bytes(made[0])
    return f"{image.id}{made[1]}"


def image_name(image: ImageRef, options: WriteOptions) -> str:
    """Return the file name an image has or would have."""
    return f"{image.id}{'.tif' if options.images == 'raw' else '.png'}"


def image_id(file_name: str) -> str:
    """Return the id of an image from its file name."""
    return Path(file_name).stem
