"""Open a project: label config, backend, scenes, and for the sample scene a few labels to learn from."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from geolabel.errors import NotFoundError
from geolabel.local.synthetic import make_scene
from geolabel.pipeline.connect import connect
from geolabel.pipeline.templates import TEMPLATES, template_names
from geolabel.services import Services

SAMPLE_TITLE = "GeoLabel sample: town by a river"
SAMPLE_CHIPS = 3
TITLE_CHARACTERS = (3, 50)
REMEMBERED = "projects.json"
HIDDEN = (
    *("data.geo", "data.chip_id", "data.valid_fraction", "inner_id", "cancelled_annotations", "annotations_results"),
    *("annotations_ids", "predictions_model_versions", "predictions_results", "file_upload", "storage_filename"),
    *("created_at", "updated_at", "updated_by", "avg_lead_time", "draft_exists"),
)
OTHERS = ("data.scene", "id", "completed_at", "total_predictions", "annotators", "predictions_score")
#: First tab of the Data Manager: what people read, without the columns that only programs do.
TAB: dict[str, Any] = {
    "title": "Chips",
    "type": "list",
    "target": "tasks",
    "hiddenColumns": {
        "explore": [f"tasks:{name}" for name in HIDDEN],
        "labeling": [f"tasks:{name}" for name in (*HIDDEN, *OTHERS)],
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The project that is ready.

    Attributes:
        project_id: Number in Label Studio.
        title: Its title.
        url: Page to open.
        tasks: How many tasks it has.
        annotated: How many of them have an annotation.
    """

    project_id: int
    title: str
    url: str
    tasks: int
    annotated: int


def open_project(
    services: Services,
    *,
    scenes: Sequence[str],
    template: str,
    title: str,
    say: Callable[[str, str], None],
    project_id: int | None = None,
    backend_url: str | None = None,
) -> Opened:
    """Make a project ready to label, or find the one that an earlier call made.

    Args:
        services: For Label Studio and the store.
        scenes: Addresses of rasters; none stands for the sample scene.
        template: Folder of ``ls_configs`` whose label config a new project gets.
        title: Title of a new project; "" stands for one from the scene's name.
        say: Called with ("", line) for every step.
        project_id: Use this project instead of finding or making one.
        backend_url: Address of the backend as Label Studio reaches it, if it differs.

    Raises:
        NotFoundError: there is no such template or project.
        InputError: a scene can't be used; the sentence says why.
    """
    from geolabel.pipeline.ingest import ingest

    sample = None
    if not scenes and project_id is None:
        say("", "making the sample scene")
        sample = make_scene(services.settings.state_dir.absolute() / "sample")
        scenes = [str(sample.image)]
    title = title or (SAMPLE_TITLE if sample else title_of(scenes))
    project = _project(services, scenes, template, title, project_id)
    number = int(project["id"])
    connect(services, number, backend_url)
    if scenes:
        say("", f"cutting {', '.join(PurePosixPath(scene).name for scene in scenes)} into chips")
        report = ingest(services, scenes, project_id=number)
        for entry in report.scenes:
            if entry.error:
                say("", f"left out {entry.uri}: {entry.error}")
    if sample is not None and not _annotated(services, number):
        say("", f"labelling {SAMPLE_CHIPS} chips of the sample from its ground truth, to learn from")
        from geolabel.local.sample_labels import label_from_truth

        label_from_truth(services, number, sample.truth, SAMPLE_CHIPS)
    counted = services.labelstudio.project(number)
    return Opened(
        project_id=number,
        title=str(project["title"]),
        url=f"{services.settings.labelstudio.url}/projects/{number}/data",
        tasks=int(counted.get("task_number") or 0),
        annotated=int(counted.get("num_tasks_with_annotations") or 0),
    )


def check_scenes(services: Services, scenes: Sequence[str]) -> None:
    """Read the headers of scenes, so that a wrong one is said before anything is started.

    Raises:
        InputError: a scene can't be used.
        RasterReadError: it can't be read.
    """
    if not scenes:
        return
    from geolabel.pipeline.ingest_report import IngestOptions
    from geolabel.pipeline.sources import open_sources

    for source in open_sources(services, scenes, IngestOptions()):
        source.found.require()


def title_of(scenes: Sequence[str]) -> str:
    """Make a project's title from scenes' names, within the length that Label Studio allows."""
    stems = [PurePosixPath(urlsplit(scene).path).stem or scene for scene in scenes] or ["project"]
    name = stems[0] if len(stems) == 1 else f"{stems[0]} and {len(stems) - 1} more"
    least, most = TITLE_CHARACTERS
    return f"GeoLabel: {name}"[:most].ljust(least, "_")


def template_config(template: str) -> str:
    """Read a template's label config.

    Raises:
        NotFoundError: there is no such template; the sentence lists what there is.
    """
    path = TEMPLATES / template / "config.xml"
    if not path.is_file():
        names = ", ".join(template_names())
        raise NotFoundError(f"There is no label template {template!r}. There are: {names or 'none'}.")
    return path.read_text("utf-8")


def _project(
    services: Services, scenes: Sequence[str], template: str, title: str, project_id: int | None
) -> dict[str, Any]:
    labelstudio = services.labelstudio
    if project_id is not None:
        return labelstudio.project(project_id)
    memory = services.settings.state_dir / REMEMBERED
    known: dict[str, int] = json.loads(memory.read_text("utf-8")) if memory.is_file() else {}
    key = "|".join([services.settings.labelstudio.url, title, *scenes])
    if key in known:
        try:
            return labelstudio.project(known[key])
        except NotFoundError:  # someone has deleted it; a new one takes its place
            pass
    made = labelstudio.create_project(
        title, template_config(template), sampling="Uncertainty sampling", show_collab_predictions=True
    )
    labelstudio.create_view(int(made["id"]), TAB)
    known[key] = int(made["id"])
    memory.parent.mkdir(parents=True, exist_ok=True)
    partial = memory.with_suffix(".partial")
    partial.write_text(json.dumps(known, indent=1), "utf-8")
    partial.replace(memory)
    return made


def _annotated(services: Services, project_id: int) -> bool:
    return bool(services.labelstudio.project(project_id).get("num_tasks_with_annotations"))
