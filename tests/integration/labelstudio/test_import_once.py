"""Tasks arrive exactly once, whatever happens to the answers."""

from __future__ import annotations

import uuid
from collections import Counter
from contextlib import closing
from typing import Any

import pytest

from geolabel.adapters.labelstudio import LabelStudio
from geolabel.errors import LabelStudioError
from geolabel.pipeline.import_chips import import_tasks, known_chips
from geolabel.services import Services
from geolabel.settings import load_settings
from tests.flaky_proxy import LOST, flaky_proxy
from tests.servers import Stack

CONFIG = "<View><Image name='image' value='$image'/></View>"
TASKS: list[dict[str, Any]] = [{"data": {"image": f"/x/{n}.jpg", "chip_id": f"chip{n:03d}"}} for n in range(30)]


def test_lost_and_refused_answers_cost_no_task_and_double_none(stack: Stack) -> None:
    with (
        flaky_proxy(stack.labelstudio.url) as proxy,
        closing(LabelStudio(stack.labelstudio.url, stack.labelstudio.token)) as direct,
    ):
        project = int(direct.create_project(f"once {uuid.uuid4().hex[:8]}", CONFIG)["id"])
        env = {**stack.env, "LABEL_STUDIO_URL": proxy.url, "GEOLABEL_LABELSTUDIO__IMPORT_BATCH": "10"}
        services = Services(load_settings(env))
        send = f"POST /api/projects/{project}/import"
        try:
            known = known_chips(services, project)
            assert known == {}
            # The first batch is stored and its answer lost, the second is turned away, the third goes through.
            proxy.plan[send] = [LOST, 500]
            made = import_tasks(services, project, TASKS, known=known, report=lambda *_: None)
            assert (made.created, made.existing) == (30, 0)
            assert proxy.count(send) == 4
            stored = Counter(task["data"]["chip_id"] for task in direct.tasks(project, fields="task_only"))
            assert stored == Counter(task["data"]["chip_id"] for task in TASKS)
            # Again, by someone who looks first: nothing is sent.
            again = import_tasks(services, project, TASKS, known=known_chips(services, project), report=lambda *_: None)
            assert (again.created, again.existing) == (0, 30)
            assert proxy.count(send) == 4
            # What is wrong is said at once.
            proxy.plan[send] = [400]
            more = [{"data": {"image": "/x", "chip_id": "more"}}]
            with pytest.raises(LabelStudioError, match="400"):
                import_tasks(services, project, more, known={}, report=lambda *_: None)
            assert proxy.count(send) == 5
        finally:
            services.labelstudio.close()
            direct.delete_project(project)
