"""Whoever goes one past a limit of docs/limits.md hears what the page says, and whoever keeps to it does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import httpx
import pytest

from nodelink import selectors
from nodelink.durations import format_duration_ms
from nodelink_server.core import bulk, characters, jsontext, limit_views, placing_checks, statistics, validation
from nodelink_server.web import filters, gate, target, values
from tests.support.doc_limits import ROWS
from tests.support.processes import House
from tests.support.rest import Rest

TASKS = "/api/v1/tasks"
SAID = {(part, what): past for part, rows in ROWS.items() for what, _, past in rows()}

pytestmark = pytest.mark.slow


class Asked(NamedTuple):
    """A request."""

    method: str
    path: str
    body: Any = None
    headers: Mapping[str, str] = {}


def task(payload: Any = 1, **fields: Any) -> Asked:
    """A submission."""
    return Asked("POST", TASKS, {"type": "echo", "payload": payload, **fields})


def shell(**fields: Any) -> Asked:
    """The submission of a command."""
    return Asked("POST", f"{TASKS}/shell", {"command": "true", "pool": "nobody", **fields})


def drain(**fields: Any) -> Asked:
    """An agent that nobody knows is to be empty."""
    return Asked("POST", "/api/v1/agents/nobody/drain", fields)


def nested(levels: int) -> Any:
    """A value of lists within lists, in a body that is a level itself."""
    return 1 if levels <= 1 else [nested(levels - 1)]


def long(ms: int) -> str:
    """A duration as a request has it."""
    return format_duration_ms(ms)


def numbers(count: int) -> list[str]:
    """So many names."""
    return [f"N{number}" for number in range(count)]


def after(minutes: int) -> str:
    """So many minutes after the year began."""
    days, rest = divmod(minutes, 24 * 60)
    return f"2026-01-{days + 1:02}T{rest // 60:02}:{rest % 60:02}:00Z"


PAST: Mapping[tuple[str, str], Callable[[int], Asked]] = {
    ("tasks", "payload"): lambda more: task("x" * (validation.MAX_PAYLOAD_BYTES - len('""') + more)),
    ("tasks", "nesting of a payload"): lambda more: task(nested(validation.MAX_JSON_DEPTH + 1 + more)),
    ("tasks", "tasks in a batch"): lambda more: Asked(
        "POST", f"{TASKS}/batch", {"tasks": [{"type": "echo", "payload": 1}] * (validation.MAX_BATCH + more)}
    ),
    ("tasks", "metadata of a task"): lambda more: task(
        metadata=dict.fromkeys(numbers(validation.MAX_METADATA + more), "")
    ),
    ("tasks", "a name or a value in it"): lambda more: task(
        metadata={"name": "x" * (validation.MAX_METADATA_CHARS + more)}
    ),
    ("tasks", "name of a pool or a type"): lambda more: task(pool="x" * (63 + more)),
    ("tasks", "`lock`"): lambda more: task(lock="l" * (validation.MAX_LOCK_CHARS + more)),
    ("tasks", "`max_attempts` of `retry`"): lambda more: task(retry={"max_attempts": validation.MAX_ATTEMPTS + more}),
    ("tasks", "`initial` and `max` of `retry`"): lambda more: task(
        retry={"max": long(validation.MAX_RETRY_DELAY_MS + more)}
    ),
    ("tasks", "`multiplier` of `retry`"): lambda more: task(
        retry={"multiplier": validation.MAX_RETRY_MULTIPLIER + more / 1_000}
    ),
    ("tasks", "`on` of `retry`"): lambda more: task(retry={"on": ["timeout"] * (validation.MAX_RETRY_ON + more)}),
    ("tasks", "idempotency key"): lambda more: task()._replace(
        headers={"Idempotency-Key": "k" * (validation.MAX_IDEMPOTENCY_KEY_CHARS + more)}
    ),
    ("tasks", "`timeout`, `queue_timeout`, `start_timeout`"): lambda more: task(
        start_timeout=long(validation.MAX_TIMEOUT_MS + more)
    ),
    ("tasks", "`total_timeout`"): lambda more: task(total_timeout=long(validation.MAX_DELAY_MS + more)),
    ("tasks", "`delay`"): lambda more: task(delay=long(validation.MAX_DELAY_MS + more)),
    ("tasks", "arguments of a command"): lambda more: shell(command=["true"] * (validation.MAX_ARGV + more)),
    ("tasks", "environment of a command"): lambda more: shell(
        env=dict.fromkeys(numbers(validation.MAX_ENV + more), "")
    ),
    ("tasks", "tasks that a bulk names"): lambda more: Asked(
        "POST", f"{TASKS}/bulk", {"action": "cancel", "filter": {"ids": numbers(bulk.MOST_IDS + more)}}
    ),
    ("agents", "`note` of a drain"): lambda more: drain(note="x" * (validation.MAX_REASON_CHARS + more)),
    ("agents", "`deadline` of a drain"): lambda more: drain(deadline=long(validation.MAX_DRAIN_MS + more)),
    ("placing", "`labels`"): lambda more: task(labels=",".join(numbers(selectors.MAX_REQUIREMENTS + more))),
    ("placing", "a name or a value in them"): lambda more: task(labels="l" * (selectors.MAX_LABEL_CHARS + more)),
    ("placing", "`slots`"): lambda more: task(slots=placing_checks.MAX_SLOTS + more),
    ("placing", "`resources`"): lambda more: task(
        resources={name.lower(): 1 for name in numbers(placing_checks.MAX_RESOURCES + more)}
    ),
    ("placing", "an amount of one"): lambda more: task(resources={"r": placing_checks.MAX_AMOUNT // 1000 + more}),
    ("placing", "`limits`"): lambda more: task(limits=dict.fromkeys(numbers(placing_checks.MAX_LIMITS + more), 1)),
    ("placing", "places under one of them"): lambda more: task(limits={"k": placing_checks.MAX_LIMIT + more}),
    ("placing", "`rate`"): lambda more: task(rate=dict.fromkeys(numbers(placing_checks.MAX_RATES + more), "1/1s")),
    ("placing", "starts under one of them"): lambda more: task(rate={"k": f"{placing_checks.MAX_RATE + more}/1s"}),
    ("placing", "the time in which they are counted"): lambda more: task(
        rate={"other": f"1/{long(placing_checks.MAX_RATE_MS + more)}"}
    ),
    ("placing", "a key of `limits` or `rate`"): lambda more: task(limits={"k" * (characters.MAX_KEY_CHARS + more): 1}),
    ("placing", "`unique_key`, `fairness_key`"): lambda more: task(
        fairness_key="k" * (characters.MAX_KEY_CHARS + more)
    ),
    ("placing", "`fairness_weight`"): lambda more: task(
        fairness_key="k", fairness_weight=placing_checks.MAX_WEIGHT + more
    ),
    ("placing", "`heartbeat_timeout`"): lambda more: task(
        heartbeat_timeout=long(placing_checks.MAX_HEARTBEAT_MS + more)
    ),
    ("placing", "a limit that an operator sets"): lambda more: Asked(
        "PUT", "/api/v1/limits/key:nobody", {"most": limit_views.MAX_LIMIT + more}
    ),
    ("http", "body"): lambda more: Asked(
        "POST", f"{TASKS}/cleanup", b"{}" + b" " * (gate.MAX_BODY_BYTES - len(b"{}") + more)
    ),
    ("http", "nesting of a body"): lambda more: task(nested(jsontext.MOST_DEPTH + more)),
    ("http", "path and query"): lambda more: Asked(
        "GET", f"{TASKS}?q=".ljust(target.MAX_TARGET_BYTES + 10 * more, "x")
    ),
    ("http", "parameters"): lambda more: Asked(
        "GET", f"{TASKS}?" + "&".join(["status=failed"] * (target.MAX_PARAMETERS + more))
    ),
    ("http", "headers"): lambda more: Asked(
        "GET", TASKS, headers={"X-Long": "x" * (gate.MAX_HEADER_BYTES - 500 + 1_000 * more)}
    ),
    ("http", "items on a page"): lambda more: Asked("GET", f"{TASKS}?page_size={filters.MOST_PER_PAGE + more}"),
    ("http", "`label` filters"): lambda more: Asked(
        "GET", f"{TASKS}?" + "&".join(["label=a%3Db"] * (values.MAX_LABELS + more))
    ),
    ("figures", "buckets in an answer"): lambda more: Asked(
        "GET", f"/api/v1/stats?step=1m&from=2026-01-01T00:00:00Z&to={after(statistics.MOST_BUCKETS + more)}"
    ),
}
"""A request that goes so much past a limit; 0: it keeps to it."""


async def ask(rest: Rest, request: Asked) -> httpx.Response:
    """The answer to a request."""
    content = {"content": request.body} if isinstance(request.body, bytes) else {"json": request.body}
    headers = {"Content-Type": "application/json", **request.headers}
    body: dict[str, Any] = {} if request.method == "GET" else content
    return await rest.http.request(request.method, request.path, headers=headers, **body)


@pytest.mark.parametrize("what", PAST, ids="-".join)
async def test_one_past_a_limit_is_refused_as_the_page_says(house: House, what: tuple[str, str]) -> None:
    async with Rest(house.server) as rest:
        past = await ask(rest, PAST[what](1))
        within = await ask(rest, PAST[what](0))

    assert SAID[what] == f"{past.status_code} `{past.json()['code']}`"
    assert SAID[what] != f"{within.status_code} `{within.json().get('code')}`"


async def test_a_wait_and_a_grace_have_their_limit(house: House) -> None:
    async with Rest(house.server) as rest:
        task_id = await rest.shell("true", pool="nobody")
        wait = await rest.http.get(f"{TASKS}/{task_id}/result", params={"wait": long(values.MAX_WAIT_MS + 1)})
        grace = await rest.http.post(f"{TASKS}/{task_id}/cancel", json={"grace": long(validation.MAX_GRACE_MS + 1)})

    assert SAID["http", "`?wait=`"] == f"{wait.status_code} `{wait.json()['code']}`"
    assert SAID["tasks", "`grace` of a cancel"] == f"{grace.status_code} `{grace.json()['code']}`"
