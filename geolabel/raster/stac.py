"""STAC Items and Collections as scenes: assets by name, role or band."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from geolabel.core.ids import digest
from geolabel.core.issues import Fix, Severity, ValidationIssue
from geolabel.errors import GeoLabelError, InputError, RasterReadError
from geolabel.raster.checks import issue
from geolabel.raster.identity import identity_of
from geolabel.raster.location import gdal_path, is_remote, normalise_uri, scheme_of
from geolabel.raster.scene import Opened, OpenOptions, open_described, way_of_opening

_MOST_ITEMS = 1000
_RASTER = ("tiff", "geotiff", "jp2", "netcdf", "x-netcdf", "zarr", "vnd.zarr")
_NOT_DATA = frozenset({"thumbnail", "overview", "metadata", "index"})


def is_stac(uri: str) -> bool:
    """Tell whether an address is a STAC document: JSON whose type is Feature with assets, or Collection or Catalog."""
    if not uri.lower().split("?")[0].endswith((".json", ".geojson")):
        return False
    if not is_remote(uri) and (not Path(uri).is_file() or Path(uri).stat().st_size > 20_000_000):
        return False
    try:
        value = read_json(uri)
    except GeoLabelError:
        return False
    return isinstance(value, dict) and "stac_version" in value


def read_json(uri: str) -> Any:
    """Read a JSON document of a path or address.

    Raises:
        RasterReadError: it can't be read.
        InputError: it is no JSON.
    """
    try:
        if scheme_of(uri) in ("http", "https"):
            import httpx

            answer = httpx.get(uri, timeout=30.0, follow_redirects=True)
            answer.raise_for_status()
            return answer.json()
        if is_remote(uri):
            return json.loads(_object(uri))
        return json.loads(Path(uri).read_text("utf-8"))
    except ValueError as error:
        raise InputError(f"{uri} is no JSON: {error}") from error
    except OSError as error:
        raise RasterReadError(f"{uri} can't be read: {error}") from error
    except Exception as error:
        if type(error).__module__.startswith(("httpx", "obstore")):
            raise RasterReadError(f"{uri} can't be read: {error}", retryable=True) from error
        raise


def _object(uri: str) -> bytes:
    from geolabel.adapters.store import Store

    head, _, name = uri.rpartition("/")
    return Store(head).get(name)


def open_stac(uri: str, options: OpenOptions, assets: Sequence[str]) -> Iterator[tuple[str, Opened]]:
    """Open the items of a STAC document: itself, or the items that a Collection or Catalog links to.

    Args:
        uri: Of the document.
        options: As for `open_scene`.
        assets: Asset keys, roles or band names to take; empty: the assets with role "data", or all rasters.

    Yields:
        (name, what was found) for every item; assets on one grid become bands of one scene.
    """
    document = read_json(uri)
    if document.get("type") == "Feature":
        yield str(document.get("id") or uri), open_item(document, uri, options, assets)
        return
    for count, href in enumerate(_items(document, uri)):
        if count >= _MOST_ITEMS:
            raise InputError(f"{uri} links to more than {_MOST_ITEMS} items; name the items wanted")
        item = read_json(href)
        yield str(item.get("id") or href), open_item(item, href, options, assets)


def _items(document: Mapping[str, Any], uri: str, depth: int = 0) -> Iterator[str]:
    for link in document.get("links") or []:
        href = resolve(str(link.get("href", "")), uri)
        if link.get("rel") == "item":
            yield href
        elif link.get("rel") == "child" and depth < 4:
            yield from _items(read_json(href), href, depth + 1)


def resolve(href: str, base: str) -> str:
    """Return an asset's address, relative ones to the document's."""
    if scheme_of(href) != "file" or href.startswith("/"):
        return href
    if scheme_of(base) in ("http", "https"):
        return urljoin(base, href)
    folder = base.rpartition("/")[0]
    parts: list[str] = folder.split("/")
    for part in href.split("/"):
        if part == "..":
            parts.pop()
        elif part not in (".", ""):
            parts.append(part)
    return "/".join(parts)


def open_item(item: Mapping[str, Any], uri: str, options: OpenOptions, wanted: Sequence[str]) -> Opened:
    """Open one STAC Item as a scene.

    Raises nothing for missing files: they are issues, as in `open_scene`.
    """
    chosen = choose_assets(item.get("assets") or {}, wanted)
    if not chosen:
        names = ", ".join(item.get("assets") or {}) or "none"
        message = f"item {item.get('id')} of {uri} has no asset {', '.join(wanted) or 'with a raster'}; it has {names}"
        fix = Fix(name="choose_assets", summary="--assets with names, roles or bands")
        return Opened(scene=None, issues=(issue("RAS030", Severity.ERROR, message, fix),))
    try:
        return _open_assets(item, uri, chosen, options)
    except RasterReadError as error:
        return Opened(scene=None, issues=(issue("RAS001", Severity.ERROR, error.message),))


def _open_assets(
    item: Mapping[str, Any], uri: str, chosen: Mapping[str, Mapping[str, Any]], options: OpenOptions
) -> Opened:
    from geolabel.raster.virtual import opened as open_gdal
    from geolabel.raster.virtual import stack_xml

    hrefs = [normalise_uri(resolve(str(asset["href"]), uri)) for asset in chosen.values()]
    remote = any(is_remote(href) for href in hrefs)
    etags = [identity_of(href, requester_pays=options.requester_pays) for href in hrefs]
    facts = {
        "acquired": (item.get("properties") or {}).get("datetime"),
        "sensor": str((item.get("properties") or {}).get("platform") or ""),
        "band_names": [name for key, asset in chosen.items() for name in asset_bands(key, asset)],
        "crs_hint": _crs_hint(item.get("properties") or {}),
        "properties": {"stac": {"item": uri, "id": item.get("id"), "assets": list(chosen)}},
    }
    how: dict[str, Any] = {"kind": "vrt", "remote": remote, "requester_pays": options.requester_pays}
    if len(hrefs) == 1:
        way = way_of_opening(hrefs[0], options)
        if isinstance(way, ValidationIssue):
            return Opened(scene=None, issues=(way,))
        how = way
    else:
        counts = []
        for href in hrefs:
            with open_gdal(gdal_path(href), remote=remote) as dataset:
                counts.append(dataset.count)
        if set(counts) != {1}:
            message = f"the assets {', '.join(chosen)} of item {item.get('id')} have several bands; name one"
            fix = Fix(name="choose_assets", summary="--assets NAME")
            return Opened(scene=None, issues=(issue("RAS030", Severity.ERROR, message, fix),))
        how |= {"xml": stack_xml([gdal_path(h) for h in hrefs], names=list(chosen), remote=remote)}
    found = open_described(hrefs[0], options, how, "stac:" + digest(*etags), facts)
    if found.scene is None:
        return found
    from dataclasses import replace

    scene = replace(found.scene, name=str(item.get("id") or found.scene.name))
    return Opened(scene=scene, issues=found.issues, header=found.header)


def _crs_hint(properties: Mapping[str, Any]) -> str:
    if properties.get("proj:code"):
        return str(properties["proj:code"])
    if properties.get("proj:epsg"):
        return f"EPSG:{properties['proj:epsg']}"
    return str(properties.get("proj:wkt2") or "")


def choose_assets(assets: Mapping[str, Mapping[str, Any]], wanted: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Return the assets that are asked for, in the order asked; else those of role "data", else all rasters."""
    out: dict[str, Mapping[str, Any]] = {}
    if wanted:
        for text in wanted:
            out |= {k: a for k, a in assets.items() if text in (k, *(a.get("roles") or []), *asset_bands(k, a))}
        return out
    rasters = {key: asset for key, asset in assets.items() if _is_raster(asset)}
    data = {key: asset for key, asset in rasters.items() if "data" in (asset.get("roles") or [])}
    return data or rasters


def _is_raster(asset: Mapping[str, Any]) -> bool:
    if _NOT_DATA & set(asset.get("roles") or []):
        return False
    media = str(asset.get("type") or "").lower()
    href = str(asset.get("href") or "").lower().split("?")[0]
    return any(word in media for word in _RASTER) or href.endswith((".tif", ".tiff", ".jp2", ".nc", ".zarr", ".vrt"))


def asset_bands(key: str, asset: Mapping[str, Any]) -> list[str]:
    """Return the names of an asset's bands: common names, else names, else its key."""
    bands = asset.get("bands") or asset.get("eo:bands") or []
    names = [str(b.get("eo:common_name") or b.get("common_name") or b.get("name") or "") for b in bands]
    return [name for name in names if name] or [key]
