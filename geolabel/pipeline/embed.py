"""Embeddings of chips: computed ahead by a worker, kept in the store as fp16, prepared once per process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from geolabel.core.scene import Chip
from geolabel.errors import GeoLabelError, ModelError, NotFoundError
from geolabel.labelstudio.task import chip_of_task
from geolabel.predict import catalog
from geolabel.predict.registry import pick_device
from geolabel.services import Services

if TYPE_CHECKING:
    from geolabel.predict.embeddings import ByteCache
    from geolabel.predict.sam_decoder import PreparedImage
    from geolabel.predict.sam_models import SamModel

GRAPH_CUT = "graphcut"
_CANDIDATES = tuple(item.name for item in catalog.CATALOG if item.kind == "sam")
_BATCH = 4
Report = Callable[[int, int | None, str], None]
Rgb = npt.NDArray[np.uint8]


def cache_dir(services: Services) -> Path:
    """Return the folder of this machine for downloads and copies of weights."""
    return services.settings.state_dir.absolute() / "models"


def interactive_model(services: Services) -> str:
    """Return what answers clicks: what the settings name, else the first SAM in the store, else the graph cut."""
    wanted = services.settings.predict.interactive
    if wanted != "auto":
        return wanted
    there = set(catalog.present(services.store))
    return next((name for name in _CANDIDATES if name in there), GRAPH_CUT)


class SamEngine:
    """One loaded SAM with its cache of prepared images. Shared by all threads of a process.

    Args:
        model: Loaded.
        model_id: Of architecture and weights; part of every stored embedding's key.
        max_bytes: Of prepared images in memory.
    """

    def __init__(self, model: SamModel, model_id: str, max_bytes: int) -> None:
        from geolabel.predict.embeddings import ByteCache

        self.model = model
        self.model_id = model_id
        self.prepared: ByteCache[PreparedImage] = ByteCache(max_bytes, lambda image: image.nbytes)
        # Encoding takes all cores for seconds and much memory; decoding is never kept waiting by it.
        self._encoding = threading.Lock()

    def image(self, services: Services, chip: Chip, picture: Callable[[], Rgb]) -> tuple[PreparedImage, bool]:
        """Return the prepared image of a chip, and whether its embedding was there already."""
        there = True

        def make() -> PreparedImage:
            nonlocal there
            found = self.stored(services, chip)
            if found is None:
                there = False
                found = self.compute(services, chip, picture())
            return self.model.prepare(found)

        return self.prepared.get_or_make(chip.id, make), there

    def stored(self, services: Services, chip: Chip) -> Any:
        """Return the embedding of a chip from the store, or None."""
        from geolabel.predict.embeddings import embedding_from_bytes, embedding_key

        try:
            data = services.store.get(embedding_key(self.model_id, chip.id))
            return embedding_from_bytes(data, chip.georef.width, chip.georef.height)
        except (NotFoundError, ModelError):
            return None

    def compute(self, services: Services, chip: Chip, rgb: Rgb) -> Any:
        """Compute the embedding of a chip and keep it."""
        return self.compute_all(services, [(chip, rgb)])[0]

    def compute_all(self, services: Services, chips: Sequence[tuple[Chip, Rgb]]) -> list[Any]:
        """Compute the embeddings of chips in batches and keep them."""
        from geolabel.predict.embeddings import embedding_key, embedding_to_bytes

        with self._encoding:
            found = self.model.encode([rgb for _, rgb in chips], batch=_BATCH)
        for (chip, _), embedding in zip(chips, found, strict=True):
            services.store.put(embedding_key(self.model_id, chip.id), embedding_to_bytes(embedding))
        return found


class Engines:
    """Loaded models of this process by checkpoint; each is loaded once, whoever asks first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._engines: dict[str, SamEngine] = {}

    def get(self, services: Services, name: str) -> SamEngine:
        """Return the engine of a model of the store or a checkpoint's path.

        Raises:
            ModelError: there is none, or it is of another kind.
        """
        key = f"{services.store.uri}|{name}"
        engine = self._engines.get(key)
        if engine is not None:
            return engine
        with self._lock:
            own = self._locks.setdefault(key, threading.Lock())
        with own:
            if key not in self._engines:
                self._engines[key] = _load(services, name)
            return self._engines[key]


