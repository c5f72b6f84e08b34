"""Bad input over HTTP, one kind at a time: each is refused by name, as problem+json."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from nodelink.errors import StoreUnavailable
from nodelink_server.core.validation import UNBUILT_FIELDS
from nodelink_server.web.errors import STATUSES
from nodelink_server.web.unbuilt import UNBUILT_PATHS, UNBUILT_TREES
from tests.support.http_door import app_door

TASKS = "/api/v1/tasks"
UNKNOWN_ID = "01900000-0000-7000-8000-00000000dead"
JSON = {"Content-Type": "application/json"}


def check_problem(answer: httpx.Response, status: int, code: str, *fields: str) -> None:
    """The answer is a problem of this kind, about these fields."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert {"type", "title", "detail"} <= set(problem)
    assert [error["field"] for error in problem["errors"]] == list(fields)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"nonsense",
        b'{"type": "echo", "type": "shell"}',
        b'{"type": "echo", "payload": NaN}',
        b'{"type": "echo", "payload": 1e999}',
        b'{"type": "echo", "payload": "\\ud800"}',
        b'{"type": "echo", "payload": ' + b"[" * 100 + b"]" * 100 + b"}",
        b'{"type": "echo", "payload": "\xff"}',
        b"[" * 50_000,
    ],
)
async def test_a_body_that_is_no_honest_json_is_malformed(body: bytes) -> None:
    async with app_door() as door:
        answer = await door.http.post(TASKS, content=body, headers={"Content-Type": "application/json"})
        check_problem(answer, 400, "MALFORMED")
        assert (await door.http.get(TASKS)).json()["tasks"] == []


@pytest.mark.parametrize(
    "fields, wrong",
    [
        ({"type": "nonsense"}, "type"),
        ({"type": None}, "type"),
        ({"type": 7}, "type"),
        ({"timeout": "-5s"}, "timeout"),
        ({"timeout": "0s"}, "timeout"),
        ({"timeout": "1000000d"}, "timeout"),
        ({"timeout": "8d"}, "timeout"),
        ({"timeout": "soon"}, "timeout"),
        ({"timeout": 5}, "timeout"),
        ({"queue_timeout": "-1ms"}, "queue_timeout"),
        ({"delay": "9000000h"}, "delay"),
        ({"delay": "1s", "scheduled_at": "2099-01-01T00:00:00Z"}, "delay"),
        ({"scheduled_at": "tomorrow"}, "scheduled_at"),
        ({"scheduled_at": "2099-01-01T00:00:00"}, "scheduled_at"),
        ({"scheduled_at": 17}, "scheduled_at"),
        ({"priority": 0}, "priority"),
        ({"priority": 101}, "priority"),
        ({"priority": "urgent"}, "priority"),
        ({"priority": True}, "priority"),
        ({"priority": 1.5}, "priority"),
        ({"execution": "twice"}, "execution"),
        ({"execution": []}, "execution"),
        ({"lock": ""}, "lock"),
        ({"lock": 7}, "lock"),
        ({"lock": "l" * 201}, "lock"),
        ({"lock": "a\nb"}, "lock"),
        ({"lock": "deploy\u200b"}, "lock"),
        ({"execution": "exclusive", "lock": "\u0000"}, "lock"),
        ({"retry": 3}, "retry"),
        ({"retry": {"attempts": 3}}, "retry.attempts"),
        ({"retry": {"max_attempts": 0}}, "retry.max_attempts"),
        ({"retry": {"max_attempts": 101}}, "retry.max_attempts"),
        ({"retry": {"max_attempts": 1.5}}, "retry.max_attempts"),
        ({"retry": {"max_attempts": True}}, "retry.max_attempts"),
        ({"retry": {"max_attempts": None}}, "retry.max_attempts"),
        ({"retry": {"initial": 1}}, "retry.initial"),
        ({"retry": {"initial": "24h1ms"}}, "retry.initial"),
        ({"retry": {"initial": "2s", "max": "1s"}}, "retry.max"),
        ({"retry": {"initial": "6m"}}, "retry.max"),
        ({"retry": {"max": "24h1ms"}}, "retry.max"),
        ({"retry": {"multiplier": 0.9}}, "retry.multiplier"),
        ({"retry": {"multiplier": 10.1}}, "retry.multiplier"),
        ({"retry": {"multiplier": "2"}}, "retry.multiplier"),
        ({"retry": {"multiplier": False}}, "retry.multiplier"),
        ({"retry": {"on": "timeout"}}, "retry.on"),
        ({"retry": {"on": [75]}}, "retry.on"),
        ({"retry": {"on": ["timeout"] * 33}}, "retry.on"),
        ({"retry": {"on": ["timeout", "boredom"]}}, "retry.on[1]"),
        ({"pool": ""}, "pool"),
        ({"pool": "../x"}, "pool"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"metadata": "a=1"}, "metadata"),
        ({"nonsense": 1}, "nonsense"),
        ({"idempotency_key": "k"}, "idempotency_key"),
    ],
)
async def test_a_wrong_field_is_named(fields: dict[str, Any], wrong: str) -> None:
    async with app_door() as door:
        answer = await door.http.post(TASKS, json={"type": "echo", "payload": 1, **fields})
        check_problem(answer, 422, "INVALID", wrong)


