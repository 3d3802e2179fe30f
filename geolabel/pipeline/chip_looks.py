"""How chips look, as short vectors: computed once per chip from what the annotator sees, kept in the store."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from geolabel.core.scene import Chip
from geolabel.errors import GeoLabelError, NotFoundError
from geolabel.pipeline.labels import project_key
from geolabel.services import Services

_EDGE = 64
LENGTH = 44


def looks_of(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return (44,) float32 of a (row, col, 3) uint8 image: colours, contrast, edges and texture on 64 × 64 px."""
    import cv2

    small = cv2.resize(rgb, (_EDGE, _EDGE), interpolation=cv2.INTER_AREA).astype(np.float32) / 255.0
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB) / np.float32(100.0)
    flat = lab.reshape(-1, 3)
    grey = lab[..., 0]
    across, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    strength = np.hypot(across, down)
    angle = (np.arctan2(down, across) % np.pi) / np.pi
    turns, _ = np.histogram(angle, bins=6, range=(0, 1), weights=strength)
    parts: list[Any] = [flat.mean(axis=0), flat.std(axis=0), np.percentile(flat, (10, 50, 90), axis=0).reshape(-1)]
    parts += [turns / (strength.sum() + 1e-6), [strength.mean(), strength.std()]]
    for sigma in (1, 2, 4):
        rough = grey - cv2.GaussianBlur(grey, (0, 0), sigma)
        parts.append([rough.std(), np.abs(rough).mean()])
    blocks = lab.reshape(4, 16, 4, 16, 3).mean(axis=(1, 3)).reshape(16, 3)
    parts += [blocks.std(axis=0), blocks.max(axis=0) - blocks.min(axis=0), np.sort(blocks[:, 0])[::2]]
    vector = np.concatenate([np.asarray(part, dtype=np.float32).reshape(-1) for part in parts])
    out = np.zeros(LENGTH, dtype=np.float32)
    out[: min(LENGTH, len(vector))] = vector[:LENGTH]
    return out


def read_looks(
    services: Services, project_id: str, chips: Mapping[str, Chip]
) -> tuple[dict[str, npt.NDArray[np.float32]], dict[str, str]]:
    """Return the vectors of chips by id, and why others have none; new ones are computed and kept.

    Args:
        services: Store and scenes.
        project_id: Of Label Studio.
        chips: By chip id.
    """
    key = project_key(project_id, "loop/looks.npz")
    known = _load(services, key)
    failed: dict[str, str] = {}
    fresh: dict[str, npt.NDArray[np.float32]] = {}
    for chip_id, chip in chips.items():
        if chip_id in known:
            continue
        try:
            fresh[chip_id] = looks_of(_image(services, chip))
        except GeoLabelError as error:
            failed[chip_id] = error.message
    if fresh:
        known |= fresh
        _save(services, key, known)
    return {chip_id: known[chip_id] for chip_id in chips if chip_id in known}, failed


def _image(services: Services, chip: Chip) -> npt.NDArray[np.uint8]:
    from geolabel.pipeline.scenes import load_scene
    from geolabel.raster.render import render_chip

    rgba = np.asarray(render_chip(load_scene(services, chip.scene_id), chip))
    return np.ascontiguousarray(rgba[..., :3])


def _load(services: Services, key: str) -> dict[str, npt.NDArray[np.float32]]:
    try:
        with np.load(io.BytesIO(services.store.get(key)), allow_pickle=False) as file:
            ids, table = file["ids"], file["table"]
    except (NotFoundError, ValueError, KeyError, OSError, EOFError):
        return {}
    if table.ndim != 2 or table.shape[1] != LENGTH:
        return {}
    return {str(chip_id): row for chip_id, row in zip(ids, table, strict=True)}


def _save(services: Services, key: str, known: Mapping[str, npt.NDArray[np.float32]]) -> None:
    out = io.BytesIO()
    ids: Sequence[str] = sorted(known)
    np.savez(out, ids=np.array(ids), table=np.stack([known[i] for i in ids]))
    services.store.put(key, out.getvalue())
