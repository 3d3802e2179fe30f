"""Pictures of chips: rendered from the source window on demand, signed, cached, with an ETag."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from geolabel.errors import InputError
from geolabel.pipeline.chip_urls import check_signature
from geolabel.pipeline.pictures import Pictures
from geolabel.raster.encode import MEDIA_TYPES

router = APIRouter(tags=["pictures"])
_MAX_AGE_S = 86400


def pictures_of(request: Request) -> Pictures:
    """Return the renderer of this process, made on first use."""
    state = request.app.state
    found = getattr(state, "pictures", None)
    if isinstance(found, Pictures):
        return found
    state.pictures = made = Pictures(state.services)
    return made


WithPictures = Annotated[Pictures, Depends(pictures_of)]


def answer(request: Request, media_type: str, identity: str, make: Callable[[], bytes]) -> Response:
    """Answer with a picture, or 304 when the browser has it; `identity` says all that its bytes depend on."""
    etag = '"' + hashlib.blake2b(identity.encode(), digest_size=12).hexdigest() + '"'
    headers = {"ETag": etag, "Cache-Control": f"private, max-age={_MAX_AGE_S}"}
    if etag in [part.strip().removeprefix("W/") for part in request.headers.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers=headers)
    data = b"" if request.method == "HEAD" else make()
    return Response(data, media_type=media_type, headers=headers)


def signed_query(request: Request, path: str = "") -> dict[str, str]:
    """Return the query of a request after its signature was found right.

    Raises:
        AuthError: it is missing, wrong or expired.
        InputError: a name is given twice.
    """
    query = dict(request.query_params)
    if len(query) != len(request.query_params.multi_items()):
        raise InputError("the address gives a name twice; take it from the task as it is")
    check_signature(request.app.state.services.settings, path or request.url.path, query)
    return query


@router.api_route("/chips/{name}", methods=["GET", "HEAD"])
def chip(name: str, request: Request, pictures: WithPictures) -> Response:
    """Give the picture of a chip; `name` is its id and jpg, png or webp."""
    identity, dot, suffix = name.rpartition(".")
    if not dot or suffix not in MEDIA_TYPES:
        raise InputError(f"{name[:60]!r} is no picture of a chip; ask for ID.jpg, ID.png or ID.webp")
    query = signed_query(request)
    wanted = pictures.chip(identity, suffix, query)
    return answer(request, MEDIA_TYPES[suffix], wanted.key, wanted.make)


@router.api_route("/chips/{identity}/context.jpg", methods=["GET", "HEAD"])
def context(identity: str, request: Request, pictures: WithPictures) -> Response:
    """Give a picture of a chip's surroundings, three times its width, with the chip outlined."""
    query = signed_query(request)
    wanted = pictures.context(identity, query)
    return answer(request, MEDIA_TYPES["jpg"], wanted.key, wanted.make)
