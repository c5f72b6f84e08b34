"""The published description of the interface (OpenAPI 3.1): what the framework knows of the routes, made whole.

The framework tells names, parameters and shapes. The catalogue adds how each route can refuse, and examples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import attrgetter
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from nodelink_server.web.bodies import BatchItem
from nodelink_server.web.catalogue import EVERYWHERE, OPERATIONS, Entry, Forms, Refusal
from nodelink_server.web.errors import PROBLEM_TYPE, phrase
from nodelink_server.web.examples import AGENT_ID, CHECKPOINT_ID, LIMIT, TASK_ID, WORKSPACE
from nodelink_server.web.examples_blobs import ARTIFACT_NAME, SHA256
from nodelink_server.web.shapes import ProblemJson

Json = dict[str, Any]

TITLE = "NodeLink"
ABOUT = """\
Runs tasks on agents.

JSON with snake_case names. Moments are RFC 3339 in UTC, durations are written `1h30m` or `500ms`. Every refusal is
`application/problem+json` with a `code`, the fields that are wrong, and the `request_id`, which every answer carries as
`X-Request-Id`: the caller's own, if it sent one. A path that answers GET answers HEAD too, and every path OPTIONS; any
other method is refused with 405 and `Allow`."""

TAGS: Mapping[str, str] = {
    "tasks": "What is to be done, and what became of it.",
    "events": "What happens, as it happens. `GET /api/v1/ws` tells the same over a WebSocket, as docs/events.md says.",
    "agents": "Who does it.",
    "scheduler": "What waits, what runs, and what is paused.",
    "checkpoints": "Snapshots of what waits and runs, with which another server can go on.",
    "stats": "What was done, how fast and how well.",
    "plans": "What changes would do, and who has approved them.",
    "workspaces": "Where tasks run that belong together, one at a time.",
    "artifacts": "Bytes by their digest, and which of them are parts of tasks.",
    "limits": "How many tasks may be with agents at a time.",
    "health": "Whether the server can do its work.",
}
HEADERS: Mapping[str, Json] = {
    "X-Request-Id": {"description": "Names the request, in the server's log too", "schema": {"type": "string"}},
    "Location": {"description": "Where the new one is", "schema": {"type": "string", "format": "uri-reference"}},
    "Idempotency-Replayed": {
        "description": "It had been accepted before, under the same key, or is the live task with the unique_key",
        "schema": {"const": "true"},
    },
    "X-Next-Offset": {"description": "The offset to go on from", "schema": {"type": "integer", "minimum": 0}},
    "X-Log-Complete": {"description": "Nothing more will come", "schema": {"type": "boolean"}},
    "ETag": {"description": "Names what was read or saved, in quotes", "schema": {"type": "string"}},
    "Accept-Ranges": {"description": "Ranges of bytes may be asked for", "schema": {"const": "bytes"}},
    "Content-Range": {"description": "Which bytes, of how many", "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds until it may help to try again", "schema": {"type": "integer"}},
}
_ONLY_WITH: Mapping[int, str] = {206: "Content-Range", 416: "Content-Range", 429: "Retry-After", 503: "Retry-After"}
_PATH_EXAMPLES: Mapping[str, str] = {
    "task_id": TASK_ID,
    "agent_id": AGENT_ID,
    "name": WORKSPACE["name"],
    "limit_name": LIMIT["name"],
    "sha256": SHA256,
    "artifact_name": ARTIFACT_NAME,
    "checkpoint_id": CHECKPOINT_ID,
}


def description(app: FastAPI) -> Json:
    """The whole description of an application."""
    document = dict(app.openapi())
    document["info"] = {"title": TITLE, "version": app.version, "description": ABOUT}
    document["servers"] = [{"url": "/", "description": "the server that this was read from"}]
    document["tags"] = [{"name": name, "description": about} for name, about in TAGS.items()]
    for _, _, operation in operations(document):
        _complete(operation)
    components = document["components"]
    components["headers"] = dict(HEADERS)
    components["responses"] = {_title(status): answer for status, answer in _refusals(EVERYWHERE).items()}
    components["schemas"] = _schemas(components["schemas"], ProblemJson, BatchItem)
    return document


def resolved(document: Mapping[str, Any], answer: Json) -> Json:
    """A response, wherever it is written."""
    reference = answer.get("$ref", "")
    return dict(document["components"]["responses"][reference.rpartition("/")[2]]) if reference else answer


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Json]]:
    """Each method of each path, with what is said about it."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def _schemas(known: Mapping[str, Any], *models: type[BaseModel]) -> Json:
    """The schemas of the framework without those of its own errors, and those that only we know of."""
    schemas = {name: schema for name, schema in known.items() if name not in {"HTTPValidationError", "ValidationError"}}
    for model in models:
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        inner = schema.pop("$defs", {})
        schemas = {**inner, model.__name__: schema, **schemas}
    return dict(sorted(schemas.items()))


