"""The same predictions under label-studio-ml's own server: 1.0.9 from the package index, and the 2.x line.

That server keeps one model for all projects, made from whatever ``/setup`` came last, and passes neither project nor
label config to ``predict``. So each task's own project decides: its label config is asked from Label Studio, and the
one that the server was set up with serves only where Label Studio does not answer.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from cachetools import TTLCache
from label_studio_ml.model import LabelStudioMLBase

from geolabel.errors import GeoLabelError
from geolabel.pipeline.answers import empty_item
from geolabel.pipeline.labels import clean_project_id
from geolabel.pipeline.predict_tasks import predict_tasks, setup_version
from geolabel.services import Services

log = logging.getLogger(__name__)
IS_V2 = "project_id" in inspect.signature(LabelStudioMLBase.__init__).parameters
_CONFIG_S = 10.0


@lru_cache(maxsize=1)
def _services() -> Services:
    return Services()


@lru_cache(maxsize=1)
def _configs() -> TTLCache[str, str]:
    return TTLCache(maxsize=256, ttl=_CONFIG_S)


class GeoLabelModel(LabelStudioMLBase):  # type: ignore[misc]
    """A thin class over GeoLabel's use cases; it holds no model itself.

    Args:
        project_id: Given by 2.x.
        label_config: Of the project that was set up last.
        train_output: Given by 1.x; not used, versions are kept in GeoLabel's store.
        **kwargs: Whatever the server adds.
    """

    def __init__(
        self,
        project_id: str | None = None,
        label_config: str | None = None,
        train_output: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if IS_V2:
            super().__init__(project_id=project_id, label_config=label_config)
        else:
            # The token that /setup hands over is its owner's: it is not kept.
            kwargs.pop("access_token", None)
            super().__init__(label_config=label_config, train_output=train_output, **kwargs)
            self.project_id = str(project_id or "")
            self.setup()

    def setup(self) -> None:
        """Nothing is loaded here: it runs on every request of some versions."""

    def predict(
        self, tasks: Sequence[Mapping[str, Any]], context: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> list[Any]:
        """Return one entry per task, in order; tasks of several projects may be mixed."""
        entries: dict[int, Any] = {}
        by_project: dict[str, list[int]] = {}
        for n, task in enumerate(tasks):
            by_project.setdefault(str(task.get("project") or self.project_id or ""), []).append(n)
        for project, places in by_project.items():
            chosen = [tasks[n] for n in places]
            entries.update(zip(places, self._of_project(project, chosen, context), strict=True))
        return [entries[n] for n in range(len(tasks))]

    def _of_project(
        self, project: str, tasks: Sequence[Mapping[str, Any]], context: Mapping[str, Any] | None
    ) -> list[Any]:
        try:
            payload = {
                "tasks": list(tasks),
                "project": project,
                "label_config": self._config(project),
                "params": {"context": context},
            }
            return list(predict_tasks(_services(), payload))
        except GeoLabelError as error:
            log.warning("project %s: %s", project, error.message)
            return [empty_item("failed") for _ in tasks]

    def _config(self, project: str) -> str:
        cache = _configs()
        found = cache.get(project)
        if found is None:
            try:
                record = _services().labelstudio.project(int(clean_project_id(project)))
                found = str(record["label_config"])
            except (GeoLabelError, KeyError) as error:
                log.warning("label config of project %s not asked from Label Studio: %s", project, error)
                return str(getattr(self, "label_config", "") or "")
            cache[project] = found
        return found

    def fit(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Queue learning for the event's project; 1.x calls fit((), event=, data=), 2.x fit(event, data)."""
        if args and isinstance(args[0], str):
            data = args[1] if len(args) > 1 else kwargs.get("data", {})
        else:
            data = kwargs.get("data", {})
        project = (data or {}).get("project") or {}
        try:
            number = clean_project_id(project.get("id") if isinstance(project, Mapping) else project)
            job = _services().jobs.enqueue("workers.jobs_predict.fit", {"project": number}, queue="model")
        except GeoLabelError as error:
            log.warning("learning not queued: %s", error.message)
            return {"error": error.message}
        return {"job": job.id}

    def version(self, project: str) -> str:
        """Return the model version of a project."""
        return setup_version(_services(), {"project": project, "schema": self._config(project)})
