"""Addresses of chips, tiles and context pictures: they say all that is needed to render, and are signed.

An address holds the scene, the window and the digest of the render; the chip's id is computed from them, so any process
renders it knowing nothing but the store, and no address can name a chip that it does not describe.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode

from geolabel.core.georef import Window
from geolabel.core.scene import Chip, Scene, chip_id
from geolabel.core.signing import sign, verify
from geolabel.errors import InputError
from geolabel.pipeline.scenes import load_render, load_scene
from geolabel.services import Services
from geolabel.settings import Settings

_KEY_FILE = "signing.key"


def signing_secret(settings: Settings) -> str:
    """Return the key of signatures: the setting, else one that is made once and kept in the state folder."""
    given = settings.server.signing_secret.get_secret_value()
    if given:
        return given
    path = settings.state_dir / _KEY_FILE
    if not path.is_file():
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        _create(path, secrets.token_urlsafe(24))
    return path.read_text("utf-8").strip()


def _create(path: Path, text: str) -> None:
    import os

    partial = path.with_name(f"{path.name}.{os.getpid()}")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write(text)
    try:
        os.link(partial, path)  # the first process wins; a second one keeps what is there
    except FileExistsError:
        pass
    finally:
        partial.unlink()


def expiry(settings: Settings) -> str:
    """Return the moment at which addresses signed now expire, Unix seconds, "0" for never.

    It is rounded up to whole hours, so that signing a scene again within the hour changes no address.
    """
    ttl = settings.chips.url_ttl_s
    return "0" if not ttl else str((int(time.time()) + ttl + 3599) // 3600 * 3600)


def image_format(settings: Settings, scene: Scene) -> str:
    """Return the format of a scene's chips: the setting, but PNG instead of JPEG where pixels may be transparent."""
    wanted = settings.chips.format
    if wanted == "jpg" and (scene.properties.get("mask", "none") != "none" or scene.properties.get("palette")):
        return "png"
    return wanted


class UrlSigner:
    """Signs addresses for one installation.

    Args:
        settings: For the key, the address of the backend, formats and expiry.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._secret = signing_secret(settings)
        self._expiry = expiry(settings)

    def chip(self, chip: Chip, scene: Scene, *, context: bool = False) -> str:
        """Return the signed address of a chip's picture, or of its surroundings."""
        path = f"/chips/{chip.id}.{image_format(self._settings, scene)}"
        query = {
            "s": chip.scene_id,
            "w": ",".join(str(v) for v in chip.window.to_list()),
            "r": chip.render.digest(),
        }
        size = (chip.georef.width, chip.georef.height)
        if size != (chip.window.width, chip.window.height):
            query["o"] = f"{size[0]},{size[1]}"
        if context:
            path = f"/chips/{chip.id}/context.jpg"
        return self._signed(path, query)

    def tiles(self, scene_id: str, render_digest: str = "") -> str:
        """Return the signed address of a scene's TileJSON."""
        query = {"r": render_digest} if render_digest else {}
        return self._signed(f"/tiles/{scene_id}/tilejson.json", query, over=f"/tiles/{scene_id}")

    def tile_template(self, scene_id: str, query: Mapping[str, str]) -> str:
        """Return the address of tiles with {z}/{x}/{y}, given the query of a verified TileJSON request."""
        return f"{self._settings.backend_url}/tiles/{scene_id}/{{z}}/{{x}}/{{y}}.png?{urlencode(query)}"

    def _signed(self, path: str, query: dict[str, str], over: str = "") -> str:
        if self._expiry != "0":
            query = {**query, "e": self._expiry}
        signature = sign(self._secret, over or path, query)
        return f"{self._settings.backend_url}{path}?{urlencode({**query, 'sig': signature}, safe=',')}"


def check_signature(settings: Settings, path: str, query: Mapping[str, str]) -> None:
    """Check a request's signature over path and query.

    Raises:
        AuthError: it is missing, wrong or expired.
    """
    rest = {name: value for name, value in query.items() if name != "sig"}
    verify(signing_secret(settings), path, rest, query.get("sig", ""), now_s=time.time())


def chip_of_query(
    services: Services, identity: str, query: Mapping[str, str], scene: Scene | None = None
) -> tuple[Chip, Scene]:
    """Rebuild the chip that an address describes.

    Raises:
        InputError: the query is malformed, or describes another chip than the one named.
        NotFoundError: the scene or the render isn't registered.
    """
    try:
        col, row, width, height = (int(v) for v in query["w"].split(","))
        size = tuple(int(v) for v in query["o"].split(",")) if "o" in query else (width, height)
        scene_id, digest = query["s"], query["r"]
        out_width, out_height = size
    except (KeyError, ValueError) as error:
        raise InputError(
            f"the address of chip {identity[:40]!r} is incomplete ({error!r}); take it from the task"
        ) from error
    window = Window(col=col, row=row, width=width, height=height)
    if chip_id(scene_id, window, (out_width, out_height), digest) != identity:
        raise InputError(f"the address names chip {identity[:40]!r} but describes another one")
    found = scene if scene is not None and scene.id == scene_id else load_scene(services, scene_id)
    georef = found.georef.window(window)
    if (out_width, out_height) != (width, height):
        georef = georef.resample(out_width, out_height)
    render = load_render(services, found, digest)
    return Chip(id=identity, scene_id=scene_id, window=window, georef=georef, render=render), found
