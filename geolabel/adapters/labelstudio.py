"""Label Studio over HTTP: what GeoLabel asks of it, paged, batched, retried where that is safe.

httpx and not label-studio-sdk, because the SDK drops the answers of actions and hides the statuses that decide whether
a request may be sent again.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx
import tenacity

from geolabel.errors import AuthError, LabelStudioError, NotFoundError

_RETRY_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_SAFE = frozenset({"GET", "PUT", "PATCH", "DELETE", "HEAD"})
_ACCESS_LIFETIME_S = 240.0  # of the 300 s that Label Studio gives
PAGE_SIZE = 200


class _NotTaken(LabelStudioError):
    """The request never reached Label Studio or was turned away before anything was done: any may be sent again."""


class LabelStudio:
    """Client of one Label Studio.

    Args:
        url: Its address.
        token: Personal access token (a JWT, exchanged for short-lived ones) or legacy token (40 hexadecimal digits).
        timeout_s: Longest wait for one answer.
        tries: How often a request that may be sent again is sent at most.
        pause_s: Pause before the second try; each further one doubles it, and adds up to this much by chance.

    Every method raises AuthError on 401 and 403, NotFoundError on 404, LabelStudioError on everything else that fails
    (retryable when the same call may work later).
    """

    def __init__(self, url: str, token: str, *, timeout_s: float = 60.0, tries: int = 5, pause_s: float = 0.3) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._tries = tries
        self._pause_s = pause_s
        self._client = httpx.Client(base_url=self.url, timeout=httpx.Timeout(timeout_s, connect=5.0))
        self._lock = threading.Lock()
        self._access = ""
        self._access_until = 0.0

    # -- transport ---------------------------------------------------------------------------------------------------

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        safe: bool | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        """Send a request and return its JSON (None when the answer is empty).

        Args:
            method: HTTP method.
            path: From the root, "/api/…".
            params: Query.
            body: JSON body.
            safe: Whether it may be sent again when it may have been done; GET, PUT, PATCH and DELETE may unless told
                otherwise. What Label Studio surely did not take (no connection, 429) is sent again in any case.
            timeout_s: Instead of the client's.
        """
        again = method in _SAFE if safe is None else safe
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._tries),
            wait=tenacity.wait_exponential_jitter(multiplier=self._pause_s, max=15.0, jitter=self._pause_s),
            retry=tenacity.retry_if_exception(_is_retryable if again else _is_untaken),
            reraise=True,
        )
        response: httpx.Response = retrying(self._send, method, path, params, body, timeout_s)
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError:
            return response.text

    def _send(
        self, method: str, path: str, params: Mapping[str, Any] | None, body: Any, timeout_s: float | None
    ) -> httpx.Response:
        content = None if body is None else json.dumps(body).encode()
        extra: dict[str, Any] = {} if timeout_s is None else {"timeout": timeout_s}
        if content is not None:
            extra["content"] = content
        response = self._answer(method, path, params, extra)
        if response.status_code == httpx.codes.UNAUTHORIZED and self._forget_access():
            response = self._answer(method, path, params, extra)
        if response.is_success:
            return response
        raise self._failure(method, path, response)

    def _answer(
        self, method: str, path: str, params: Mapping[str, Any] | None, extra: dict[str, Any]
    ) -> httpx.Response:
        headers = {"Authorization": self._authorization()}
        if "content" in extra:
            headers["Content-Type"] = "application/json"
        try:
            return self._client.request(method, path, params=params, headers=headers, **extra)
        except httpx.HTTPError as error:
            kind = _NotTaken if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) else LabelStudioError
            raise kind(
                f"Label Studio at {self.url} does not answer {method} {path} ({type(error).__name__}: {error}); "
                "start it, or set LABEL_STUDIO_URL",
                retryable=True,
            ) from error

    def _failure(self, method: str, path: str, response: httpx.Response) -> Exception:
        status = response.status_code
        detail = _detail(response)
        if status in (401, 403) and "reserved network" not in detail:
            return AuthError(
                f"Label Studio at {self.url} refuses {method} {path} ({status}: {detail}); "
                "set LABEL_STUDIO_API_KEY to a token of an account that may do this (`geolabel doctor` checks it)"
            )
        if status == 404:
            return NotFoundError(f"Label Studio at {self.url} has no {path} ({detail})")
        kind = _NotTaken if status == httpx.codes.TOO_MANY_REQUESTS else LabelStudioError
        return kind(
            f"Label Studio at {self.url} answered {status} to {method} {path}: {detail}",
            retryable=status in _RETRY_STATUS,
        )

    def _authorization(self) -> str:
        if not self._token:
            raise AuthError("there is no token for Label Studio; set LABEL_STUDIO_API_KEY")
        if not _is_jwt(self._token):
            return f"Token {self._token}"
        with self._lock:
            if time.monotonic() >= self._access_until:
                self._refresh()
            return f"Bearer {self._access}"

    def _forget_access(self) -> bool:
        """Drop the short-lived token, which ends early when Label Studio is restarted with another key."""
        if not _is_jwt(self._token):
            return False
        with self._lock:
            self._access_until = 0.0
        return True

    def _refresh(self) -> None:
        try:
            response = self._client.post("/api/token/refresh/", json={"refresh": self._token})
        except httpx.HTTPError as error:
            raise LabelStudioError(
                f"Label Studio at {self.url} does not answer ({type(error).__name__})", retryable=True
            ) from error
        if response.status_code >= 500:
            raise self._failure("POST", "/api/token/refresh/", response)
        if not response.is_success:
            raise AuthError(
                f"Label Studio at {self.url} refuses the personal access token ({response.status_code}: "
                f"{_detail(response)}); make a new one under Account & Settings"
            )
        self._access = str(response.json()["access"])
        self._access_until = time.monotonic() + _ACCESS_LIFETIME_S

    # -- who and whether ---------------------------------------------------------------------------------------------

    def whoami(self) -> dict[str, Any]:
        """Return the account that the token belongs to."""
        return _object(self.request("GET", "/api/current-user/whoami"))

    def version(self) -> dict[str, Any]:
        """Return the versions that Label Studio tells of itself."""
        return _object(self.request("GET", "/api/version"))

    # -- projects ----------------------------------------------------------------------------------------------------

    def projects(self) -> Iterator[dict[str, Any]]:
        """Yield all projects."""
        yield from self._pages("/api/projects/", {}, "results")

    def project(self, project_id: int) -> dict[str, Any]:
        """Return a project."""
        return _object(self.request("GET", f"/api/projects/{project_id}/"))

    def find_project(self, title: str) -> dict[str, Any] | None:
        """Return the project of a title, or None."""
        return next((p for p in self.projects() if p.get("title") == title), None)

    def create_project(self, title: str, label_config: str, **fields: Any) -> dict[str, Any]:
        """Make a project; its title has 3 to 50 characters."""
        return _object(
            self.request("POST", "/api/projects/", body={"title": title, "label_config": label_config, **fields})
        )

    def update_project(self, project_id: int, **fields: Any) -> dict[str, Any]:
        """Change fields of a project."""
        return _object(self.request("PATCH", f"/api/projects/{project_id}/", body=fields))

    def delete_project(self, project_id: int) -> None:
        """Remove a project with all that is in it."""
        self.request("DELETE", f"/api/projects/{project_id}/")

    def set_model_version(self, project_id: int, version: str) -> None:
        """Set the version whose predictions are shown and sort the queue; predictions with it must exist already."""
        self.update_project(project_id, model_version=version)

    def set_sampling(self, project_id: int, sampling: str) -> None:
        """Set the order of tasks: "Sequential sampling", "Uniform sampling" or "Uncertainty sampling"."""
        self.update_project(project_id, sampling=sampling)

    # -- tasks -------------------------------------------------------------------------------------------------------

    def tasks(
        self,
        project_id: int,
        *,
        fields: str = "all",
        page_size: int = PAGE_SIZE,
        query: Mapping[str, Any] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Yield the tasks of a project page by page, with annotations and predictions when `fields` is "all".

        Args:
            project_id: Project.
            fields: "all" or "task_only".
            page_size: Tasks a request.
            query: Filters and ordering of the Data Manager.
        """
        params: dict[str, Any] = {"project": project_id, "fields": fields, "page_size": page_size}
        if query is not None:
            params["query"] = json.dumps(query)
        yield from self._pages("/api/tasks", params, "tasks")

    def task(self, task_id: int) -> dict[str, Any]:
        """Return a task with its annotations and predictions."""
        return _object(self.request("GET", f"/api/tasks/{task_id}/"))

    def update_task(self, task_id: int, data: Mapping[str, Any]) -> dict[str, Any]:
        """Replace the data of a task."""
        return _object(self.request("PATCH", f"/api/tasks/{task_id}/", body={"data": dict(data)}))

    def delete_tasks(self, project_id: int, task_ids: Sequence[int]) -> None:
        """Remove tasks."""
        self.action(project_id, "delete_tasks", included=task_ids)

    def import_tasks(self, project_id: int, tasks: Sequence[Mapping[str, Any]]) -> list[int]:
        """Import one batch of tasks ({"data": …, "predictions": […]}) and return their ids.

        It is sent once: whoever calls looks up `data.chip_id` before sending a batch again, since the answer of a batch
        that was stored may be lost.
        """
        answer = self.request(
            "POST",
            f"/api/projects/{project_id}/import",
            params={"return_task_ids": "true"},
            body=[dict(task) for task in tasks],
            safe=False,
        )
        return [int(i) for i in _object(answer).get("task_ids", [])]

    def next_task(self, project_id: int) -> dict[str, Any] | None:
        """Return the task that Label Studio serves next to this account, or None."""
        try:
            return _object(self.request("GET", f"/api/projects/{project_id}/next", safe=False))
        except NotFoundError:
            return None

    # -- annotations and predictions ---------------------------------------------------------------------------------

    def annotate(self, task_id: int, result: Sequence[Mapping[str, Any]], **fields: Any) -> dict[str, Any]:
        """Post an annotation."""
        return _object(
            self.request("POST", f"/api/tasks/{task_id}/annotations/", body={"result": list(result), **fields})
        )

    def update_annotation(self, annotation_id: int, **fields: Any) -> dict[str, Any]:
        """Change an annotation."""
        return _object(self.request("PATCH", f"/api/annotations/{annotation_id}/", body=fields))

    def delete_annotation(self, annotation_id: int) -> None:
        """Remove an annotation."""
        self.request("DELETE", f"/api/annotations/{annotation_id}/")

    def predictions(self, task_id: int) -> list[dict[str, Any]]:
        """Return the predictions of a task."""
        return _objects(self.request("GET", "/api/predictions/", params={"task": task_id}))

    def post_prediction(self, prediction: Mapping[str, Any]) -> dict[str, Any]:
        """Post one prediction (task, result, score, model_version, cluster): the way that keeps `cluster`."""
        return _object(self.request("POST", "/api/predictions/", body=dict(prediction)))

    def update_prediction(self, prediction_id: int, **fields: Any) -> dict[str, Any]:
        """Change a prediction."""
        return _object(self.request("PATCH", f"/api/predictions/{prediction_id}/", body=fields))

    def delete_prediction(self, prediction_id: int) -> None:
        """Remove a prediction."""
        self.request("DELETE", f"/api/predictions/{prediction_id}/")

    def import_predictions(self, project_id: int, predictions: Sequence[Mapping[str, Any]]) -> int:
        """Import predictions in bulk ({"task", "result", "score", "model_version"}); returns how many were made.

        Label Studio drops `cluster` on this route, and stops at the first unknown task.
        """
        answer = self.request(
            "POST",
            f"/api/projects/{project_id}/import/predictions",
            body=[dict(prediction) for prediction in predictions],
            safe=False,
        )
        return int(_object(answer).get("created", len(predictions)))

    def delete_model_version(self, project_id: int, version: str) -> None:
        """Remove all predictions of a model version."""
        self.request("DELETE", f"/api/projects/{project_id}/model-versions/", body={"model_version": version})

    def model_versions(self, project_id: int) -> dict[str, Any]:
        """Return the versions that predictions have, with counts."""
        return _object(self.request("GET", f"/api/projects/{project_id}/model-versions/"))

    # -- backends, webhooks, views, actions --------------------------------------------------------------------------

    def backends(self, project_id: int) -> list[dict[str, Any]]:
        """Return the connected ML backends."""
        return _objects(self.request("GET", "/api/ml/", params={"project": project_id}))

    def connect_backend(self, project_id: int, url: str, title: str, **fields: Any) -> dict[str, Any]:
        """Connect an ML backend."""
        return _object(
            self.request("POST", "/api/ml/", body={"project": project_id, "url": url, "title": title, **fields})
        )

    def update_backend(self, backend_id: int, *, url: str, project: int, **fields: Any) -> dict[str, Any]:
        """Change a backend; without url and project Label Studio answers 500."""
        body = {"url": url, "project": project, **fields}
        return _object(self.request("PATCH", f"/api/ml/{backend_id}", body=body))

    def train(self, backend_id: int) -> None:
        """Press "Start Training"."""
        self.request("POST", f"/api/ml/{backend_id}/train", body={})

    def webhooks(self, project_id: int) -> list[dict[str, Any]]:
        """Return the webhooks of a project."""
        return _objects(self.request("GET", "/api/webhooks/", params={"project": project_id}))

    def create_webhook(self, project_id: int, url: str, **fields: Any) -> dict[str, Any]:
        """Make a webhook of a project."""
        return _object(self.request("POST", "/api/webhooks/", body={"project": project_id, "url": url, **fields}))

    def update_webhook(self, webhook_id: int, **fields: Any) -> dict[str, Any]:
        """Change a webhook, for example its headers."""
        return _object(self.request("PATCH", f"/api/webhooks/{webhook_id}/", body=fields))

    def views(self, project_id: int) -> list[dict[str, Any]]:
        """Return the tabs of the Data Manager."""
        return _objects(self.request("GET", "/api/dm/views/", params={"project": project_id}))

    def create_view(self, project_id: int, data: Mapping[str, Any]) -> dict[str, Any]:
        """Make a tab of the Data Manager; `data` has title, type, columns, ordering, filters …"""
        return _object(self.request("POST", "/api/dm/views/", body={"project": project_id, "data": dict(data)}))

    def update_view(self, view_id: int, project_id: int, data: Mapping[str, Any]) -> dict[str, Any]:
        """Change a tab."""
        body = {"project": project_id, "data": dict(data)}
        return _object(self.request("PATCH", f"/api/dm/views/{view_id}/", body=body))

    def action(
        self, project_id: int, action: str, *, included: Sequence[int] | None = None, timeout_s: float | None = None,
        **values: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """Run an action of the Data Manager on the given tasks, or on all."""
        items: dict[str, Any] = {"all": True, "excluded": []}
        if included is not None:
            items = {"all": False, "included": [int(i) for i in included]}
        return _object(
            self.request(
                "POST", "/api/dm/actions", params={"id": action, "project": project_id},
                body={"selectedItems": items, **values}, timeout_s=timeout_s,
            )
        )  # fmt: skip

    # -- pages -------------------------------------------------------------------------------------------------------

    def _pages(self, path: str, params: Mapping[str, Any], key: str) -> Iterator[dict[str, Any]]:
        page, seen = 1, 0
        size = int(params.get("page_size", 100))
        while True:
            try:
                answer = self.request("GET", path, params={**params, "page": page, "page_size": size})
            except NotFoundError:
                if page > 1:  # past the last page
                    return
                raise
            items = answer if isinstance(answer, list) else _object(answer).get(key, [])
            yield from items
            seen += len(items)
            total = None
            if isinstance(answer, Mapping):
                total = answer.get("total", answer.get("count"))
            if len(items) < size or (total is not None and seen >= int(total)):
                return
            page += 1

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _is_retryable(error: BaseException) -> bool:
    return isinstance(error, LabelStudioError) and error.retryable


def _is_untaken(error: BaseException) -> bool:
    return isinstance(error, _NotTaken)


def _is_jwt(token: str) -> bool:
    parts = token.split(".")
    if len(parts) != 3:
        return False
    try:
        head = json.loads(base64.urlsafe_b64decode(parts[0] + "=="))
    except ValueError:
        return False
    return isinstance(head, dict) and "alg" in head


def _detail(response: httpx.Response) -> str:
    try:
        value = response.json()
    except ValueError:
        return "no explanation" if "<html" in response.text.lower() else response.text.strip()[:300]
    if isinstance(value, Mapping):
        detail = value.get("validation_errors") or value.get("detail") or value
        return json.dumps(detail)[:500] if not isinstance(detail, str) else detail[:500]
    return json.dumps(value)[:500]


def _object(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _objects(value: Any) -> list[dict[str, Any]]:
    items = value.get("results", []) if isinstance(value, Mapping) else value
    return [dict(item) for item in items or [] if isinstance(item, Mapping)]