def _complete(operation: Json) -> None:
    """Say what the catalogue knows, and give the operation a summary."""
    operation["summary"] = operation.get("description", "").partition(". ")[0].partition(".\n")[0].removesuffix(".")
    entry = OPERATIONS.get(operation["operationId"], Entry(answers={}))
    responses = {
        status: answer for status, answer in operation["responses"].items() if status[0] not in "45"
    }  # the framework's guesses
    for status, example in entry.answers.items():
        _show_answer(responses.setdefault(str(status), {"description": ""}), status, example, entry.headers)
    responses.update(_all_refusals(entry.refusals))
    operation["responses"] = dict(sorted(responses.items()))
    for parameter in operation.get("parameters", ()):
        parameter["schema"] = _given(parameter["schema"])
        if parameter["name"] in _PATH_EXAMPLES and parameter["in"] == "path":
            parameter["example"] = _PATH_EXAMPLES[parameter["name"]]
    if entry.body is not None:
        operation["requestBody"]["content"]["application/json"]["example"] = entry.body


def _given(schema: Mapping[str, Any]) -> Json:
    """The schema of a parameter that is given: to leave it out is the only way to say nothing."""
    shown = dict(schema)
    if isinstance(shown.get("type"), list):
        [shown["type"]] = [kind for kind in shown["type"] if kind != "null"]
    if "anyOf" in shown:
        kinds = [kind for kind in shown.pop("anyOf") if kind != {"type": "null"}]
        shown = {**kinds[0], **shown} if len(kinds) == 1 else {**shown, "anyOf": kinds}
    return shown


def _show_answer(answer: Json, status: int, example: Any, headers: Iterable[str]) -> None:
    if isinstance(example, Forms):
        answer["description"] = example.description
        known = dict.fromkeys(answer.get("content", ()), "")
        answer["content"] = {
            media_type: _text_form(media_type, text) for media_type, text in {**known, **example.by_media_type}.items()
        }
    else:
        answer["content"]["application/json"]["example"] = example
    if answer["description"] in {"", "Successful Response"}:
        answer["description"] = phrase(status)
    answer["headers"] = _header_links(status, headers)


def _text_form(media_type: str, example: str) -> Json:
    """A form of text. One of events has no schema: it would be that of each event, not of them all."""
    schema = {} if media_type == "text/event-stream" else {"schema": {"type": "string"}}
    return {**schema, **({"example": example} if example else {})}


def _header_links(status: int, headers: Iterable[str] = ()) -> Json:
    extra = [_ONLY_WITH[status]] if status in _ONLY_WITH else []
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-Id", *headers, *extra)}


def _all_refusals(own: Iterable[Refusal]) -> Json:
    """How an operation can refuse: in its own ways, and as any other."""
    of_its_own = {refusal.status for refusal in own}
    shared = [refusal for refusal in EVERYWHERE if refusal.status in of_its_own]
    everywhere = {
        str(refusal.status): {"$ref": f"#/components/responses/{_title(refusal.status)}"} for refusal in EVERYWHERE
    }
    return {**everywhere, **_refusals((*shared, *own))}


def _refusals(refusals: Iterable[Refusal]) -> Json:
    """Responses by status, each with an example of every code that it can have."""
    by_status = groupby(sorted(refusals, key=attrgetter("status")), key=attrgetter("status"))
    return {str(status): _refusal_response(status, list(group)) for status, group in by_status}


def _title(status: int | str) -> str:
    """The name of a status, in one word."""
    return phrase(int(status)).title().replace(" ", "").replace("-", "")


def _refusal_response(status: int, refusals: list[Refusal]) -> Json:
    title = phrase(status)
    shown = {str(refusal.code): refusal.problem(title) for refusal in refusals}
    codes = ", ".join(f"`{code}`" for code in shown)
    return {
        "description": f"{title}: {codes}",
        "headers": _header_links(status),
        "content": {
            PROBLEM_TYPE: {
                "schema": {"$ref": "#/components/schemas/ProblemJson"},
                "examples": {code: {"value": problem} for code, problem in shown.items()},
            }
        },
    }