@pytest.mark.parametrize("field", UNBUILT_FIELDS)
@pytest.mark.parametrize("path, body", [(TASKS, {"type": "echo"}), (f"{TASKS}/shell", {"command": "true"})])
async def test_a_field_that_is_not_built_yet_is_refused_by_name(path: str, body: dict[str, Any], field: str) -> None:
    async with app_door() as door:
        check_problem(await door.http.post(path, json={**body, field: {}}), 422, "NOT_BUILT", field)
        assert (await door.http.get(TASKS)).json()["tasks"] == []


@pytest.mark.parametrize(
    "method, path, body",
    [
        ("POST", TASKS, {"type": 5, "pool": None, "metadata": []}),
        ("POST", TASKS, {"type": "echo", "metadata": {"team": 1}}),
        ("POST", TASKS, []),
        ("POST", f"{TASKS}/shell", {"command": "true", "env": [], "cwd": 5, "stdin": 5}),
        ("POST", f"{TASKS}/batch", {"tasks": 5}),
        ("POST", f"{TASKS}/{UNKNOWN_ID}/cancel", {"reason": "x" * 1_001}),
        ("GET", f"{TASKS}?status=nonsense&page_size=0", None),
        ("GET", f"{TASKS}?page_size=1001&q={'x' * 201}", None),
        ("GET", f"{TASKS}?{'&'.join(['label=a%3Db'] * 11)}", None),
        ("GET", f"{TASKS}/{UNKNOWN_ID}/logs?tail=0&stream=x", None),
        ("GET", "/api/v1/agents?status=nonsense", None),
        ("GET", "/api/v1/stats?by=nonsense", None),
        ("GET", "/debug/profile?seconds=soon", None),
        ("GET", "/debug/profile?seconds=100", None),
    ],
)
async def test_a_wrong_shape_is_told_in_our_own_words(method: str, path: str, body: Any) -> None:
    async with app_door() as door:
        answer = await door.http.request(method, path, json=body)
        assert answer.status_code == 422
        for wrong in answer.json()["errors"]:
            assert re.match("must|is required|write|there is no", wrong["message"]), wrong


async def test_an_empty_header_is_told_in_our_own_words() -> None:
    async with app_door() as door:
        answer = await door.http.post(TASKS, json={"type": "echo"}, headers={"Idempotency-Key": ""})
        assert answer.json()["detail"] == "Idempotency-Key: must not be empty"


@pytest.mark.parametrize("name", ["high", "High", "HIGH"])
async def test_the_name_of_a_priority_is_taken_in_any_case_as_by_the_clients(name: str) -> None:
    async with app_door() as door:
        answer = await door.http.post(TASKS, json={"type": "echo", "priority": name})
        assert (answer.status_code, answer.json()["priority"]) == (201, 75)


async def test_an_unknown_path_is_named() -> None:
    async with app_door() as door:
        assert (await door.http.get("/api/v1/nonsense")).json()["detail"] == "there is no path /api/v1/nonsense"


async def test_a_missing_type_is_named() -> None:
    async with app_door() as door:
        check_problem(await door.http.post(TASKS, json={"payload": 1}), 422, "INVALID", "type")


@pytest.mark.parametrize("body", [b"[]", b"7", b"null", b'"text"', b""])
async def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    async with app_door() as door:
        answer = await door.http.post(TASKS, content=body, headers={"Content-Type": "application/json"})
        check_problem(answer, 422, "INVALID", "body")


@pytest.mark.parametrize(
    "body, wrong",
    [
        ({}, "command"),
        ({"command": 7}, "command"),
        ({"command": ["ls", 7]}, "command"),
        ({"command": []}, "command"),
        ({"command": " "}, "command"),
        ({"command": "true", "env": {"A": 1}}, "env.A"),
        ({"command": "true", "env": {"A=B": "1"}}, "env"),
        ({"command": "true", "cwd": ""}, "cwd"),
        ({"command": "true", "stdin": 7}, "stdin"),
        ({"command": "true", "payload": {}}, "payload"),
        ({"command": "true", "type": "shell"}, "type"),
    ],
)
async def test_a_wrong_field_of_a_command_is_named(body: dict[str, Any], wrong: str) -> None:
    async with app_door() as door:
        check_problem(await door.http.post(f"{TASKS}/shell", json=body), 422, "INVALID", wrong)


