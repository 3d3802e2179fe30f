"""Pictures of chips in memory for repeated clicks, capped by bytes; free of torch."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from cachetools import LRUCache

Rgb = npt.NDArray[np.uint8]


class PictureMemory:
    """The least recently used pictures leave when the bytes are used up; safe between threads.

    Args:
        max_bytes: Of all pictures together.
    """

    def __init__(self, max_bytes: int) -> None:
        self._values: LRUCache[str, Rgb] = LRUCache(maxsize=max(max_bytes, 1), getsizeof=lambda rgb: int(rgb.nbytes))
        self._lock = threading.Lock()

    def get_or_make(self, key: str, make: Callable[[], Rgb]) -> Rgb:
        """Return the picture of a key; two threads that miss it may both make it, which costs time and nothing else."""
        with self._lock:
            found = self._values.get(key)
        if found is not None:
            return found
        value = make()
        value.setflags(write=False)
        with self._lock:
            if value.nbytes <= self._values.maxsize:
                self._values[key] = value
        return value
