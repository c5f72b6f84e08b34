"""A bulk under a key is done once: whoever asks again is told what was done then, and another order is refused."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from nodelink.errors import IdempotencyConflict, InvalidTask, StoreUnavailable
from nodelink_server.core.bulk import BulkAction, BulkOrder, BulkOutcome
from nodelink_server.core.cleanup import KEYS_KEPT_MS
from nodelink_server.core.ports import TaskQuery
from nodelink_server.core.validation import MAX_IDEMPOTENCY_KEY_CHARS
from tests.support.core_parts import Core, Database, make_submission, running_core

CANCEL = BulkOrder(query=TaskQuery(type="echo"), action=BulkAction.CANCEL)
RETRY = BulkOrder(query=TaskQuery(type="echo"), action=BulkAction.RETRY)


async def do(core: Core, order: BulkOrder = CANCEL, *, key: str = "k", caller: str = "local") -> BulkOutcome:
    return await core.manager.bulk(order, idempotency_key=key, caller=caller)


async def failed(core: Core, count: int) -> list[str]:
    """Tasks that can be run again."""
    ids = await core.submit(*[make_submission() for _ in range(count)])
    for task_id in ids:
        await core.manager.abandon(task_id, reason="to be run again")
    return ids


async def test_the_same_order_under_the_same_key_is_told_what_was_done_then() -> None:
    database = Database()
    async with running_core(database) as core:
        first = await core.submit(make_submission(), make_submission())
        done = await do(core)
        [later] = await core.submit()
        again = await do(core)
    async with running_core(database) as core:
        after_restart = await do(core)
        assert (await core.status(later)).value == "pending"
        assert (done.done, set(done.ids), done.replayed) == (2, set(first), False)
        assert again == after_restart == replace(done, replayed=True)
        assert (await do(core, key="l")).ids == [later]


async def test_another_order_under_the_key_is_refused() -> None:
    async with running_core() as core:
        await do(core)
        [task_id] = await core.submit()
        for other in (
            replace(CANCEL, reason="enough"),
            replace(CANCEL, dry_run=True),
            replace(CANCEL, grace_ms=5),
            replace(CANCEL, query=TaskQuery(type="echo", before_key=9)),
            replace(CANCEL, query=TaskQuery(type="echo", labels=frozenset({("a", "b")}))),
            RETRY,
        ):
            with pytest.raises(IdempotencyConflict):
                await do(core, other)
        assert (await core.status(task_id)).value == "pending"
        assert (await do(core, caller="otto")).ids == [task_id]


async def test_of_two_that_ask_at_once_one_does_it() -> None:
    database = Database()
    async with running_core(database) as core:
        ids = await failed(core, 2)
        database.hold("apply")
        asked = [asyncio.ensure_future(do(core, RETRY)) for _ in range(2)]
        await database.until_held("apply")
        database.let_go("apply")
        first, second = await asyncio.gather(*asked)
        assert (first.done, second) == (len(ids), replace(first, replayed=True))
        assert len(await core.manager.list(TaskQuery())) == 2 * len(ids)


async def test_one_that_was_cut_short_runs_no_task_again_twice() -> None:
    database = Database()
    async with running_core(database) as core:
        ids = await failed(core, 3)
        made = await core.manager.rooms.bulk.run(RETRY, submit=core.manager.submit, by="local", key="k")
        again = await do(core, RETRY)  # what was done is there, and its answer was never kept
        assert (again.done, set(again.ids), again.replayed) == (3, set(made.ids), False)
        assert len(await core.manager.list(TaskQuery())) == 2 * len(ids)


async def test_what_was_refused_or_not_kept_can_be_asked_again_under_its_key() -> None:
    async with running_core() as core:
        [task_id] = await core.submit()
        with pytest.raises(InvalidTask):
            await do(core, replace(CANCEL, query=TaskQuery()))
        core.database.failing.add("apply")
        with pytest.raises(StoreUnavailable):
            await do(core)
        core.database.failing.clear()
        assert (await do(core)).ids == [task_id]


async def test_a_key_is_forgotten_after_a_day() -> None:
    async with running_core() as core:
        await do(core)
        [task_id] = await core.submit()
        answers, sweep = core.database.disk.answers, core.manager.rooms.cleanup.sweep
        [name] = answers
        for age, is_kept in ((KEYS_KEPT_MS, True), (KEYS_KEPT_MS + 1, False)):
            answers[name] = answers[name]._replace(at=core.clock.now() - age)
            await sweep()
            assert (name in answers) is is_kept
        assert (await do(core)).ids == [task_id]


@pytest.mark.parametrize("key", ["", "x" * (MAX_IDEMPOTENCY_KEY_CHARS + 1), "\ud800"])
async def test_what_can_be_no_key_is_refused(key: str) -> None:
    async with running_core() as core:
        with pytest.raises(InvalidTask) as error:
            await do(core, key=key)
        assert [wrong.field for wrong in error.value.errors] == ["idempotency_key"]
        assert not (await do(core, key="x" * MAX_IDEMPOTENCY_KEY_CHARS)).replayed
