"""A cache of pictures on disk, bounded in bytes; the least recently used go first."""

from __future__ import annotations

import hashlib
import os
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

_SLACK = 0.9


class PictureCache:
    """Bytes by key in files. Several processes may share the folder: files appear whole, and losing one is harmless.

    Args:
        folder: Of the cache; made on the first write.
        most_bytes: Bound; 0 turns the cache off.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder, self._most = folder, most_bytes
        self._lock = threading.Lock()
        self._bytes: int | None = None

    def get(self, key: str, make: Callable[[], bytes]) -> bytes:
        """Return the bytes of a key, made and kept when they aren't there."""
        if not self._most:
            return make()
        path = self._path(key)
        try:
            data = path.read_bytes()
        except OSError:
            data = b""
        if data:
            self._touch(path)
            return data
        data = make()
        self._put(path, data)
        return data

    def _path(self, key: str) -> Path:
        name = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
        return self._folder / name[:2] / name[2:]

    @staticmethod
    def _touch(path: Path) -> None:
        try:
            os.utime(path)
        except OSError:
            return  # another process has just removed it

    def _put(self, path: Path, data: bytes) -> None:
        partial = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(data)
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)  # a full disk must not keep pictures from being shown
            return
        with self._lock:
            if self._bytes is None:
                self._bytes = sum(size for _, size, _ in self._files())
            else:
                self._bytes += len(data)
            if self._bytes > self._most:
                self._prune()

    def _files(self) -> list[tuple[float, int, Path]]:
        found = []
        for path in self._folder.glob("??/*"):
            try:
                status = path.stat()
            except OSError:
                continue
            found.append((status.st_mtime, status.st_size, path))
        return found

    def _prune(self) -> None:
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        for _, size, path in files:
            if total <= self._most * _SLACK:
                break
            path.unlink(missing_ok=True)
            total -= size
        self._bytes = total
