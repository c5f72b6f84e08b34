"""Blocks of events: what is alike is kept once, and whatever was kept comes back in its order."""

from __future__ import annotations

import json

from nodelink_server.core.ports import Change, EventName, Notice
from nodelink_server.store.blocks import CommittedEvents, Told, decode_block, encode_block
from tests.server.store.lives import AGENT, EXIT_7, NOW, accept, grant, new, settle, skip, start, waiting


def _told(*changes: Change | Notice) -> list[Told]:
    told: list[Told] = []
    revision = 10
    for what in changes:
        told.append(Told(what, revision))
        revision += len(what.events) if isinstance(what, Change) else 1
    return told


def _mixed() -> list[Told]:
    tasks = [grant(waiting(f"t{number}")).task for number in range(3)]
    return _told(
        *(accept(waiting(f"new{number}", now=NOW - number)) for number in range(3)),
        *(start(task) for task in tasks),
        settle(tasks[0], EXIT_7, begun=False),
        settle(tasks[1], begun=False),
        skip(new("skipped")),
        accept(waiting("last", pool="gpu")),
        Notice(EventName.AGENT_CONNECTED, AGENT, "default"),
    )


def test_what_was_kept_comes_back_in_its_order() -> None:
    told = _mixed()
    assert decode_block(encode_block(told, NOW)) == list(CommittedEvents(told, NOW))


def test_what_is_alike_is_kept_once() -> None:
    told = _told(*(accept(waiting(f"t{number}", pool="a-pool-with-a-name")) for number in range(50)))
    block = encode_block(told, NOW)

    assert block.count(b"a-pool-with-a-name") == 1
    assert len(block) < 50 * 60


def test_blocks_of_older_versions_are_read() -> None:
    line = [7, "task.created task.pending", "t1", "echo", "default", 50, "pending", "agent", NOW, NOW, None, None]
    notice = [9, "agent.connected", AGENT, "default", None]
    events = decode_block(json.dumps([NOW, [line], [notice]]).encode())

    told = [(event.revision, event.name, event.task_id, event.agent_id, event.time) for event in events]
    assert told == [
        (7, "task.created", "t1", "", NOW),
        (8, "task.pending", "t1", "", NOW),
        (9, "agent.connected", "", AGENT, NOW),
    ]


def test_events_are_made_by_their_names_alone_if_that_is_all_that_is_wanted() -> None:
    for names in ({"task.completed"}, {"task.created", "task.failed"}, {"agent.connected"}, {"task.lost"}, set[str]()):
        events = CommittedEvents(_mixed(), NOW)
        some = events.named(frozenset(names))

        assert list(some) == [event for event in CommittedEvents(_mixed(), NOW) if event.name in names]
        assert events.named(frozenset(names)) is some
