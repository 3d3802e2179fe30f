"""Addresses to scenes: files, folders, patterns, STAC items and collections, mosaics, conversions to COG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from geolabel.core.ids import digest
from geolabel.errors import InputError
from geolabel.pipeline.ingest_report import IngestOptions
from geolabel.raster.identity import identity_of
from geolabel.raster.location import (
    check_roots,
    file_of,
    gdal_path,
    is_pattern,
    is_remote,
    normalise_uri,
)
from geolabel.raster.scene import Opened, OpenOptions, open_described, open_scene, scene_name
from geolabel.services import Services

RASTER_SUFFIXES = (".tif", ".tiff", ".jp2", ".vrt", ".nc", ".img", ".zarr")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One scene to be: its address, name, and what opening it found."""

    uri: str
    name: str
    found: Opened


def open_sources(services: Services, uris: Sequence[str], asked: IngestOptions) -> Iterator[Source]:
    """Open what the addresses stand for, one scene at a time.

    Raises:
        InputError: a folder or pattern holds no raster, or a mosaic's files don't fit together.
    """
    roots = tuple(services.settings.scenes.roots)
    files = [kept for uri in uris for kept in expand(uri)]
    for file in files:
        check_roots(file, roots)
    if asked.mosaic and len(files) > 0:
        yield _mosaic(files, asked.open)
        return
    grid = asked.open
    for file in files:
        opened = list(_open_one(services, file, asked, grid))
        yield from opened
        if asked.stack and grid.align_to is None and opened and opened[0].found.scene is not None:
            # Later dates are laid on the grid of the first, so that the same window is the same ground.
            grid = _aligned(grid, opened[0].found)


def _aligned(options: OpenOptions, found: Opened) -> OpenOptions:
    from dataclasses import replace

    return replace(options, align_to=found.require().georef.to_json(), target_crs="", resolution=None)


def expand(uri: str) -> list[str]:
    """Return the files that an address stands for: a folder's rasters, the matches of a pattern, or itself.

    Raises:
        InputError: there is none.
    """
    kept = normalise_uri(uri)
    if is_remote(kept):
        return [kept]
    path = Path(kept)
    if is_pattern(kept):
        base = Path(kept[: min(kept.index(c) for c in "*?[" if c in kept)]).parent
        found = sorted(
            str(p) for p in base.glob(str(Path(kept).relative_to(base))) if p.is_file() or p.suffix == ".zarr"
        )
        if not found:
            raise InputError(f"no file matches {kept}")
        return found
    if path.is_dir() and not _is_zarr(path):
        found = sorted(
            str(p) for p in path.iterdir() if p.suffix.lower() in RASTER_SUFFIXES and not p.name.startswith(".")
        )
        if not found:
            raise InputError(f"the folder {kept} holds no raster ({', '.join(RASTER_SUFFIXES)})")
        return found
    return [kept]


def _is_zarr(path: Path) -> bool:
    return any((path / name).exists() for name in (".zgroup", ".zarray", ".zmetadata", "zarr.json"))


def _open_one(services: Services, uri: str, asked: IngestOptions, options: OpenOptions) -> Iterator[Source]:
    from geolabel.raster.stac import is_stac, open_stac

    if is_stac(uri):
        for name, found in open_stac(uri, options, asked.assets):
            yield Source(uri=uri, name=name, found=found)
        return
    if asked.cog:
        yield _converted(services, uri, asked, options)
        return
    found = open_scene(uri, options)
    if asked.plan.zoom is not None and found.scene is not None and not found.errors:
        from geolabel.core.plans import xyz_georef

        grid = xyz_georef(found.scene.georef, asked.plan.zoom, asked.plan.size_px)
        found = open_scene(uri, _on_grid(options, grid.to_json()))
    yield Source(uri=uri, name=scene_name(uri), found=found)


def _on_grid(options: OpenOptions, grid: dict[str, object]) -> OpenOptions:
    from dataclasses import replace

    return replace(options, align_to=grid)


def _converted(services: Services, uri: str, asked: IngestOptions, options: OpenOptions) -> Source:
    from geolabel.pipeline.conversion import convert_to_cog

    address, facts = convert_to_cog(services, uri, asked, options)
    found = open_described(
        address, OpenOptions(acquired=options.acquired, sensor=options.sensor, region=options.region),
        {"kind": "gdal", "remote": is_remote(address)}, identity_of(address), facts,
    )  # fmt: skip
    return Source(uri=address, name=scene_name(uri), found=found)


def _mosaic(files: list[str], options: OpenOptions) -> Source:
    from geolabel.raster.virtual import mosaic_xml

    remote = any(is_remote(file) for file in files)
    etags = [identity_of(file_of(file), requester_pays=options.requester_pays) for file in files]
    xml = mosaic_xml([gdal_path(file) for file in files], target_crs=options.target_crs, remote=remote)
    name = f"{scene_name(files[0])} and {len(files) - 1} more" if len(files) > 1 else scene_name(files[0])
    how = {"kind": "vrt", "xml": xml, "remote": remote, "requester_pays": options.requester_pays}
    rest = OpenOptions(
        ignore_nodata=options.ignore_nodata, acquired=options.acquired, sensor=options.sensor, region=options.region,
        band_names=options.band_names, resolution=None,
    )  # fmt: skip
    facts = {"properties": {"members": files}}
    found = open_described(files[0], rest, how, f"mosaic:{digest(*etags)}", facts)
    if found.scene is not None:
        from dataclasses import replace

        found = Opened(scene=replace(found.scene, name=name), issues=found.issues, header=found.header)
    return Source(uri=files[0], name=name, found=found)
