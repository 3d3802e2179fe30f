"""Identity of a raster's bytes, so that the same file has the same scene wherever it lies."""

from __future__ import annotations

import hashlib
from pathlib import Path

from geolabel.core.ids import digest
from geolabel.errors import RasterReadError
from geolabel.raster.location import is_remote, scheme_of

_PIECE = 1 << 16
_PIECES = 16
_ZARR_METADATA = ("zarr.json", ".zarray", ".zattrs", ".zmetadata")


def identity_of(uri: str, *, requester_pays: bool = False) -> str:
    """Return the identity of a file.

    A local file up to 1 MiB is hashed whole; a larger one by its size and 16 pieces of 64 KiB spread over it, the first
    and the last included, since a terabyte can't be hashed to register it. A folder (Zarr) by its metadata files. A
    remote object by the ETag and size that its server states.

    Raises:
        RasterReadError: it isn't there.
    """
    if is_remote(uri):
        return _remote(uri, requester_pays)
    path = Path(uri)
    try:
        if path.is_dir():
            return _folder(path)
        if not path.exists() and ".zip" in uri:
            return digest("zip", uri)
        return _file(path)
    except OSError as error:
        raise RasterReadError(f"{uri} can't be read: {error.strerror or error}") from error


def _file(path: Path) -> str:
    size = path.stat().st_size
    state = hashlib.blake2b(str(size).encode(), digest_size=16)
    with path.open("rb") as stream:
        if size <= _PIECE * _PIECES:
            state.update(stream.read())
        else:
            for i in range(_PIECES):
                stream.seek((size - _PIECE) * i // (_PIECES - 1))
                state.update(stream.read(_PIECE))
    return f"blake2b-16x64k:{state.hexdigest()}"


def _folder(path: Path) -> str:
    state = hashlib.blake2b(digest_size=16)
    for file in sorted(p for p in path.rglob("*") if p.name in _ZARR_METADATA):
        state.update(str(file.relative_to(path)).encode())
        state.update(file.read_bytes())
    return f"folder:{state.hexdigest()}"


def _remote(uri: str, requester_pays: bool) -> str:
    scheme = scheme_of(uri)
    if scheme in ("http", "https"):
        import httpx

        try:
            answer = httpx.head(uri, follow_redirects=True, timeout=20.0)
        except httpx.HTTPError as error:
            raise RasterReadError(f"{uri} does not answer: {type(error).__name__}: {error}", retryable=True) from error
        if answer.status_code in (403, 404, 410):
            raise RasterReadError(f"{uri} is not there, or may not be read ({answer.status_code})")
        tag = answer.headers.get("etag") or answer.headers.get("last-modified") or ""
        return f"http:{digest(tag, answer.headers.get('content-length') or '', uri if not tag else '')}"
    return _object(uri, requester_pays)


def _object(uri: str, requester_pays: bool) -> str:
    from urllib.parse import urlsplit

    import obstore
    from obstore.exceptions import BaseError
    from obstore.store import from_url

    from geolabel.settings import process_environment

    parts = urlsplit(uri)
    environ = process_environment()
    endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
    options: dict[str, object] = {}
    if parts.scheme == "s3":
        if endpoint and endpoint.startswith("http://"):
            options = {"endpoint": endpoint, "client_options": {"allow_http": True}}
        if requester_pays:
            options["request_payer"] = True
    try:
        store = from_url(f"{parts.scheme}://{parts.netloc}", **options)
        if parts.path.rstrip("/").endswith(".zarr"):
            found = [o for page in obstore.list(store, parts.path.strip("/")) for o in page]
            metadata = [o for o in found if str(o["path"]).rpartition("/")[2] in _ZARR_METADATA]
            keys = sorted(f"{o['path']}:{o['e_tag']}" for o in metadata)
            return f"folder:{digest(*keys)}"
        head = obstore.head(store, parts.path.lstrip("/"))
    except FileNotFoundError as error:
        raise RasterReadError(f"{uri} is not there") from error
    except (BaseError, OSError, ValueError) as error:
        raise RasterReadError(f"{uri} can't be read: {str(error).splitlines()[0][:200]}", retryable=True) from error
    return f"object:{digest(str(head.get('e_tag') or ''), int(head['size']))}"