async def test_a_payload_over_the_limit_is_too_large() -> None:
    async with app_door() as door:
        answer = await door.http.post(TASKS, json={"type": "echo", "payload": "x" * (256 * 1024)})
        check_problem(answer, 413, "TOO_LARGE", "payload")


async def test_a_batch_over_the_limit_is_refused() -> None:
    async with app_door() as door:
        answer = await door.http.post(f"{TASKS}/batch", json={"tasks": [{"type": "echo"}] * 1001})
        check_problem(answer, 413, "TOO_LARGE", "tasks")


async def test_an_empty_batch_is_refused() -> None:
    async with app_door() as door:
        check_problem(await door.http.post(f"{TASKS}/batch", json={"tasks": []}), 422, "INVALID", "tasks")


@pytest.mark.parametrize("levels, status", [(32, 201), (33, 422), (95, 422)])
async def test_nesting_is_counted_in_the_payload_alone(levels: int, status: int) -> None:
    payload = b"[" * levels + b"]" * levels
    async with app_door() as door:
        one = await door.http.post(TASKS, content=b'{"type": "echo", "payload": %s}' % payload, headers=JSON)
        batch = b'{"tasks": [{"type": "echo", "payload": %s}]}' % payload
        [outcome] = (await door.http.post(f"{TASKS}/batch", content=batch, headers=JSON)).json()["outcomes"]
        if status == 422:
            check_problem(one, 422, "INVALID", "payload")
            assert outcome["error"]["code"] == "INVALID"
        else:
            assert (one.status_code, outcome["error"]) == (201, None)


async def test_an_idempotency_key_has_a_limit() -> None:
    async with app_door() as door:
        answer = await door.http.post(TASKS, json={"type": "echo"}, headers={"Idempotency-Key": "k" * 256})
        check_problem(answer, 422, "INVALID", "Idempotency-Key")


@pytest.mark.parametrize("path, body", [(TASKS, {"type": "echo"}), (f"{TASKS}/batch", {"tasks": [{"type": "echo"}]})])
async def test_an_empty_idempotency_key_is_refused(path: str, body: dict[str, Any]) -> None:
    async with app_door() as door:
        answer = await door.http.post(path, json=body, headers={"Idempotency-Key": ""})
        check_problem(answer, 422, "INVALID", "Idempotency-Key")


async def test_no_agent_with_room_is_said_at_once_if_asked_so() -> None:
    async with app_door() as door:
        answer = await door.http.post(TASKS, json={"type": "echo", "queue_timeout": "0s"})
        check_problem(answer, 503, "NO_AGENT")
        assert int(answer.headers["retry-after"]) == answer.json()["retry_after"] >= 1


@pytest.mark.parametrize(
    "method, path",
    [
        ("GET", f"{TASKS}/{UNKNOWN_ID}"),
        ("GET", f"{TASKS}/nonsense"),
        ("GET", f"{TASKS}/{'x' * 5000}"),
        ("GET", f"{TASKS}/{UNKNOWN_ID}/result"),
        ("GET", f"{TASKS}/{UNKNOWN_ID}/result?wait=1s"),
        ("GET", f"{TASKS}/{UNKNOWN_ID}/logs"),
        ("GET", f"{TASKS}/{UNKNOWN_ID}/logs?follow=true"),
        ("GET", f"{TASKS}/{UNKNOWN_ID}/logs?tail=10"),
        ("GET", f"{TASKS}/{UNKNOWN_ID}/events"),
        ("POST", f"{TASKS}/{UNKNOWN_ID}/cancel"),
        ("GET", "/api/v1/agents/nobody"),
        ("GET", "/api/v1/nonsense"),
        ("GET", "/api/v2/tasks"),
        ("GET", "/nonsense"),
        ("GET", f"{TASKS}/"),
    ],
)
async def test_what_does_not_exist_is_not_found(method: str, path: str) -> None:
    async with app_door() as door:
        check_problem(await door.http.request(method, path), 404, "NOT_FOUND")


@pytest.mark.parametrize("method, path", [("DELETE", TASKS), ("PUT", f"{TASKS}/shell"), ("POST", "/healthz")])
async def test_a_method_that_a_path_has_not_is_refused(method: str, path: str) -> None:
    async with app_door() as door:
        check_problem(await door.http.request(method, path), 405, "METHOD_NOT_ALLOWED")


