"""Who waits and names a key, over every store: the first in line, and how many more, as far as they are counted."""

from __future__ import annotations

import pytest

from nodelink_server.core.ports import Store, Waiter, Waiters
from tests.server.store.lives import NOW, accept, cancel, grant, live, put, step, waiting


async def names(store: Store, key: str, *, few: int = 10, most: int = 100) -> tuple[list[str], int]:
    """The ids of those who are shown, and how many more there are."""
    found = (await store.waiters([key], 9, few, most)).get(key, Waiters())
    return [waiter.task_id for waiter in found.first], found.more


async def test_those_who_name_a_key_are_shown_in_line_with_their_priority(store: Store) -> None:
    last = await live(store, waiting("last", rank=9, limits={"k": 2}, priority=20))
    first = await live(store, waiting("first", rank=3, lock="k"))
    await live(store, waiting("other", rank=1, lock="l"))

    found = await store.waiters(["k"], 9, 10, 100)

    shown = [Waiter(task.id, task.spec.priority, task.ready_at or 0) for task in (first, last)]
    assert found == {"k": Waiters(tuple(shown), 0)}
    assert {waiter.since for waiter in shown} == {NOW}


async def test_what_waits_no_more_is_not_shown(store: Store) -> None:
    tasks = [await live(store, waiting(name, lock="k", limits={"k": 2})) for name in ("granted", "gone", "waits")]
    await step(store, grant(tasks[0]))
    await step(store, cancel(tasks[1]))

    assert await names(store, "k") == (["waits"], 0)


@pytest.mark.parametrize("types", [["echo"], ["echo", "shell", "other"]])
async def test_so_many_are_shown_and_so_many_more_counted(store: Store, types: list[str]) -> None:
    for number in range(12):
        await live(store, waiting(f"t{number:02}", rank=100 - number, type=types[number % len(types)], lock="k"))

    assert await names(store, "k", few=3, most=20) == (["t11", "t10", "t09"], 9)
    assert await names(store, "k", few=3, most=9) == (["t11", "t10", "t09"], 9)
    assert await names(store, "k", few=3, most=8) == (["t11", "t10", "t09"], 8)
    assert await names(store, "k", few=12, most=1) == ([f"t{number:02}" for number in reversed(range(12))], 0)


async def test_of_many_keys_the_first_that_anybody_waits_for_are_looked_at(store: Store) -> None:
    await put(store, *[accept(waiting(f"t{key}", lock=key)) for key in ("a", "c", "d", "ключ")])

    found = await store.waiters(["a", "b", "ключ", "d", "c"], 3, 1, 1)

    assert {key: one.first[0].task_id for key, one in found.items()} == {"a": "ta", "ключ": "tключ", "d": "td"}
    assert await store.waiters([], 3, 1, 1) == {}