def _load(services: Services, name: str) -> SamEngine:
    import torch

    from geolabel.predict.sam_models import load_sam

    settings = services.settings.predict
    path = catalog.resolve(services.store, name, cache_dir(services))
    if path.is_dir():
        found = sorted([*path.glob("*.pt"), *path.glob("*.pth")])
        if not found:
            raise ModelError(
                f"{name!r} is a folder without a .pt or .pth file; clicks need a SAM 1 or SAM 2 checkpoint"
            )
        path = found[0]
    if settings.threads:
        torch.set_num_threads(settings.threads)
    noted = catalog.record(services.store, name) if "/" not in name else None
    sha = next(iter(noted["files"].values()))["sha256"] if noted else catalog.sha256_of(path)
    model = load_sam(path, pick_device(settings.device))
    return SamEngine(model, f"{model.architecture.name}-{sha[:12]}", settings.embedding_cache_bytes)


@lru_cache(maxsize=1)
def engines() -> Engines:
    """Return the loaded models of this process."""
    return Engines()


def picture_of(services: Services, chip: Chip) -> Rgb:
    """Return what the annotator sees of a chip, (row, col, 3) uint8."""
    from geolabel.pipeline.chip_inputs import read_chip_input

    return read_chip_input(services, chip).rgb


def embed_tasks(
    services: Services,
    project_id: str,
    *,
    task_ids: Sequence[int] | None = None,
    count: int = 32,
    model: str = "",
    report: Report | None = None,
) -> dict[str, Any]:
    """Compute the embeddings that clicks on the next tasks will need; those that are there are left alone.

    Args:
        services: Label Studio, store.
        project_id: Project.
        task_ids: These tasks; None: the tasks without annotation that the queue serves next.
        count: Most tasks when none are named.
        model: Name or path; "": the one that answers clicks.
        report: Called with done, total, what.

    Returns:
        {"model", "made", "there", "failed": {task id: sentence}}.
    """
    name = model or interactive_model(services)
    if name == GRAPH_CUT:
        return {"model": name, "made": 0, "there": 0, "failed": {}, "reason": "the graph cut needs no embeddings"}
    tasks = list(_tasks(services, project_id, task_ids, count))
    engine = engines().get(services, name)
    made, there = 0, 0
    failed: dict[str, str] = {}
    waiting: list[tuple[Chip, Rgb]] = []
    for number, task in enumerate(tasks):
        if report:
            report(number, len(tasks), "embedding")
        try:
            chip = chip_of_task(task)
            if engine.stored(services, chip) is not None:
                there += 1
                continue
            waiting.append((chip, picture_of(services, chip)))
        except GeoLabelError as error:
            failed[str(task.get("id"))] = error.message
        if len(waiting) == _BATCH:
            engine.compute_all(services, waiting)
            made, waiting = made + len(waiting), []
    if waiting:
        engine.compute_all(services, waiting)
        made += len(waiting)
    if report:
        report(len(tasks), len(tasks), "embedded")
    return {"model": engine.model_id, "made": made, "there": there, "failed": failed}


def _tasks(
    services: Services, project_id: str, task_ids: Sequence[int] | None, count: int
) -> Iterator[Mapping[str, Any]]:
    if task_ids is not None:
        for task_id in task_ids:
            yield services.labelstudio.task(task_id)
        return
    open_tasks = [t for t in services.labelstudio.tasks(int(project_id)) if not t.get("is_labeled")]
    # As Label Studio's queue does: the lowest score of a prediction first, then the order of import.
    open_tasks.sort(key=lambda t: (_lowest(t), int(t.get("id") or 0)))
    yield from open_tasks[:count]


def _lowest(task: Mapping[str, Any]) -> float:
    score = task.get("predictions_score")
    return float(score) if isinstance(score, int | float) else 1.0
