"""Each rule for what may be submitted, at its limit and just past it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from nodelink.errors import ErrorCode, InvalidTask, TooLarge
from nodelink.task import ErrorCategory, Execution, RetryPolicy
from nodelink_server.core import validation as rules
from nodelink_server.core.validation import BUILT_IN, digest, validate
from tests.support.core_parts import make_submission

DAY_MS = 24 * 3600 * 1000


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def _retry(**policy: Any) -> dict[str, object]:
    return {"retry": RetryPolicy(**policy)}


def _shell(**payload: object) -> dict[str, object]:
    return {"type": "shell", "payload": _json({"command": "true"} | payload)}


GOOD: dict[str, dict[str, object]] = {
    "least priority": {"priority": 1},
    "greatest priority": {"priority": 100},
    "longest timeout": {"timeout_ms": 7 * DAY_MS},
    "shortest timeout": {"timeout_ms": 1},
    "longest queue timeout": {"queue_timeout_ms": 7 * DAY_MS},
    "longest start timeout": {"start_timeout_ms": 7 * DAY_MS},
    "longest total timeout": {"total_timeout_ms": 366 * DAY_MS},
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
    "exclusive": {"execution": Execution.EXCLUSIVE},
    "exclusive with a lock": {"execution": Execution.EXCLUSIVE, "lock": "deploy to eu-1 (äöü 🔒)"},
    "a lock of another class": {"execution": Execution.REPLAYABLE, "lock": "l"},
    "longest lock": {"lock": "l" * 200},
    "one attempt": _retry(max_attempts=1),
    "most attempts": _retry(max_attempts=100),
    "no wait before a retry": _retry(initial_ms=0, max_ms=0),
    "longest wait before a retry": _retry(initial_ms=DAY_MS, max_ms=DAY_MS),
    "least multiplier": _retry(multiplier=1),
    "greatest multiplier": _retry(multiplier=10.0),
    "every category": _retry(on=tuple(ErrorCategory)),
    "exit codes and signals": _retry(on=("exit_code:1", "exit_code:255", "signal:1", "signal:64")),
    "most failures": _retry(on=tuple(f"exit_code:{n}" for n in range(1, 33))),
    "exclusive and retried": {"execution": Execution.EXCLUSIVE, **_retry()},
}

BAD: dict[str, tuple[str, dict[str, object]]] = {
    "priority below 0": ("priority", {"priority": -1}),
    "priority 101": ("priority", {"priority": 101}),
    "timeout 0": ("timeout", {"timeout_ms": 0}),
    "timeout too long": ("timeout", {"timeout_ms": 7 * DAY_MS + 1}),
    "start timeout of nothing": ("start_timeout", {"start_timeout_ms": 0}),
    "start timeout too long": ("start_timeout", {"start_timeout_ms": 7 * DAY_MS + 1}),
    "total timeout of nothing": ("total_timeout", {"total_timeout_ms": 0}),
    "total timeout too long": ("total_timeout", {"total_timeout_ms": 366 * DAY_MS + 1}),
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
    "lock too long": ("lock", {"lock": "l" * 201}),
    "lock with a line": ("lock", {"lock": "a\n"}),
    "lock with a control character": ("lock", {"lock": "a\x1b[2J"}),
    "lock with what is not seen": ("lock", {"lock": "deploy\u200b"}),
    "lock that turns the text round": ("lock", {"lock": "\u202edeploy"}),
    "lock with half a character": ("lock", {"lock": "\ud83d"}),
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
    "no attempt": ("retry.max_attempts", _retry(max_attempts=0)),
    "too many attempts": ("retry.max_attempts", _retry(max_attempts=101)),
    "a negative wait": ("retry.initial", _retry(initial_ms=-1)),
    "a first wait too long": ("retry.initial", _retry(initial_ms=DAY_MS + 1, max_ms=DAY_MS + 1)),
    "a wait too long": ("retry.max", _retry(max_ms=DAY_MS + 1)),
    "a most below the first": ("retry.max", _retry(initial_ms=1_001, max_ms=1_000)),
    "a negative most": ("retry.max", _retry(max_ms=-1)),
    "multiplier too small": ("retry.multiplier", _retry(multiplier=0.999)),
    "multiplier too great": ("retry.multiplier", _retry(multiplier=10.001)),
    "multiplier endless": ("retry.multiplier", _retry(multiplier=float("inf"))),
    "multiplier no number": ("retry.multiplier", _retry(multiplier=float("nan"))),
    "too many failures": ("retry.on", _retry(on=tuple(f"exit_code:{n}" for n in range(1, 34)))),
    "an unknown category": ("retry.on[1]", _retry(on=("timeout", "boredom"))),
    "an empty category": ("retry.on[0]", _retry(on=("",))),
    "half a character": ("retry.on[0]", _retry(on=("\ud800",))),
    "exit code 0": ("retry.on[0]", _retry(on=("exit_code:0",))),
    "exit code 256": ("retry.on[0]", _retry(on=("exit_code:256",))),
    "exit code 07": ("retry.on[0]", _retry(on=("exit_code:07",))),
    "an exit code in other digits": ("retry.on[0]", _retry(on=("exit_code:٣",))),
    "signal 0": ("retry.on[0]", _retry(on=("signal:0",))),
    "signal 65": ("retry.on[0]", _retry(on=("signal:65",))),
    "a signal by name": ("retry.on[0]", _retry(on=("signal:KILL",))),
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
        validate(make_submission("nonsense", priority=101, pool="", key="", payload=b"{"), BUILT_IN)
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


def test_the_digest_tells_locks_apart_and_is_as_it_was_without_one() -> None:
    without = make_submission(payload=b'{"a": 1}')
    one, other = [make_submission(payload=b'{"a": 1}', lock=lock) for lock in ("l1", "l2")]

    assert len({digest(without), digest(one), digest(other)}) == 3
    assert digest(replace(without, retry_of="l1")) not in {digest(one), digest(replace(one, retry_of="l1"))}
    assert digest(without).hex() == "44e078a9b2ca1634f1ed33f478fbf0bb01a4ff98abac22b4234ae92beed6f009"


def test_the_digest_tells_policies_apart_and_is_as_it_was_without_one() -> None:
    policies = [None, RetryPolicy(), RetryPolicy(max_attempts=4), RetryPolicy(initial_ms=2), RetryPolicy(max_ms=2_000)]
    policies += [RetryPolicy(multiplier=3.0), RetryPolicy(on=("timeout",)), RetryPolicy(on=("signal:9",))]
    digests = [digest(make_submission(payload=b'{"a": 1}', retry=policy)) for policy in policies]

    assert len(set(digests)) == len(policies)
    assert digests[0].hex() == "44e078a9b2ca1634f1ed33f478fbf0bb01a4ff98abac22b4234ae92beed6f009"


def test_the_digest_is_of_a_policy_however_it_is_written() -> None:
    one = RetryPolicy(multiplier=2.0, on=("timeout", "signal:9"))
    same = RetryPolicy(multiplier=2, on=("signal:9", "timeout", "timeout"))

    assert digest(make_submission(retry=one)) == digest(make_submission(retry=same))


def test_the_digest_tells_a_repetition_from_the_first_time_and_ignores_the_trace() -> None:
    once = make_submission()

    assert digest(replace(once, retry_of="t1")) not in {digest(once), digest(replace(once, retry_of="t2"))}
    assert digest(replace(once, traceparent="00-a-b-01")) == digest(once)
