"""Where rasters lie: addresses, the paths GDAL reads them by, and what may be opened."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from geolabel.errors import InputError
from geolabel.settings import process_environment

_SCHEMES = {"http": "/vsicurl/", "https": "/vsicurl/", "s3": "/vsis3/", "gs": "/vsigs/", "az": "/vsiaz/"}
_SUBDATASET = re.compile(r'^(netcdf|hdf5|zarr|gpkg|gtiff_dir):"?(.+?)"?(?::([^:"]+))?$', re.IGNORECASE)
GLOB_CHARACTERS = "*?["


def scheme_of(uri: str) -> str:
    """Return "file", "https", "s3", … of an address; a path has "file"."""
    head, separator, _ = uri.partition("://")
    return head.lower() if separator and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", head) else "file"


def normalise_uri(uri: str) -> str:
    """Return the address as it is kept: paths absolute, schemes in lower case.

    Raises:
        InputError: the address is empty or of a scheme that is not read.
    """
    text = uri.strip()
    if not text:
        raise InputError("the address of the raster is empty; give a path, https://, s3://, gs:// or az:// address")
    scheme = scheme_of(text)
    if scheme == "file":
        return _local(text.removeprefix("file://"))
    if scheme not in _SCHEMES:
        raise InputError(f"{text[:200]!r} has the scheme {scheme!r}; read are paths, https://, s3://, gs:// and az://")
    if not urlsplit(text).netloc:
        raise InputError(f"{text[:200]!r} names no server or bucket")
    return scheme + text[len(scheme) :]


def _local(path: str) -> str:
    match = _SUBDATASET.match(path)
    if match is not None:
        driver, file, part = match.groups()
        inner = (
            file if scheme_of(file) != "file" or file.startswith("/vsi") else str(Path(file).expanduser().absolute())
        )
        return f'{driver.upper()}:"{inner}"' + (f":{part}" if part else "")
    if path.startswith("/vsi"):
        raise InputError(f"{path[:200]!r} is a path of GDAL's own; give the address itself (https://, s3://, a path)")
    return str(Path(path).expanduser().absolute())


def gdal_path(uri: str) -> str:
    """Return what GDAL opens for a kept address."""
    scheme = scheme_of(uri)
    if scheme == "file":
        match = _SUBDATASET.match(uri)
        if match is not None and scheme_of(match.group(2)) != "file":
            driver, file, part = match.groups()
            return f'{driver}:"{gdal_path(file)}"' + (f":{part}" if part else "")
        return uri
    rest = uri if scheme in ("http", "https") else uri.split("://", 1)[1]
    return _SCHEMES[scheme] + rest


def file_of(uri: str) -> str:
    """Return the file that an address, possibly of a subdataset, names."""
    match = _SUBDATASET.match(uri)
    return match.group(2) if match is not None and scheme_of(uri) == "file" else uri


def is_remote(uri: str) -> bool:
    """Tell whether reading goes over the network."""
    return scheme_of(file_of(uri)) != "file"


def is_pattern(uri: str) -> bool:
    """Tell whether a local address is a pattern of many files (an existing file of that very name is not)."""
    if scheme_of(uri) != "file" or not any(c in uri for c in GLOB_CHARACTERS):
        return False
    return not Path(uri).exists()


def check_roots(uri: str, roots: Sequence[str]) -> None:
    """Refuse an address outside the configured roots; without roots every address is allowed.

    Raises:
        InputError: it lies outside all of them.
    """
    if not roots:
        return
    file = file_of(uri)
    for root in roots:
        if scheme_of(root) != "file":
            if file.startswith(root.rstrip("/") + "/"):
                return
        elif scheme_of(file) == "file" and Path(file).resolve().is_relative_to(Path(root).expanduser().resolve()):
            return
    raise InputError(
        f"{file} lies outside the folders and prefixes that scenes may be opened from ({', '.join(roots)}); "
        "add its place to GEOLABEL_SCENES__ROOTS"
    )


def gdal_options(environ: Mapping[str, str] | None = None, *, requester_pays: bool = False) -> dict[str, Any]:
    """Return GDAL's options for remote reading: range requests merged and retried, endpoint taken over from AWS names.

    Credentials are read by GDAL itself from the standard variables (AWS_*, GOOGLE_APPLICATION_CREDENTIALS, AZURE_*).
    """
    env = process_environment() if environ is None else environ
    options: dict[str, Any] = {
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
        "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
        "GDAL_HTTP_MULTIPLEX": "YES",
        "GDAL_HTTP_MAX_RETRY": "3",
        "GDAL_HTTP_RETRY_DELAY": "0.5",
        "GDAL_HTTP_CONNECTTIMEOUT": "10",
        "GDAL_HTTP_TIMEOUT": "60",
        "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
        "VSI_CACHE": "TRUE",
    }
    endpoint = env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL")
    if endpoint and "AWS_S3_ENDPOINT" not in env:
        parts = urlsplit(endpoint)
        options["AWS_S3_ENDPOINT"] = parts.netloc or endpoint
        options["AWS_HTTPS"] = "NO" if parts.scheme == "http" else "YES"
        options["AWS_VIRTUAL_HOSTING"] = "FALSE"
    if requester_pays or env.get("AWS_REQUEST_PAYER") == "requester":
        options["AWS_REQUEST_PAYER"] = "requester"
    return options


@contextmanager
def reading(remote: bool, *, requester_pays: bool = False) -> Iterator[None]:
    """Set GDAL's options while a raster is opened or read; local rasters need none."""
    if not remote:
        yield
        return
    import rasterio
    from rasterio.session import DummySession

    with rasterio.Env(session=DummySession(), **gdal_options(requester_pays=requester_pays)):
        yield
