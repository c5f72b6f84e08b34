"""What a caller gives is checked before anything is sent, and an error says which field is wrong and what is right."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from nodelink.client import AsyncClient, Client, TaskFilter, new_task
from nodelink.errors import InvalidTask, LinkLost

Work = Callable[[Any], Any]
WRONG: list[tuple[Work, str]] = [
    (lambda client: client.submit(None), "type: must be text, or what new_task gives, not None"),
    (lambda client: client.submit("a\ud800"), "type: cannot be sent as UTF-8"),
    (lambda client: client.submit("echo", pool=3), "pool: must be text, not 3"),
    (lambda client: client.submit("echo", priority=0), "priority: must be a whole number from 1 to 100"),
    (lambda client: client.submit("echo", priority=2.5), "priority: must be a whole number from 1 to 100"),
    (lambda client: client.submit("echo", timeout=30), "timeout: must be a text like 30s or 1h30m, or a timedelta"),
    (lambda client: client.submit("echo", at=date(2030, 1, 1)), "at: must be a datetime with a time zone"),
    (lambda client: client.submit("echo", metadata={"a": 1}), "metadata.a: must be text, not 1"),
    (
        lambda client: client.submit("echo", metadata=["a"]),
        r"metadata: must be names and texts, like {'team': 'green'}",
    ),
    (lambda client: client.submit("echo", idempotency_key=3), "idempotency_key: must be text"),
    (lambda client: client.submit_many(new_task("echo")), "submissions: must be several, in a list"),
    (lambda client: client.submit_many(["echo"]), "submissions: must be what new_task gives, not 'echo'"),
    (lambda client: client.get(client), "task_id: must be the id of a task, which a handle has as .id"),
    (lambda client: client.wait("t1", timeout="3s"), "timeout: must be a number of seconds, or None, not '3s'"),
    (lambda client: client.wait_all("t1"), "tasks: must be several, in a list, not 't1'"),
    (lambda client: client.wait_any([1]), "task_ids: must be text, not 1"),
    (lambda client: client.list({"type": "echo"}), "wanted: must be a TaskFilter"),
    (lambda client: client.list(TaskFilter(statuses="failed")), "statuses: must be several, in a list, not 'failed'"),
    (lambda client: client.list(TaskFilter(created_after="now")), "created_after: must be milliseconds"),  # type: ignore[arg-type]
    (lambda client: list(client.logs("t1", offset=-1)), "offset: must be a whole number from 0 on, not -1"),
    (lambda client: list(client.logs("t1", stream="both")), "stream: 'both' is not known; use stdout or stderr"),
    (lambda client: next(client.watch(names="task.created")), "names: must be several, in a list"),
    (lambda client: client.agents(status="up"), "status: 'up' is not known; use one of online, unreachable"),
    (lambda client: client.stats(step=3), "step: must be a text like 30s or 1h30m, or a timedelta, not 3"),
    (lambda client: client.clean_up(None), "older_than: must be given, like 7d"),
]


@pytest.mark.parametrize("work, words", WRONG, ids=[words for _, words in WRONG])
def test_a_slip_is_told_by_the_name_of_its_field(work: Work, words: str) -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(InvalidTask, match=words):
        work(client)


@pytest.mark.parametrize(
    "server, words",
    [
        ("http://127.0.0.1:8080", "write 'http://127.0.0.1:8080' as host:port of its gRPC, like 127.0.0.1:50051"),
        ("127.0.0.1", "write host:port, like 127.0.0.1:50051"),
        ("::1:50051", r"write an IPv6 address in brackets, like \[::1\]:50051"),
    ],
)
async def test_what_is_no_address_is_told_at_once(server: str, words: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(LinkLost, match=words):
            kind(server)


@pytest.mark.parametrize("wrong", [{"timeout": 0}, {"patience": -1}, {"most_unacknowledged": 0}])
async def test_a_client_that_could_do_nothing_is_not_made(wrong: dict[str, Any]) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            kind("127.0.0.1:1", **wrong)
