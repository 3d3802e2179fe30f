"""Pictures for people: chips, their surroundings and map tiles, from cache, from the store, or rendered now."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from cachetools import TTLCache

from geolabel.core.georef import Window
from geolabel.core.scene import Chip, RenderSpec, Scene
from geolabel.errors import InputError, NotFoundError
from geolabel.pipeline.chip_urls import chip_of_query
from geolabel.pipeline.picture_cache import PictureCache
from geolabel.pipeline.scenes import load_render, load_scene
from geolabel.raster.encode import encode_image
from geolabel.raster.location import check_roots
from geolabel.raster.pool import DatasetPool, opened
from geolabel.raster.render import render_bytes, render_window
from geolabel.services import Services

_SCENES_S = 30.0
_CONTEXT = 3
_CONTEXT_PX = 640
_MAX_EDGE_PX = 4096


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that is wanted: what its bytes depend on, and how to get them."""

    key: str
    make: Callable[[], bytes]


class Pictures:
    """Renders pictures of registered scenes for one process.

    Args:
        services: Store and settings.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        settings = services.settings
        self.pool = DatasetPool()
        self._cache = PictureCache(settings.state_dir.absolute() / "cache" / "pictures", settings.chips.cache_bytes)
        self._scenes: TTLCache[str, Scene] = TTLCache(256, _SCENES_S, timer=time.monotonic)
        self._stored: TTLCache[str, bool] = TTLCache(256, _SCENES_S, timer=time.monotonic)

    def scene(self, scene_id: str) -> Scene:
        """Return a registered scene, remembered for half a minute.

        Raises:
            NotFoundError: it isn't registered.
            InputError: it lies outside the roots that are configured now.
        """
        found = self._scenes.get(scene_id)
        if found is None:
            found = load_scene(self._services, scene_id)
            check_roots(found.uri, self._services.settings.scenes.roots)
            self._scenes[scene_id] = found
        return found

    def chip(self, identity: str, image_format: str, query: Mapping[str, str]) -> Picture:
        """Return the picture of a chip that a verified query describes."""
        chip, scene = self._chip(identity, query)
        key = f"chip/{identity}.{image_format}/{scene.etag}"

        def make() -> bytes:
            stored = self._prerendered(chip, image_format)
            if stored is not None:
                return stored
            return render_bytes(scene, chip, image_format, pool=self.pool)

        return Picture(key, lambda: self._cache.get(key, make))

    def context(self, identity: str, query: Mapping[str, str]) -> Picture:
        """Return the picture of a chip's surroundings."""
        chip, scene = self._chip(identity, query)
        key = f"context/{identity}/{scene.etag}"
        return Picture(key, lambda: self._cache.get(key, lambda: self._surroundings(chip, scene)))

    def render(self, scene: Scene, digest: str) -> RenderSpec:
        """Return the way of showing of a digest, or the scene's own for ""."""
        if digest:
            return load_render(self._services, scene, digest)
        if scene.render is None:
            raise NotFoundError(f"scene {scene.name} has no default render; ingest it again")
        return scene.render

    def cached(self, key: str, make: Callable[[], bytes]) -> bytes:
        """Return bytes from the cache, or make and keep them."""
        return self._cache.get(key, make)

    def _chip(self, identity: str, query: Mapping[str, str]) -> tuple[Chip, Scene]:
        chip, scene = chip_of_query(self._services, identity, query, self.scene(query.get("s", "")))
        if max(chip.georef.width, chip.georef.height) > _MAX_EDGE_PX:
            raise InputError(
                f"a chip of {chip.georef.width} × {chip.georef.height} px is larger than {_MAX_EDGE_PX} px"
            )
        return chip, scene

    def _prerendered(self, chip: Chip, image_format: str) -> bytes | None:
        from geolabel.pipeline.prerender import chip_key, is_prerendered

        known = self._stored.get(chip.scene_id)
        if known is None:
            known = self._stored[chip.scene_id] = is_prerendered(self._services, chip.scene_id)
        if not known:
            return None
        try:
            return self._services.store.get(chip_key(chip.scene_id, chip.id, image_format))
        except NotFoundError:
            return None

    def _surroundings(self, chip: Chip, scene: Scene) -> bytes:
        import cv2

        window = chip.window
        wide = Window(
            col=window.col - window.width * (_CONTEXT - 1) // 2, row=window.row - window.height * (_CONTEXT - 1) // 2,
            width=window.width * _CONTEXT, height=window.height * _CONTEXT,
        )  # fmt: skip
        scale = _CONTEXT_PX / max(wide.width, wide.height)
        size = (max(1, round(wide.width * scale)), max(1, round(wide.height * scale)))
        with opened(scene, self.pool) as raster:
            rgba = np.ascontiguousarray(render_window(scene, raster, wide, size, chip.render))
        left, top = round((window.col - wide.col) * scale), round((window.row - wide.row) * scale)
        right, bottom = left + round(window.width * scale), top + round(window.height * scale)
        cv2.rectangle(rgba, (left, top), (right, bottom), (255, 220, 0, 255), 2)
        return encode_image(rgba, "jpg")
