"""Image embeddings as stored bytes, and a memory cache of prepared ones that is capped by bytes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from cachetools import LRUCache
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from geolabel.errors import ModelError
from geolabel.predict.sam_models import ImageEmbedding

Value = TypeVar("Value")


def embedding_key(model_id: str, chip_id: str) -> str:
    """Return where in the store the embedding of a chip lies."""
    return f"embeddings/{model_id}/{chip_id}.safetensors"


def embedding_to_bytes(embedding: ImageEmbedding) -> bytes:
    """Return the fp16 tensors and the chip's size as safetensors."""
    tensors = {"image": embedding.image}
    if embedding.fine is not None:
        tensors["fine2"], tensors["fine4"] = embedding.fine
    size = {"width": str(embedding.width), "height": str(embedding.height)}
    return bytes(save_tensors({name: t.contiguous() for name, t in tensors.items()}, metadata=size))


def embedding_from_bytes(data: bytes, width: int, height: int) -> ImageEmbedding:
    """Rebuild an embedding.

    Raises:
        ModelError: the bytes are damaged.
    """
    try:
        tensors = load_tensors(data)
        fine = (tensors["fine2"], tensors["fine4"]) if "fine2" in tensors else None
        return ImageEmbedding(image=tensors["image"], fine=fine, width=width, height=height)
    except (SafetensorError, KeyError, ValueError) as error:
        raise ModelError(f"a stored embedding is damaged ({error}); it is computed again") from error


class ByteCache(Generic[Value]):
    """A cache of immutable values, the least recently used leave when the bytes are used up.

    Two threads that miss the same key make one value, the second waits for the first; other keys never wait.
    """

    def __init__(self, max_bytes: int, size_of: Callable[[Value], int]) -> None:
        self._values: LRUCache[str, Value] = LRUCache(maxsize=max(max_bytes, 1), getsizeof=size_of)
        self._lock = threading.Lock()
        self._making: dict[str, threading.Lock] = {}

    def get(self, key: str) -> Value | None:
        """Return a value or None."""
        with self._lock:
            return self._values.get(key)

    def get_or_make(self, key: str, make: Callable[[], Value]) -> Value:
        """Return the value of a key, making it when it is absent; one larger than the cache is returned, not kept."""
        found = self.get(key)
        if found is not None:
            return found
        with self._lock:
            own = self._making.setdefault(key, threading.Lock())
        try:
            with own:
                found = self.get(key)
                if found is not None:
                    return found
                value = make()
                with self._lock:
                    try:
                        self._values[key] = value
                    except ValueError:
                        return value
                return value
        finally:
            with self._lock:
                self._making.pop(key, None)

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        with self._lock:
            return int(self._values.currsize)
