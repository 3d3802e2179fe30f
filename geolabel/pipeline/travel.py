"""Predictions that travel with new tasks into Label Studio, or follow them by a job where there are many."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from geolabel.errors import GeoLabelError
from geolabel.pipeline.models import active_version
from geolabel.pipeline.prelabel import attach_predictions
from geolabel.services import Services

log = logging.getLogger(__name__)
#: More tasks than this are imported at once and predicted by a worker afterwards: nobody waits for models to see chips.
TRAVEL_MOST = 500


def with_predictions(
    services: Services, project_id: int, tasks: Sequence[Mapping[str, Any]], *, of: int
) -> list[dict[str, Any]]:
    """Return tasks with predictions where the project has learned and the import is small enough.

    A problem with predicting never stops an import: it is logged and the tasks go as they are.

    Args:
        services: Everything.
        project_id: Of Label Studio.
        tasks: {"data": …} each: one batch.
        of: Tasks of the whole import.
    """
    plain = [dict(task) for task in tasks]
    try:
        if of > TRAVEL_MOST or active_version(services, str(project_id)) is None:
            return plain
        found, result = attach_predictions(services, str(project_id), plain)
    except GeoLabelError as error:
        log.warning("project %s: tasks go without predictions: %s", project_id, error.message)
        return plain
    for name, sentence in result.failed.items():
        log.warning("project %s, chip %s: no prediction: %s", project_id, name, sentence)
    return found


def after_import(services: Services, project_id: int, versions: Collection[str], count: int) -> None:
    """Set the model version of predictions that travelled, or queue the prediction of many new tasks.

    Args:
        services: Everything.
        project_id: Of Label Studio.
        versions: Model versions of the predictions that travelled.
        count: New tasks.
    """
    try:
        if versions:
            services.labelstudio.set_model_version(project_id, max(versions))
        elif count > TRAVEL_MOST and active_version(services, str(project_id)) is not None:
            payload = {"project": str(project_id), "tasks": None}
            services.jobs.enqueue("workers.jobs_predict.prelabel", payload, queue="model")
    except GeoLabelError as error:
        log.warning("project %s: after the import: %s", project_id, error.message)
