"""Each rule for what may be submitted, at its limit and just past it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from nodelink.errors import ErrorCode, InvalidTask, NotBuilt, TooLarge
from nodelink.task import Execution
from nodelink_server.core import validation as rules
from nodelink_server.core.validation import BUILT_IN, digest, validate
from tests.support.core_parts import make_submission

DAY_MS = 24 * 3600 * 1000


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def _shell(**payload: object) -> dict[str, object]:
    return {"type": "shell", "payload": _json({"command": "true"} | payload)}


GOOD: dict[str, dict[str, object]] = {
    "least priority": {"priority": 1},
    "greatest priority": {"priority": 100},
    "longest timeout": {"timeout_ms": 7 * DAY_MS},
    "shortest timeout": {"timeout_ms": 1},
    "longest queue timeout": {"queue_timeout_ms": 7 * DAY_MS},
    "no waiting": {"queue_timeout_ms": 0},
    "longest delay": {"delay_ms": 366 * DAY_MS},
    "last moment": {"scheduled_at": 253_402_300_799_999},
    "longest pool": {"pool": "p" * 63},
    "most metadata": {"metadata": {f"k{n}": "" for n in range(64)}},
    "longest metadata": {"metadata": {"k" * 1024: "v" * 1024}},
    "longest key": {"key": "k" * 255},
    "largest payload": {"payload": _json("x" * (256 * 1024 - 2))},
    "deepest payload": {"payload": _nested(32)},
    "brackets in text": {"payload": _json("[" * 100 + '"')},
    "many shallow brackets": {"payload": _json([[] for _ in range(100)])},
    "a program": _shell(command=["ls", "-l"]),
    "most arguments": _shell(command=["a"] * 1024),
    "an environment": _shell(env={"A": "b"}, cwd="/tmp", stdin=""),
    "most variables": _shell(env={f"v{n}": "" for n in range(256)}),
    "longest command": _shell(command="x" * (128 * 1024)),
    "once": {"execution": Execution.ONCE},
}

BAD: dict[str, tuple[str, dict[str, object]]] = {
    "priority 0": ("priority", {"priority": 0}),
    "priority 101": ("priority", {"priority": 101}),
    "timeout 0": ("timeout", {"timeout_ms": 0}),
    "timeout too long": ("timeout", {"timeout_ms": 7 * DAY_MS + 1}),
    "queue timeout negative": ("queue_timeout", {"queue_timeout_ms": -1}),
    "queue timeout too long": ("queue_timeout", {"queue_timeout_ms": 7 * DAY_MS + 1}),
    "delay negative": ("delay", {"delay_ms": -1}),
    "delay too long": ("delay", {"delay_ms": 366 * DAY_MS + 1}),
    "delay and moment": ("delay", {"delay_ms": 1, "scheduled_at": 1}),
    "moment too early": ("scheduled_at", {"scheduled_at": -1}),
    "moment too late": ("scheduled_at", {"scheduled_at": 253_402_300_800_000}),
    "unknown type": ("type", {"type": "nonsense"}),
    "pool empty": ("pool", {"pool": ""}),
    "pool too long": ("pool", {"pool": "p" * 64}),
    "pool with a path": ("pool", {"pool": "../x"}),
    "pool with a line": ("pool", {"pool": "a\n"}),
    "exclusive": ("execution", {"execution": Execution.EXCLUSIVE}),
    "too much metadata": ("metadata", {"metadata": {f"k{n}": "" for n in range(65)}}),
    "metadata name too long": ("metadata." + "k" * 64, {"metadata": {"k" * 1025: ""}}),
    "metadata value too long": ("metadata.k", {"metadata": {"k": "v" * 1025}}),
    "metadata without a name": ("metadata.", {"metadata": {"": "v"}}),
    "metadata name of half a character": ("metadata", {"metadata": {"k\ud83d": "v"}}),
    "metadata value of half a character": ("metadata", {"metadata": {"k": "\ude00"}}),
    "key of half a character": ("idempotency_key", {"key": "\ud83d"}),
    "key empty": ("idempotency_key", {"key": ""}),
    "key too long": ("idempotency_key", {"key": "k" * 256}),
    "payload empty": ("payload", {"payload": b""}),
    "payload no JSON": ("payload", {"payload": b"{"}),
    "payload no UTF-8": ("payload", {"payload": b'"\xff"'}),
    "payload not a number": ("payload", {"payload": b"NaN"}),
    "payload with a name twice": ("payload", {"payload": b'[{"a": 1, "a": 2}]'}),
    "payload with a number too large": ("payload", {"payload": b"[1e999]"}),
    "payload with a number too long": ("payload", {"payload": b"1" * 101}),
    "payload with half a character": ("payload", {"payload": b'["\\ud800"]'}),
    "payload too deep": ("payload", {"payload": _nested(33)}),
    "payload very deep": ("payload", {"payload": _nested(100_000)}),
    "shell without an object": ("payload", {"type": "shell", "payload": b"[]"}),
    "shell without a command": ("payload.command", {"type": "shell", "payload": b"{}"}),
    "shell with more": ("payload.timeout", _shell(timeout=3)),
    "command blank": ("payload.command", _shell(command="  ")),
    "command a number": ("payload.command", _shell(command=3)),
    "command empty": ("payload.command", _shell(command=[])),
    "command names no program": ("payload.command", _shell(command=["", "x"])),
    "command with a NUL": ("payload.command", _shell(command="a\0b")),
    "argument with a NUL": ("payload.command", _shell(command=["a", "\0"])),
    "too many arguments": ("payload.command", _shell(command=["a"] * 1025)),
    "command too long": ("payload.command", _shell(command="x" * (128 * 1024 + 1))),
    "arguments too long": ("payload.command", _shell(command=["x" * (64 * 1024)] * 3)),
    "environment a list": ("payload.env", _shell(env=["A=b"])),
    "variable a number": ("payload.env", _shell(env={"A": 1})),
    "variable without a name": ("payload.env", _shell(env={"": "b"})),
    "variable with an equals sign": ("payload.env", _shell(env={"A=B": "c"})),
    "variable with a NUL": ("payload.env", _shell(env={"A": "\0"})),
    "too many variables": ("payload.env", _shell(env={f"v{n}": "" for n in range(257)})),
    "environment too large": ("payload.env", _shell(env={"A": "x" * (128 * 1024)})),
    "cwd a number": ("payload.cwd", _shell(cwd=1)),
    "cwd empty": ("payload.cwd", _shell(cwd="")),
    "cwd with a NUL": ("payload.cwd", _shell(cwd="/\0")),
    "stdin a number": ("payload.stdin", _shell(stdin=1)),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_within_a_limit_is_accepted(name: str) -> None:
    validate(make_submission(**GOOD[name]), BUILT_IN)  # type: ignore[arg-type]  # names of fields


@pytest.mark.parametrize("name", BAD)
def test_what_is_past_a_limit_is_refused_by_the_name_of_its_field(name: str) -> None:
    field, submission = BAD[name]
    with pytest.raises(InvalidTask) as refused:
        validate(make_submission(**submission), BUILT_IN)  # type: ignore[arg-type]  # names of fields
    assert field in {error.field for error in refused.value.errors}


def test_a_payload_that_is_too_large_is_refused_with_a_code_of_its_own() -> None:
    with pytest.raises(TooLarge) as refused:
        validate(make_submission(payload=b"1" * (rules.MAX_PAYLOAD_BYTES + 1)), BUILT_IN)
    assert refused.value.code is ErrorCode.TOO_LARGE


def test_a_class_that_is_not_built_yet_is_refused_as_such() -> None:
    with pytest.raises(NotBuilt) as refused:
        validate(make_submission(execution=Execution.EXCLUSIVE), BUILT_IN)
    assert [error.field for error in refused.value.errors] == ["execution"]


@pytest.mark.parametrize(
    "length, code", [(0, ErrorCode.INVALID), (rules.MAX_BATCH, None), (rules.MAX_BATCH + 1, ErrorCode.TOO_LARGE)]
)
def test_a_batch_has_at_least_one_task_and_no_more_than_the_limit(length: int, code: ErrorCode | None) -> None:
    if code is None:
        rules.check_batch(length, "tasks")
        return
    with pytest.raises(InvalidTask) as refused:
        rules.check_batch(length, "tasks")
    assert (refused.value.code, [error.field for error in refused.value.errors]) == (code, ["tasks"])


def test_every_field_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(InvalidTask) as refused:
        validate(make_submission("nonsense", priority=0, pool="", key="", payload=b"{"), BUILT_IN)
    fields = {error.field for error in refused.value.errors}
    assert fields == {"type", "priority", "pool", "idempotency_key", "payload"}


def test_the_class_is_the_types_unless_it_is_asked_for() -> None:
    assert validate(make_submission("echo"), BUILT_IN) is Execution.REPLAYABLE
    assert validate(make_submission("shell", payload=b'{"command": "ls"}'), BUILT_IN) is Execution.ONCE
    assert validate(make_submission("echo", execution=Execution.ONCE), BUILT_IN) is Execution.ONCE


def test_the_digest_is_of_what_is_asked_not_of_how_it_is_written() -> None:
    first = digest(make_submission(payload=b'{"a": [1, 2], "b": null}'))

    assert digest(make_submission(payload=b'{"b":null,"a":[1,2]}')) == first
    assert digest(make_submission(payload=b'{"b":null,"a":[2,1]}')) != first
    assert digest(make_submission(payload=b'{"a": [1, 2], "b": null}', priority=51)) != first


def test_the_digest_tells_a_repetition_from_the_first_time_and_ignores_the_trace() -> None:
    once = make_submission()

    assert digest(replace(once, retry_of="t1")) not in {digest(once), digest(replace(once, retry_of="t2"))}
    assert digest(replace(once, traceparent="00-a-b-01")) == digest(once)
