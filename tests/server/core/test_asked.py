"""What is asked for, looked at once for all who ask for it in the same words."""

from __future__ import annotations

import pytest

from nodelink.errors import InvalidTask, TooLarge
from nodelink.task import Execution, Submission
from nodelink_server.core import asked as rooms
from nodelink_server.core.ports import Shape
from nodelink_server.core.validation import MAX_PAYLOAD_BYTES
from tests.server.core.test_workspaces import make
from tests.support.core_parts import make_spec, make_submission, running_core


async def test_what_is_asked_in_the_same_words_is_looked_at_once() -> None:
    async with running_core() as core:
        asked = core.manager.rooms.asked
        words = make_spec("shell", priority=0)

        first = asked.of(Submission(spec=words, payload=b'{"command": "true"}'))
        second = asked.of(Submission(spec=words, payload=b'{"command": "false"}'))
        other = asked.of(Submission(spec=make_spec("shell", priority=0), payload=b'{"command": "true"}'))

        assert second is first
        assert other is not first
        assert first == (words, make_spec("shell"), Execution.ONCE, Shape("default", "shell"))


@pytest.mark.parametrize(
    "payload, key, wrong",
    [
        (b"{", None, ["payload"]),
        (b'{"command": ""}', None, ["payload.command"]),
        (b"{", "", ["idempotency_key", "payload"]),
        (b"1" * (MAX_PAYLOAD_BYTES + 1), None, ["payload"]),
    ],
)
async def test_what_is_a_tasks_own_is_looked_at_each_time(payload: bytes, key: str | None, wrong: list[str]) -> None:
    async with running_core() as core:
        asked = core.manager.rooms.asked
        words = make_spec("shell")
        asked.of(Submission(spec=words, payload=b'{"command": "true"}'))

        with pytest.raises((InvalidTask, TooLarge)) as caught:
            asked.of(Submission(spec=words, payload=payload, idempotency_key=key))

        assert [error.field for error in caught.value.errors] == wrong


async def test_words_that_are_wrong_are_refused_each_time() -> None:
    async with running_core() as core:
        submission = make_submission("nothing")
        for _ in range(2):
            with pytest.raises(InvalidTask, match="type"):
                core.manager.rooms.asked.of(submission)


async def test_what_a_workspace_says_counts_as_it_is_then() -> None:
    async with running_core() as core:
        await make(core, "site", pool="old")
        words = make_spec(workspace="site")
        assert core.manager.rooms.asked.of(Submission(spec=words, payload=b"1")).shape.pool == "old"

        await core.manager.workspaces.change("site", pool="new", mode="agent")

        assert core.manager.rooms.asked.of(Submission(spec=words, payload=b"1")).shape.pool == "new"


async def test_what_is_long_is_not_remembered() -> None:
    async with running_core() as core:
        asked = core.manager.rooms.asked
        for length, is_remembered in ((rooms.LONGEST_REMEMBERED - 4, True), (rooms.LONGEST_REMEMBERED - 3, False)):
            submission = make_submission(metadata={"note": "x" * length})
            assert (asked.of(submission) is asked.of(submission)) == is_remembered


async def test_only_so_much_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "MOST_REMEMBERED", 2)
    async with running_core() as core:
        asked = core.manager.rooms.asked
        submissions = [make_submission(pool=f"p{number}") for number in range(3)]
        first, second, third = map(asked.of, submissions)

        assert [asked.of(one) for one in submissions] == [first, second, third]
        assert asked.of(submissions[0]) is not first
