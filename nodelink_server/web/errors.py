"""Errors on their way out: whatever goes wrong becomes `application/problem+json`, in this one place.

The first table maps our codes to HTTP; the second gives a code to what only HTTP knows.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from nodelink.errors import ErrorCode, FieldError, InvalidTask, Malformed, NodelinkError, NotBuilt
from nodelink_server.core.validation import UNBUILT_FIELDS

STATUSES: Mapping[ErrorCode, int] = {
    ErrorCode.MALFORMED: 400,
    ErrorCode.INVALID: 422,
    ErrorCode.NOT_BUILT: 422,
    ErrorCode.TOO_LARGE: 413,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.CONFLICT: 409,
    ErrorCode.NOT_FINISHED: 409,
    ErrorCode.ALREADY_FINISHED: 409,
    ErrorCode.CANNOT_EXTEND: 409,
    ErrorCode.PLAN_NOT_WAITING: 409,
    ErrorCode.PLAN_CHANGED: 409,
    ErrorCode.IDEMPOTENCY_CONFLICT: 409,
    ErrorCode.UNIQUE_KEY_TAKEN: 409,
    ErrorCode.DIGEST_MISMATCH: 422,
    ErrorCode.QUOTA_EXCEEDED: 429,
    ErrorCode.PRECONDITION_FAILED: 412,
    ErrorCode.PRECONDITION_REQUIRED: 428,
    ErrorCode.UNAUTHENTICATED: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.OVERLOADED: 429,
    ErrorCode.NO_AGENT: 503,
    ErrorCode.UNAVAILABLE: 503,
    ErrorCode.HANDSHAKE_REFUSED: 403,
    ErrorCode.SESSION_REPLACED: 409,
    ErrorCode.INTERNAL: 500,
}
"""Our codes in HTTP's language."""

HTTP_CODES: Mapping[int, str] = {
    400: ErrorCode.MALFORMED,
    401: ErrorCode.UNAUTHENTICATED,
    403: ErrorCode.FORBIDDEN,
    404: ErrorCode.NOT_FOUND,
    405: "METHOD_NOT_ALLOWED",
    408: "REQUEST_TIMEOUT",
    406: "NOT_ACCEPTABLE",
    413: ErrorCode.TOO_LARGE,
    414: ErrorCode.TOO_LARGE,
    415: "UNSUPPORTED_MEDIA_TYPE",
    416: "RANGE_NOT_SATISFIABLE",
    426: "UPGRADE_REQUIRED",
    431: ErrorCode.TOO_LARGE,
    503: ErrorCode.UNAVAILABLE,
}
"""Codes of what goes wrong in HTTP itself, before the request reaches us."""

_PHRASES: Mapping[int, str] = {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}
"""As RFC 9110 has them; the standard library's depend on its version."""

_WORDS: Mapping[str, str] = {
    "dict_type": "must be an object",
    "enum": "must be one of {expected}",
    "float_parsing": "must be a number",
    "finite_number": "must be a number",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "less_than_equal": "must be at most {le}",
    "list_type": "must be a list",
    "literal_error": "must be one of {expected}",
    "model_attributes_type": "must be an object",
    "model_type": "must be an object",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must not be empty",
    "string_type": "must be a text",
    "too_long": "must have at most {max_length} entries",
    "too_short": "must not be empty",
}
"""What a wrong shape is told, by the kinds of errors of the library that checks shapes."""

PROBLEM_TYPE = "application/problem+json"
RETRY_SECONDS = 5.0
"""What a caller is told to wait when nobody knows better."""
MOST_FIELD_ERRORS = 20
LONGEST_DETAIL = 1_000
LONGEST_NAME = 64


def phrase(status: int) -> str:
    """A status in words."""
    return _PHRASES.get(status) or HTTPStatus(status).phrase


class Problem(JSONResponse):
    """A refusal, for people and programs."""

    media_type = PROBLEM_TYPE


def add_error_handlers(app: FastAPI) -> None:
    """Let everything that a route or the framework raises leave as a problem."""
    for kind in (NodelinkError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, _handle)


async def _handle(request: Request, error: Exception) -> Problem:
    return problem_of(error, str(request.state.request_id))


