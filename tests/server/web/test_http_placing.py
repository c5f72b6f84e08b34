"""Where a task runs, beside whom and in whose turn: as REST takes it, describes it and shows it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from pydantic import ValidationError

from nodelink.errors import InvalidTask
from nodelink_server.core.validation import BUILT_IN, validate
from nodelink_server.web.bodies import NewTask
from tests.support.http_door import app_door

TASKS = "/api/v1/tasks"
AGENT = "0190f3a2-7c1e-7abc-8def-0123456789ab"
ASKED = {
    "labels": "gpu , env = prod",
    "slots": 2.0,
    "resources": {"cpu": 0.5, "memory": "8GiB", "licences": "1500m", "disk": 3},
    "limits": {"database": 4.0},
    "rate": {"mail": "10/60s"},
    "when_taken": "skip",
    "workspace": "site",
    "unique_key": "nightly",
    "on_conflict": "use_existing",
    "fairness_key": "team blue",
    "fairness_weight": 3,
    "heartbeat_timeout": "90s",
}
SHOWN = {
    **ASKED,
    "labels": "env=prod,gpu",
    "slots": 2,
    "resources": {"cpu": 0.5, "memory": 8_589_934_592, "licences": 1.5, "disk": 3},
    "limits": {"database": 4},
    "rate": {"mail": "10/1m"},
    "heartbeat_timeout": "1m30s",
    "only_agent_id": None,
}
UNASKED: dict[str, Any] = {
    "only_agent_id": None,
    "labels": None,
    "slots": 1,
    "resources": {},
    "limits": {},
    "rate": {},
    "when_taken": "wait",
    "workspace": None,
    "unique_key": None,
    "on_conflict": "fail",
    "fairness_key": None,
    "fairness_weight": 1,
    "heartbeat_timeout": None,
}


def part(task: dict[str, Any], like: dict[str, Any]) -> dict[str, Any]:
    """The fields of a task that another has as well."""
    return {name: task[name] for name in like}


@pytest.mark.parametrize(
    "path, body", [(TASKS, {"type": "echo", "payload": None}), (f"{TASKS}/shell", {"command": "true"})]
)
@pytest.mark.parametrize(
    "asked, shown",
    [
        ({}, UNASKED),
        (ASKED, SHOWN),
        ({"agent_id": AGENT}, {**UNASKED, "only_agent_id": AGENT}),
        ({"labels": {"env": "prod", "gpu": ""}}, {**UNASKED, "labels": "env=prod,gpu="}),
        (
            dict.fromkeys(("agent_id", "labels", "workspace", "unique_key", "fairness_key", "heartbeat_timeout")),
            UNASKED,
        ),
        ({"labels": {}, "resources": {}, "limits": {}, "rate": {}, "slots": 1, "fairness_weight": 1}, UNASKED),
    ],
    ids=["nothing", "much", "one agent", "labels by name", "nulls", "empty"],
)
async def test_what_is_asked_is_shown(
    path: str, body: dict[str, Any], asked: dict[str, Any], shown: dict[str, Any]
) -> None:
    async with app_door() as door:
        await door.manager.workspaces.create("site", pool="default", mode="agent")
        accepted = await door.http.post(path, json={**body, **asked})
        assert accepted.status_code == 201, accepted.text
        task = await door.get(accepted.json()["id"])
        [listed] = (await door.http.get(TASKS)).json()["tasks"]

    assert part(accepted.json(), shown) == part(task, shown) == part(listed, shown) == shown


@pytest.mark.parametrize(
    "fields, wrong",
    [
        ({"priority": 0}, "priority"),
        ({"priority": 0.0}, "priority"),
        ({"agent_id": "build-1"}, "agent_id"),
        ({"agent_id": ""}, "agent_id"),
        ({"agent_id": 7}, "agent_id"),
        ({"labels": ""}, "labels"),
        ({"labels": " "}, "labels"),
        ({"labels": "a in (b)"}, "labels"),
        ({"labels": ["a"]}, "labels"),
        ({"labels": {"a": 1}}, "labels"),
        ({"labels": {"a!": "b"}}, "labels"),
        ({"labels": {"a": "b,c"}}, "labels"),
        ({"labels": {f"l{n}": "" for n in range(17)}}, "labels"),
        ({"slots": 0}, "slots"),
        ({"slots": True}, "slots"),
        ({"slots": "2"}, "slots"),
        ({"slots": 1.5}, "slots"),
        ({"slots": 4_097}, "slots"),
        ({"resources": []}, "resources"),
        ({"resources": {"CPU": 1}}, "resources"),
        ({"resources": {"cpu": 0}}, "resources.cpu"),
        ({"resources": {"cpu": 0.0009}}, "resources.cpu"),
        ({"resources": {"cpu": True}}, "resources.cpu"),
        ({"resources": {"cpu": None}}, "resources.cpu"),
        ({"resources": {"cpu": "0"}}, "resources.cpu"),
        ({"resources": {"cpu": " 1"}}, "resources.cpu"),
        ({"resources": {"cpu": "much"}}, "resources.cpu"),
        ({"resources": {"memory": 9_007_199_254_741}}, "resources.memory"),
        ({"limits": {"k": 0}}, "limits.k"),
        ({"limits": {"k": "4"}}, "limits.k"),
        ({"limits": {"k": 100_001}}, "limits.k"),
        ({"limits": {"": 1}}, "limits"),
        ({"limits": None}, "limits"),
        ({"rate": {"k": 10}}, "rate.k"),
        ({"rate": {"k": "10"}}, "rate.k"),
        ({"rate": {"k": "10/soon"}}, "rate.k"),
        ({"rate": {"k": "10/1ms"}}, "rate.k"),
        ({"rate": {"k": "1001/1m"}}, "rate.k"),
        ({"when_taken": "queue", "lock": "l"}, "when_taken"),
        ({"when_taken": None}, "when_taken"),
        ({"when_taken": "skip"}, "when_taken"),
        ({"workspace": "../x"}, "workspace"),
        ({"workspace": ""}, "workspace"),
        ({"unique_key": ""}, "unique_key"),
        ({"unique_key": "a\n"}, "unique_key"),
        ({"on_conflict": "use-existing", "unique_key": "k"}, "on_conflict"),
        ({"on_conflict": "replace"}, "on_conflict"),
        ({"fairness_key": "k" * 201}, "fairness_key"),
        ({"fairness_weight": 2}, "fairness_weight"),
        ({"fairness_weight": 1_001, "fairness_key": "k"}, "fairness_weight"),
        ({"heartbeat_timeout": "500ms"}, "heartbeat_timeout"),
    ],
)
async def test_what_is_wrong_is_named(fields: dict[str, Any], wrong: str) -> None:
    async with app_door() as door:
        answer = await door.http.post(TASKS, json={"type": "echo", "payload": 1, **fields})
        assert answer.status_code == 422, answer.text
        assert [error["field"] for error in answer.json()["errors"]] == [wrong]


async def test_a_batch_names_the_field_of_each() -> None:
    async with app_door() as door:
        items = [{"type": "echo", "resources": {"cpu": "much"}}, {"type": "echo", "slots": 2}]
        answer = await door.http.post(f"{TASKS}/batch", json={"tasks": items})

    first, second = answer.json()["outcomes"]
    assert first["error"]["errors"][0]["field"] == "resources.cpu"
    assert second["error"] is None


async def test_it_is_a_part_of_what_a_key_stands_for_however_it_is_written() -> None:
    async with app_door() as door:
        answers = [
            await door.http.post(TASKS, json={"type": "echo", **fields}, headers={"Idempotency-Key": "k"})
            for fields in ({"labels": "a=1,b=2"}, {"labels": {"b": "2", "a": "1"}}, {"labels": "a=1"})
        ]
    assert [answer.status_code for answer in answers] == [201, 201, 409]


# --- the description is as strict as the server ---------------------------------------------------------------------

SCHEMAS: dict[str, Any] = NewTask.model_json_schema()["properties"]
TEXT = some.text(alphabet="aZ09.-_/:=!,+@ \t\né\u200b", max_size=12)
HEX = some.from_regex(r"\A[0-9a-fA-F]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\n?\Z")


def is_accepted(**fields: Any) -> bool:
    """Whether a task with these fields is."""
    try:
        validate(NewTask(type="echo", **fields).submission(None, ""), BUILT_IN)
    except (ValidationError, InvalidTask):
        return False
    return True


def fits(schema: dict[str, Any], text: str) -> bool:
    """Whether a text is within a schema, whose `$` is the very end."""
    pattern = schema["pattern"].removesuffix("$") + (r"\Z" if schema["pattern"].endswith("$") else "")
    return schema.get("minLength", 0) <= len(text) <= schema.get("maxLength", 1 << 30) and bool(
        re.search(pattern, text)
    )


@given(TEXT)
def test_labels_are_described_as_they_are_taken(text: str) -> None:
    assert is_accepted(labels=text) == fits(SCHEMAS["labels"]["anyOf"][0], text)


@given(TEXT, TEXT)
def test_labels_by_name_are_described_as_they_are_taken(name: str, value: str) -> None:
    schema = SCHEMAS["labels"]["anyOf"][1]
    described = fits(schema["propertyNames"], name) and fits(schema["additionalProperties"], value)
    assert is_accepted(labels={name: value}) == described


@given(some.one_of(TEXT, HEX))
def test_an_agent_is_described_as_it_is_taken(text: str) -> None:
    assert is_accepted(agent_id=text) == fits(SCHEMAS["agent_id"], text)


@pytest.mark.parametrize("field", ["workspace", "unique_key", "fairness_key"])
@given(TEXT)
def test_names_are_described_as_they_are_taken(field: str, text: str) -> None:
    assert is_accepted(**{field: text}) == fits(SCHEMAS[field], text)


@pytest.mark.parametrize("field, value", [("resources", 1), ("limits", 1), ("rate", "1/1s")])
@given(TEXT)
def test_keys_are_described_as_they_are_taken(field: str, value: Any, text: str) -> None:
    assert is_accepted(**{field: {text: value}}) == fits(SCHEMAS[field]["propertyNames"], text)


@given(some.one_of(some.floats(allow_nan=False), some.integers(-2, 1 << 54), some.floats(0, 0.002)))
def test_numbers_of_resources_are_described_as_they_are_taken(number: float) -> None:
    schema = SCHEMAS["resources"]["additionalProperties"]["anyOf"][0]
    assert is_accepted(resources={"cpu": number}) == (schema["minimum"] <= number <= schema["maximum"])


@given(some.text(alphabet="019.mkKMGTPiB \n", max_size=8))
def test_no_amount_is_taken_that_is_not_described(text: str) -> None:
    schema = SCHEMAS["resources"]["additionalProperties"]["anyOf"][1]
    assert fits(schema, text) or not is_accepted(resources={"cpu": text})


@given(some.text(alphabet="019./smhd \n", max_size=8))
def test_no_rate_is_taken_that_is_not_described(text: str) -> None:
    assert fits(SCHEMAS["rate"]["additionalProperties"], text) or not is_accepted(rate={"k": text})
