"""The published description: whole, true and fresh, for programs and for people."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from nodelink.errors import ErrorCode
from nodelink_server.web import (
    artifacts,
    bodies,
    bulk,
    checkpoints,
    limits,
    plans,
    scheduler,
    shapes,
    stats,
    workspace_states,
    workspaces,
)
from nodelink_server.web.catalogue import OPERATIONS
from nodelink_server.web.errors import HTTP_CODES, STATUSES
from nodelink_server.web.openapi import TAGS, operations, resolved
from nodelink_server.web.reference import curl_line
from nodelink_server.web.unbuilt import UNBUILT_PATHS
from tests.support.http_door import Door, app_door
from tests.support.openapi_file import OPENAPI_FILE, openapi_text

Json = dict[str, Any]
DOCUMENT: Json = json.loads(openapi_text())
MODELS: dict[str, type[BaseModel]] = {
    name: model
    for module in (
        artifacts,
        bodies,
        bulk,
        checkpoints,
        limits,
        plans,
        scheduler,
        shapes,
        stats,
        workspace_states,
        workspaces,
    )
    for name, model in vars(module).items()
    if isinstance(model, type) and issubclass(model, BaseModel)
}
OPERATION_IDS = [operation["operationId"] for _, _, operation in operations(DOCUMENT)]
BUILT = {
    "get /api/v1/agents",
    "get /api/v1/agents/{agent_id}",
    "get /api/v1/agents/{agent_id}/sessions",
    "get /api/v1/agents/{agent_id}/tasks",
    "get /api/v1/agents/{agent_id}/why",
    "get /api/v1/events",
    "get /api/v1/checkpoints",
    "get /api/v1/checkpoints/{checkpoint_id}",
    "get /api/v1/checkpoints/{checkpoint_id}/content",
    "get /api/v1/scheduler/status",
    "post /api/v1/checkpoints",
    "post /api/v1/checkpoints/{checkpoint_id}/verify",
    "post /api/v1/scheduler/pause",
    "post /api/v1/scheduler/resume",
    "get /api/v1/stats",
    "get /api/v1/tasks",
    "get /api/v1/tasks/{task_id}",
    "get /api/v1/tasks/{task_id}/events",
    "get /api/v1/tasks/{task_id}/logs",
    "get /api/v1/tasks/{task_id}/result",
    "get /api/v1/tasks/{task_id}/why",
    "get /healthz",
    "get /metrics",
    "get /readyz",
    "post /api/v1/tasks",
    "post /api/v1/tasks/batch",
    "post /api/v1/tasks/cleanup",
    "post /api/v1/tasks/shell",
    "post /api/v1/agents/{agent_id}/undrain",
    "post /api/v1/tasks/{task_id}/abandon",
    "post /api/v1/tasks/{task_id}/cancel",
    "post /api/v1/agents/{agent_id}/drain",
    "post /api/v1/tasks/bulk",
    "post /api/v1/tasks/{task_id}/extend",
    "post /api/v1/tasks/{task_id}/resolve",
    "post /api/v1/tasks/{task_id}/approve",
    "post /api/v1/tasks/{task_id}/reject",
    "get /api/v1/tasks/{task_id}/plan",
    "get /api/v1/plans",
    "post /api/v1/tasks/{task_id}/retry",
    "delete /api/v1/limits/{limit_name}",
    "delete /api/v1/workspaces/{name}",
    "get /api/v1/limits",
    "get /api/v1/workspaces",
    "get /api/v1/workspaces/{name}",
    "post /api/v1/workspaces",
    "put /api/v1/limits/{limit_name}",
    "put /api/v1/workspaces/{name}",
    "get /api/v1/artifacts",
    "get /api/v1/artifacts/{sha256}",
    "get /api/v1/tasks/{task_id}/artifacts",
    "get /api/v1/tasks/{task_id}/artifacts/{artifact_name}",
    "get /api/v1/workspaces/{name}/state",
    "get /api/v1/workspaces/{name}/states",
    "post /api/v1/artifacts",
    "put /api/v1/artifacts/{sha256}",
    "put /api/v1/tasks/{task_id}/artifacts/{artifact_name}",
    "put /api/v1/workspaces/{name}/state",
}
OF_BYTES = {"put_artifact", "save_state"}
"""Their bodies mean nothing, so there is no example of one."""
MAY_BE_THERE = {"get /debug/profile"}


def operation_of(name: str) -> Json:
    """What is said about an operation."""
    operation = next(operation for _, _, operation in operations(DOCUMENT) if operation["operationId"] == name)
    answers = {status: resolved(DOCUMENT, answer) for status, answer in operation["responses"].items()}
    return {**operation, "responses": answers}


def model_of(schema: Json) -> type[BaseModel]:
    """What a schema was made from."""
    references = [schema.get("$ref"), *(one.get("$ref") for one in schema.get("anyOf", ()))]
    [name] = [reference.rpartition("/")[2] for reference in references if reference]
    return MODELS[name]


def contents(operation: Json) -> Iterator[tuple[str, Json]]:
    """Every shape of JSON that an operation takes or gives, with where it is."""
    places = {"body": operation.get("requestBody", {}), **operation["responses"]}
    for place, part in places.items():
        for media_type, content in part.get("content", {}).items():
            if media_type.endswith("json") and "x-ndjson" not in media_type:
                yield place, content


def test_the_file_in_docs_is_fresh() -> None:
    assert OPENAPI_FILE.read_text(encoding="utf-8") == openapi_text(), (
        "docs/openapi.json is stale: run scripts/generate"
    )


def test_bounds_are_said_in_words_that_a_schema_knows() -> None:
    for method, path, operation in operations(DOCUMENT):
        for parameter in operation.get("parameters", ()):
            assert not {"ge", "le", "gt", "lt"} & set(parameter["schema"]), f"{method} {path} {parameter['name']}"


def test_the_description_names_what_is_built_and_nothing_else() -> None:
    named = {f"{method} {path}" for method, path, _ in operations(DOCUMENT)}
    assert named - MAY_BE_THERE == BUILT
    assert not {f"/api/v1{path}" for path in UNBUILT_PATHS} & set(DOCUMENT["paths"])


def test_the_description_is_of_its_version_and_its_server() -> None:
    assert DOCUMENT["openapi"].startswith("3.1")
    assert DOCUMENT["servers"][0]["url"] == "/"
    assert [tag["name"] for tag in DOCUMENT["tags"]] == list(TAGS)


def test_every_operation_is_in_the_catalogue() -> None:
    assert set(OPERATION_IDS) - {"profile"} == set(OPERATIONS) - {"profile"}


@pytest.mark.parametrize("name", OPERATION_IDS)
def test_every_operation_says_what_it_is(name: str) -> None:
    operation = operation_of(name)
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", name)
    assert 0 < len(operation["summary"]) <= 100
    assert operation["description"].startswith(operation["summary"])
    assert set(operation["tags"]) <= set(TAGS)


@pytest.mark.parametrize("name", OPERATION_IDS)
def test_every_refusal_is_a_problem_with_an_example_of_each_code(name: str) -> None:
    refusals = {status: answer for status, answer in operation_of(name)["responses"].items() if status[0] in "45"}
    assert {"400", "403", "422", "500", "503"} <= set(refusals)
    for status, answer in refusals.items():
        examples = answer["content"]["application/problem+json"]["examples"]
        for code, example in examples.items():
            assert (example["value"]["code"], example["value"]["status"]) == (code, int(status))
        assert ("Retry-After" in answer["headers"]) == (status in {"429", "503"})


@pytest.mark.parametrize("name", OPERATION_IDS)
def test_every_success_has_an_example(name: str) -> None:
    successes = [answer for status, answer in operation_of(name)["responses"].items() if status[0] == "2"]
    assert successes
    for answer in successes:
        assert any("example" in content for content in answer["content"].values())
        assert "X-Request-Id" in answer["headers"]


@pytest.mark.parametrize("name", OPERATION_IDS)
def test_every_example_has_the_shape_that_is_described(name: str) -> None:
    for place, content in contents(operation_of(name)):
        examples = [one["value"] for one in content.get("examples", {}).values()]
        examples += [content["example"]] if "example" in content else []
        model = model_of(content["schema"])
        for example in examples:
            shown = model.model_validate(example).model_dump(by_alias=True, exclude_unset=True)
            assert set(shown) == set(example), (place, example)
            if place != "body":
                required = set(model.model_json_schema().get("required", ()))
                assert required <= set(example), (place, example)


def test_every_body_has_an_example() -> None:
    bodies = {name for name in OPERATION_IDS if "requestBody" in operation_of(name)} - OF_BYTES
    shown = {name for name in bodies if "example" in operation_of(name)["requestBody"]["content"]["application/json"]}
    assert bodies - shown == {"retry_task", "undrain_agent", "take_checkpoint", "verify_checkpoint"}  # they say nothing


@pytest.mark.parametrize("name", ["submit_task", "submit_shell_task", "submit_batch", "create_workspace", "bulk_tasks"])
async def test_the_examples_of_bodies_are_accepted(name: str) -> None:
    method, path = next((m, p) for m, p, operation in operations(DOCUMENT) if operation["operationId"] == name)
    body = operation_of(name)["requestBody"]["content"]["application/json"]["example"]
    async with app_door() as door:
        assert (await door.http.request(method, path, json=body)).status_code in {200, 201}


async def test_the_answers_have_the_fields_that_are_described() -> None:
    async with app_door() as door, door.agent():
        task = await door.submit()
        for path, shape in (
            (f"/api/v1/tasks/{task['id']}", "TaskJson"),
            ("/api/v1/agents/a1", "AgentJson"),
            ("/api/v1/agents/a1/sessions", "SessionPage"),
            ("/api/v1/scheduler/status", "SchedulerJson"),
            ("/api/v1/stats", "StatsJson"),
            ("/api/v1/workspaces", "WorkspaceList"),
            ("/api/v1/limits", "LimitList"),
            ("/api/v1/artifacts", "ArtifactList"),
            (f"/api/v1/tasks/{task['id']}/artifacts", "TaskArtifacts"),
        ):
            shown = (await door.http.get(path)).json()
            assert set(shown) == set(DOCUMENT["components"]["schemas"][shape]["properties"])


def test_every_reference_leads_somewhere() -> None:
    references = set(re.findall(r'"\$ref": "#/components/([^"]+)"', openapi_text()))
    known = {f"{kind}/{name}" for kind, parts in DOCUMENT["components"].items() for name in parts}
    assert references <= known
    assert not [name for name in known if "HTTPValidationError" in name]


async def test_the_server_gives_the_description_that_is_in_the_file() -> None:
    async with app_door() as door:
        served = (await door.http.get("/openapi.json")).json()
    served["info"]["version"] = DOCUMENT["info"]["version"]
    assert served == DOCUMENT


async def docs_page(door: Door) -> str:
    """The page for people."""
    answer = await door.http.get("/docs")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    return answer.text


async def test_the_page_for_people_has_every_operation_and_its_curl_line() -> None:
    async with app_door() as door:
        page = await docs_page(door)
    for name in set(OPERATION_IDS) - {"profile"}:
        assert f'<section id="{name}">' in page
        assert f'href="#{name}"' in page
    assert page.count("curl -s") >= len(BUILT)
    assert 'name="viewport"' in page


async def test_the_page_for_people_fetches_nothing_and_runs_nothing() -> None:
    async with app_door() as door:
        page = await docs_page(door)
        policy = (await door.http.get("/docs")).headers["content-security-policy"]
    assert not re.search(r"<(script|link|img|iframe|form)\b|\bon[a-z]+=|\bstyle=|(src|href)=[\"']?(https?:)?//", page)
    [style] = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


def test_a_curl_line_is_what_a_shell_takes_apart_again() -> None:
    operation = operation_of("submit_shell_task")
    words = shlex.split(curl_line("post", "/api/v1/tasks/shell", operation, "http://127.0.0.1:8080"))
    assert words[:5] == ["curl", "-s", "-X", "POST", "http://127.0.0.1:8080/api/v1/tasks/shell"]
    assert words[-1].startswith('{"command": ')


def test_the_page_about_the_interface_names_every_route() -> None:
    page = (OPENAPI_FILE.parent / "rest.md").read_text(encoding="utf-8")
    for method, path, _ in operations(DOCUMENT):
        assert f"`{method.upper()} {path}`" in page


def test_the_page_about_the_interface_has_every_code_with_its_status() -> None:
    page = (OPENAPI_FILE.parent / "rest.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\d, ]+) \| (.+?) \|", page, re.MULTILINE)
    written = {
        (int(status), code) for row in rows for status in row[0].split(", ") for code in re.findall("[A-Z_]+", row[1])
    }
    of_agents = {ErrorCode.HANDSHAKE_REFUSED, ErrorCode.SESSION_REPLACED}
    ours = {(status, str(code)) for code, status in STATUSES.items() if code not in of_agents}
    assert written == ours | {(status, str(code)) for status, code in HTTP_CODES.items()}
