"""Label Studio's contract for ML backends: /setup, /predict, /versions. Stateless: a request says what it is about."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from geolabel.errors import InputError
from geolabel.pipeline.labels import clean_project_id
from geolabel.services import Services

router = APIRouter(tags=["label-studio"])


async def json_object(request: Request) -> dict[str, Any]:
    """Return the body as a JSON object; an empty body is an empty object.

    Raises:
        InputError: it is no JSON object.
    """
    raw = await request.body()
    if not raw:
        return {}
    try:
        value = await request.json()
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"the body is no JSON ({error}); Label Studio sends a JSON object") from error
    if not isinstance(value, dict):
        raise InputError(f"the body is a JSON {type(value).__name__}; it must be an object")
    return value


def services_of(request: Request) -> Services:
    """Return the services of this process."""
    services = request.app.state.services
    if not isinstance(services, Services):
        raise TypeError("app.state.services must be Services")
    return services


Body = Annotated[dict[str, Any], Depends(json_object)]
WithServices = Annotated[Services, Depends(services_of)]


@router.post("/setup")
def setup(body: Body, services: WithServices) -> dict[str, Any]:
    """Tell which model version would predict for this project; loads no model and keeps nothing of the request."""
    from geolabel.pipeline.predict_tasks import setup_version

    return {"model_version": setup_version(services, body)}


@router.post("/predict")
def predict(body: Body, services: WithServices) -> dict[str, Any]:
    """Answer one entry per task, in order."""
    from geolabel.pipeline.predict_tasks import predict_tasks

    return {"results": predict_tasks(services, body)}


@router.get("/versions")
@router.post("/versions")
def versions(request: Request, services: WithServices) -> dict[str, Any]:
    """List model versions: of ?project=, or of all projects, since Label Studio asks without naming one."""
    from geolabel.pipeline.models import all_versions, list_versions

    project = request.query_params.get("project")
    if project:
        found = list_versions(services, clean_project_id(project))
    else:
        found = all_versions(services)
    return {"versions": list(dict.fromkeys(item.version for item in found))}