@pytest.mark.parametrize("path", [*UNBUILT_PATHS, *(f"/{tree}" for tree in UNBUILT_TREES), "/pools/a/b"])
async def test_a_path_that_is_not_built_yet_is_refused_by_name(path: str) -> None:
    async with app_door() as door:
        url = "/api/v1" + path.format(task_id=UNKNOWN_ID, agent_id="a", name="n")
        check_problem(await door.http.post(url), 422, "NOT_BUILT", "path")


@pytest.mark.parametrize("path", ["/"])
async def test_a_page_that_is_not_built_yet_is_refused(path: str) -> None:
    async with app_door() as door:
        check_problem(await door.http.get(path), 422, "NOT_BUILT", "path")


@pytest.mark.parametrize(
    "path, wrong",
    [
        (f"{TASKS}?page_size=1001", "page_size"),
        (f"{TASKS}?page_size=0", "page_size"),
        (f"{TASKS}?page_size=x", "page_size"),
        (f"{TASKS}?page_token=x", "page_token"),
        (f"{TASKS}?status=nonsense", "status"),
        (f"{TASKS}?created_after=yesterday", "created_after"),
        (f"{TASKS}?nonsense=1", "nonsense"),
        (f"{TASKS}/1?nonsense=1", "nonsense"),
        (f"{TASKS}/1/result?wait=6m", "wait"),
        (f"{TASKS}/1/result?wait=-1s", "wait"),
        (f"{TASKS}/1/logs?stream=both", "stream"),
        (f"{TASKS}/1/logs?offset=-1", "offset"),
        (f"{TASKS}/1/logs?offset=9223372036854775808", "offset"),
        (f"{TASKS}/1/logs?limit=0", "limit"),
        (f"{TASKS}/1/logs?limit=9999999", "limit"),
        (f"{TASKS}/1/logs?tail=5&offset=5", "tail"),
        (f"{TASKS}/1/logs?follow=true&limit=5", "limit"),
        ("/api/v1/events?after=-1", "after"),
        ("/api/v1/events?after=1_000", "after"),
        ("/api/v1/events?after=9223372036854775808", "after"),
        ("/api/v1/agents?nonsense=1", "nonsense"),
        ("/healthz?nonsense=1", "nonsense"),
    ],
)
async def test_a_wrong_parameter_is_named(path: str, wrong: str) -> None:
    async with app_door() as door:
        check_problem(await door.http.get(path), 422, "INVALID", wrong)


async def test_a_last_event_id_that_is_no_revision_is_refused() -> None:
    async with app_door() as door:
        answer = await door.http.get("/api/v1/events", headers={"Last-Event-ID": "x"})
        check_problem(answer, 422, "INVALID", "Last-Event-ID")


@pytest.mark.parametrize(
    "body", [{"reason": 7}, {"grace": "-1s"}, {"grace": "2h"}, {"reason": "x" * 1001}, {"why": ""}]
)
async def test_a_wrong_field_of_a_cancel_is_named(body: dict[str, Any]) -> None:
    async with app_door() as door:
        task_id = (await door.submit())["id"]
        answer = await door.http.post(f"{TASKS}/{task_id}/cancel", json=body)
        check_problem(answer, 422, "INVALID", *body)
        assert (await door.get(task_id))["status"] == "pending"


async def test_a_failure_of_ours_says_nothing_of_our_insides() -> None:
    no_text: Any = RuntimeError("the secret of the house")
    async with app_door() as door, door.agent(labels={"zone": no_text}):  # no link lets such labels in
        answer = await door.http.get("/api/v1/agents")
        check_problem(answer, 500, "INTERNAL")
        assert "secret" not in answer.text


async def test_what_cannot_be_made_durable_is_refused_with_a_time_to_come_again() -> None:
    def fault(kind: str) -> None:
        if kind == "apply":
            raise StoreUnavailable("the disk is full", retry_after=7.2)

    async with app_door(fault=fault) as door:
        for path, body in ((TASKS, {"type": "echo"}), (f"{TASKS}/batch", {"tasks": [{"type": "echo"}]})):
            answer = await door.http.post(path, json=body)
            check_problem(answer, 503, "UNAVAILABLE")
            assert (answer.headers["retry-after"], answer.json()["retry_after"]) == ("8", 8)
        assert (await door.http.get(TASKS)).json()["tasks"] == []


def test_no_refusal_of_ours_is_a_success() -> None:
    assert all(400 <= status < 600 for status in STATUSES.values())
