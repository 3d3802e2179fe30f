"""The store: a local folder or a bucket, through obstore. Writes are atomic: readers see the old or the new object."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, from_url

from geolabel.errors import NotFoundError, StoreError
from geolabel.settings import process_environment

_CLOUD = ("s3://", "gs://", "az://", "abfs://", "memory://")


class Store:
    """Objects by key ("scenes/abc.json").

    Args:
        uri: A folder, or an s3://, gs:// or az:// address; credentials come from the standard environment variables.

    Raises:
        StoreError: the folder can't be made or the address is not understood.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._root: Path | None = None
        try:
            if uri.startswith(_CLOUD):
                environ = process_environment()
                endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
                options: dict[str, Any] = {}
                if uri.startswith("s3://") and endpoint and endpoint.startswith("http://"):
                    options = {"endpoint": endpoint, "client_options": {"allow_http": True}}
                self._store: Any = from_url(uri, **options)
            else:
                self._root = Path(uri.removeprefix("file://")).absolute()
                self._root.mkdir(parents=True, exist_ok=True)
                self._store = LocalStore(str(self._root), mkdir=True)
        except (BaseError, OSError, ValueError) as error:
            raise StoreError(
                f"the store {uri!r} can't be opened: {error}; give a folder, s3://, gs:// or az://"
            ) from error

    def get(self, key: str) -> bytes:
        """Return the bytes of an object.

        Raises:
            NotFoundError: there is none.
            StoreError: the store does not answer.
        """
        try:
            return bytes(obstore.get(self._store, key).bytes())
        except FileNotFoundError as error:
            raise NotFoundError(f"the store {self.uri} has no {key!r}") from error
        except (BaseError, OSError) as error:
            raise self._failed("read", key, error) from error

    def put(self, key: str, data: bytes) -> None:
        """Write an object whole, replacing any that is there.

        Raises:
            StoreError: it can't be written (disk full, no permission, no answer).
        """
        try:
            obstore.put(self._store, key, data)
        except (BaseError, OSError) as error:
            raise self._failed("write", key, error) from error

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write an object only when there is none; tell whether it was written."""
        try:
            obstore.put(self._store, key, data, mode="create")
        except (AlreadyExistsError, FileExistsError):
            return False
        except (BaseError, OSError) as error:
            raise self._failed("write", key, error) from error
        return True

    def put_file(self, key: str, path: Path) -> None:
        """Write a local file as an object, without reading it into memory as a whole."""
        try:
            obstore.put(self._store, key, path)
        except (BaseError, OSError) as error:
            raise self._failed("write", key, error) from error

    def exists(self, key: str) -> bool:
        """Tell whether an object is there."""
        try:
            obstore.head(self._store, key)
        except FileNotFoundError:
            return False
        except (BaseError, OSError) as error:
            raise self._failed("read", key, error) from error
        return True

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the keys below a prefix, sorted."""
        try:
            keys = [item["path"] for batch in obstore.list(self._store, prefix.rstrip("/") or None) for item in batch]
        except FileNotFoundError:
            return
        except (BaseError, OSError) as error:
            raise self._failed("list", prefix, error) from error
        yield from sorted(keys)

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        try:
            obstore.delete(self._store, key)
        except FileNotFoundError:
            return
        except (BaseError, OSError) as error:
            raise self._failed("delete", key, error) from error

    def get_json(self, key: str) -> Any:
        """Return the JSON value of an object.

        Raises:
            NotFoundError: there is none.
            StoreError: it is no JSON.
        """
        data = self.get(key)
        try:
            return json.loads(data)
        except ValueError as error:
            raise StoreError(f"{key!r} in the store {self.uri} is no JSON: {error}") from error

    def put_json(self, key: str, value: Any) -> None:
        """Write a JSON value, keys sorted, so that equal values are equal bytes."""
        self.put(key, json.dumps(value, sort_keys=True, ensure_ascii=False, indent=1).encode())

    @contextmanager
    def local_path(self, key: str) -> Iterator[Path]:
        """Give an object as a local file, for libraries that read files; a download is removed afterwards."""
        if self._root is not None:
            path = self._root / key
            if not path.is_file():
                raise NotFoundError(f"the store {self.uri} has no {key!r}")
            yield path
            return
        with tempfile.TemporaryDirectory(prefix="geolabel-") as folder:
            path = Path(folder) / Path(key).name
            path.write_bytes(self.get(key))
            yield path

    def folder(self, key: str) -> Path | None:
        """Return the local folder of a prefix, or None when the store is a bucket."""
        return None if self._root is None else self._root / key

    def _failed(self, what: str, key: str, error: Exception) -> StoreError:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return StoreError(f"the store {self.uri} could not {what} {key!r}: {first[:300]}", retryable=True)
