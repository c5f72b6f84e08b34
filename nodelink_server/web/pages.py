"""The description of the interface: for programs at `/openapi.json`, for people at `/docs`."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import cast

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from nodelink_server.web.openapi import Json, description
from nodelink_server.web.reference import reference_page
from nodelink_server.web.reference_style import STYLE
from nodelink_server.web.wiring import no_parameters

router = APIRouter(include_in_schema=False, dependencies=[Depends(no_parameters)])

_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Description:
    """The description, made when it is first asked for."""

    def __init__(self) -> None:
        self._document: Json | None = None

    def of(self, request: Request) -> Json:
        """The description of the application that a request has reached."""
        if self._document is None:
            self._document = description(request.app)
        return self._document


async def _document(request: Request) -> Json:
    return cast("Description", request.app.state.description).of(request)


@router.get("/openapi.json")
async def openapi(document: Json = Depends(_document)) -> Response:  # noqa: B008 - how the framework is told
    """The description, for programs."""
    return Response(json.dumps(document, ensure_ascii=False), media_type="application/json")


@router.get("/docs")
async def docs(request: Request, document: Json = Depends(_document)) -> Response:  # noqa: B008 - as above
    """The description, for people: one page that fetches nothing and runs nothing."""
    page = reference_page(document, str(request.base_url).rstrip("/"))
    return HTMLResponse(page, headers={"content-security-policy": _POLICY})