def problem_of(error: Exception, request_id: str) -> Problem:
    """An error as callers see it. Of one that nobody expected they learn nothing of our insides."""
    match error:
        case RequestValidationError():
            return _of_ours(refusal(error.errors()), request_id)
        case NodelinkError() if error.code is not ErrorCode.INTERNAL:
            return _of_ours(error, request_id)
        case HTTPException():
            code = HTTP_CODES.get(error.status_code, str(ErrorCode.INVALID))
            return problem(error.status_code, code, error.detail, request_id, headers=error.headers)
        case _:
            detail = "the server failed to answer; its log has this request's id"
            return problem(500, ErrorCode.INTERNAL, detail, request_id)


def _of_ours(error: NodelinkError, request_id: str) -> Problem:
    fields = error.errors if isinstance(error, InvalidTask) else ()
    status = STATUSES[error.code]
    return problem(status, error.code, error.message, request_id, fields=fields, retry_after=error.retry_after)


def problem(
    status: int,
    code: str,
    detail: str,
    request_id: str,
    *,
    fields: Sequence[FieldError] = (),
    retry_after: float | None = None,
    headers: Mapping[str, str] | None = None,
) -> Problem:
    """A problem as RFC 9457 has it. 429 and 503 always say when to come again."""
    if retry_after is None and status in {429, 503}:
        retry_after = RETRY_SECONDS
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": phrase(status),
        "status": status,
        "detail": detail[:LONGEST_DETAIL],
        "code": str(code),
        "errors": field_errors(fields),
        "request_id": request_id,
    }
    answer = Problem(content, status_code=status, headers=headers)
    if retry_after is not None:
        seconds = max(1, math.ceil(retry_after))
        answer = Problem({**content, "retry_after": seconds}, status_code=status, headers=headers)
        answer.headers["retry-after"] = str(seconds)
    return answer


def last_problem(status: int, detail: str) -> Problem:
    """A problem with which a connection ends; what is wrong was found before the request had a name."""
    request_id = uuid.uuid4().hex
    answer = problem(status, HTTP_CODES[status], detail, request_id, headers={"connection": "close"})
    answer.headers["x-request-id"] = request_id
    return answer


def bare_problem(status: int, detail: str) -> bytes:
    """As `last_problem`, as a whole answer of HTTP/1.1: for what goes wrong before there is a request."""
    answer = last_problem(status, detail)
    lines = [f"HTTP/1.1 {status} {phrase(status)}".encode()]
    lines += [name + b": " + value for name, value in answer.raw_headers]
    return b"\r\n".join([*lines, b"", bytes(answer.body)])


def field_errors(fields: Sequence[FieldError]) -> list[dict[str, str]]:
    """Wrong fields as JSON has them."""
    return [{"field": wrong.field, "message": wrong.message[:LONGEST_DETAIL]} for wrong in fields[:MOST_FIELD_ERRORS]]


def refusal(errors: Sequence[Mapping[str, Any]]) -> InvalidTask | Malformed:
    """What the shape of a request lacks, as an error of ours: unreadable, not built yet, or wrong."""
    if any(error["type"] == "json_invalid" for error in errors):
        return Malformed("the body is not JSON")
    unbuilt = [FieldError(name, about) for name, about in map(_unbuilt, errors) if about]
    if unbuilt:
        return NotBuilt(*unbuilt[:MOST_FIELD_ERRORS])
    wrong = {_field(error): _message(error) for error in reversed(errors)}
    return InvalidTask(*(FieldError(field, message) for field, message in list(wrong.items())[:MOST_FIELD_ERRORS]))


def _unbuilt(error: Mapping[str, Any]) -> tuple[str, str]:
    """The field and what it will be for; the latter is empty if the error is about something else."""
    field = _field(error)
    if error["type"] != "extra_forbidden":
        return field, ""
    about = UNBUILT_FIELDS.get(field) if error["loc"][0] != "query" else None
    return field, f"not available in this version: {about}" if about else ""


def _field(error: Mapping[str, Any]) -> str:
    """The field that an error is about, as `metadata.team` where it is inside another; the body itself is called so."""
    place, *where = error["loc"] or ("body",)
    if place not in {"body", "query", "path", "header"}:
        where = [place, *where]
    names = [part[:LONGEST_NAME] for part in where if isinstance(part, str)]
    return ".".join(names) or str(place)


def _message(error: Mapping[str, Any]) -> str:
    match error["type"]:
        case "extra_forbidden":
            return "there is no such field" if error["loc"][0] != "query" else "there is no such parameter"
        case "missing":
            return "is required"
        case "value_error":
            return str(error["ctx"]["error"])
        case kind if kind in _WORDS:
            return _WORDS[kind].format(**error.get("ctx", {}))
        case _:
            return str(error["msg"])
