"""Lists of tasks, over every store: labels, searches, times, and pages that are bounded in what they load."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nodelink.errors import InvalidTask
from nodelink.task import TaskStatus
from nodelink_server.core.ports import PAGE_BYTES, Store, TaskQuery
from tests.server.store.lives import NOW, accept, cancel, grant, live, put, settle, step, waiting

LARGEST = 256 * 1024
S = TaskStatus


async def ids(store: Store, query: TaskQuery) -> list[str]:
    """The ids of a page."""
    return [record.task.id for record in await store.list(query)]


async def pages(store: Store, query: TaskQuery) -> list[list[str]]:
    """The ids of all pages, read as a caller reads them."""
    found = []
    while True:
        page = await store.list(query)
        found.append([record.task.id for record in page])
        if not page.next_key:
            return found
        query = replace(query, before_key=page.next_key)


async def labelled(store: Store) -> None:
    """Five tasks: a0 and a3 of env prod, a1 and a4 of env test, a2 without metadata; a3 and a4 of team red."""
    await live(store, waiting("a0", metadata={"env": "prod"}))
    await live(store, waiting("a1", metadata={"env": "test"}, type="shell"))
    await live(store, waiting("a2"))
    await live(store, waiting("a3", metadata={"env": "prod", "team": "red"}, pool="gpu"))
    await step(store, cancel(await live(store, waiting("a4", metadata={"env": "test", "team": "red"}, type="beef"))))


@pytest.mark.parametrize(
    "query, expected",
    [
        (TaskQuery(labels=frozenset({("env", "prod")})), "a3 a0"),
        (TaskQuery(labels=frozenset({("env", "prod"), ("team", "red")})), "a3"),
        (TaskQuery(labels=frozenset({("env", "prod"), ("env", "test")})), ""),
        (TaskQuery(labels=frozenset({("team", "red")}), statuses=frozenset({S.CANCELLED, S.PENDING})), "a4 a3"),
        (TaskQuery(labels=frozenset({("team", "red")}), statuses=frozenset({S.COMPLETED})), ""),
        (TaskQuery(labels=frozenset({("env", "test")}), type="shell"), "a1"),
        (TaskQuery(labels=frozenset({("env", "prod")}), before_key=4), "a0"),
        (TaskQuery(labels=frozenset({("env", "pro")})), ""),
        (TaskQuery(labels=frozenset({("prod", "env")})), ""),
        (TaskQuery(q="env=prod"), "a3 a0"),
        (TaskQuery(q="env="), ""),
        (TaskQuery(q="env=test", labels=frozenset({("team", "red")})), "a4"),
        (TaskQuery(q="echo"), "a3 a2 a0"),
        (TaskQuery(q="ech"), ""),
        (TaskQuery(q="a3"), "a3"),
        (TaskQuery(q="A3"), "a3"),
        (TaskQuery(q="a"), "a4 a3 a2 a1 a0"),
        (TaskQuery(q="a", page_size=2), "a4 a3"),
        (TaskQuery(q="a", pool="gpu"), "a3"),
        (TaskQuery(q="a", statuses=frozenset({S.CANCELLED})), "a4"),
        (TaskQuery(q=" beef "), "a4"),
        (TaskQuery(ids=frozenset({"a0", "a3", "a4", "nothing"})), "a4 a3 a0"),
        (TaskQuery(ids=frozenset({"a0", "a3"}), before_key=4), "a0"),
        (TaskQuery(ids=frozenset({"a0", "a3", "a4"}), page_size=2), "a4 a3"),
        (TaskQuery(ids=frozenset({"a0", "a3", "a4"}), statuses=frozenset({S.PENDING}), pool="default"), "a0"),
        (TaskQuery(ids=frozenset({"a0", "a3"}), labels=frozenset({("team", "red")})), "a3"),
        (TaskQuery(ids=frozenset({"a0", "a3"}), q="env=prod", page_size=1), "a3"),
        (TaskQuery(ids=frozenset({"nothing"})), ""),
    ],
)
async def test_tasks_are_found_by_their_metadata_and_by_a_search(store: Store, query: TaskQuery, expected: str) -> None:
    await labelled(store)

    assert " ".join(await ids(store, query)) == expected


async def test_a_selection_is_the_same_tasks_in_pages_that_no_payload_bounds(store: Store) -> None:
    for part in range(3):
        await put(store, *[accept(waiting(f"b{n}-{part}", payload=b"x" * LARGEST)) for n in range(15)])
    large = TaskQuery(statuses=frozenset({S.PENDING}), page_size=44)

    first = await store.select(large)
    rest = await store.select(replace(large, before_key=first.next_key))

    assert (len(first.tasks), len(rest.tasks), rest.next_key) == (44, 1, 0)
    assert {task.id: task for task in first.tasks} == {t.id: t for t in await store.find([t.id for t in first.tasks])}
    assert [task.id for task in first.tasks[:2]] == ["b14-2", "b13-2"]
    assert (await store.select(TaskQuery(type="shell"))).tasks == []


async def test_what_a_search_can_mean_in_two_ways_is_listed_once(store: Store) -> None:
    await live(store, waiting("beef-1", type="beef"))
    await live(store, waiting("a1", type="beef"))
    await live(store, waiting("beef-2"))

    assert await pages(store, TaskQuery(q="beef", page_size=2)) == [["beef-2", "a1"], ["beef-1"]]


@pytest.mark.parametrize("q", ["a%", "%", "echo shell", "=prod"])
async def test_a_search_that_means_nothing_is_refused(store: Store, q: str) -> None:
    with pytest.raises(InvalidTask, match="q: "):
        await store.list(TaskQuery(q=q))


async def test_names_and_values_of_metadata_may_be_any_text(store: Store) -> None:
    entries = {"naïve ключ": "日本 ' \" %", "a": "", "=": "=", "n\0l": "v\0"}
    await live(store, waiting("a1", metadata=entries))

    for entry in entries.items():
        assert await ids(store, TaskQuery(labels=frozenset({entry}))) == ["a1"]


async def test_a_page_says_where_the_next_one_begins_if_there_is_one(store: Store) -> None:
    await put(store, *[accept(waiting(f"a{n}", type="shell" if n % 2 else "echo")) for n in range(8)])

    assert await pages(store, TaskQuery(page_size=3)) == [["a7", "a6", "a5"], ["a4", "a3", "a2"], ["a1", "a0"]]
    assert await pages(store, TaskQuery(page_size=2, type="shell")) == [["a7", "a5"], ["a3", "a1"]]
    assert await pages(store, TaskQuery(type="nothing")) == [[]]


async def test_pages_of_several_statuses_are_one_order(store: Store) -> None:
    expected: list[str] = []
    for number in range(9):
        task = await live(store, waiting(f"a{number}"))
        if number % 3 == 1:
            await step(store, cancel(task))
        if number % 3 == 2:
            await step(store, settle(await step(store, grant(task)), begun=False))
        expected.insert(0, task.id)

    statuses = frozenset({S.PENDING, S.CANCELLED, S.COMPLETED})
    found = await pages(store, TaskQuery(statuses=statuses, page_size=4))

    assert [len(page) for page in found] == [4, 4, 1]
    assert [task_id for page in found for task_id in page] == expected


async def test_a_page_ends_before_it_has_loaded_too_much(store: Store) -> None:
    for part in range(3):
        await put(store, *[accept(waiting(f"b{n}-{part}", payload=b"x" * LARGEST)) for n in range(15)])

    found = await pages(store, TaskQuery(page_size=1_000))

    assert [len(page) for page in found] == [PAGE_BYTES // LARGEST, 45 - PAGE_BYTES // LARGEST]


async def test_times_bound_a_list_whatever_the_clock_did(store: Store) -> None:
    """Tasks come in by the thousand, and meanwhile the clock is set back by an hour, and forward again."""
    hour = 3_600_000
    times = (
        [NOW + n for n in range(5_000)] + [NOW - hour + n for n in range(5_000)] + [NOW + hour + n for n in range(9)]
    )
    for first in range(0, len(times), 500):
        part = enumerate(times[first : first + 500], first)
        await put(store, *[accept(waiting(f"a{number}", now=at)) for number, at in part])

    for after, before in ((NOW - hour, NOW - hour + 3), (NOW, NOW + 2), (NOW + hour, None), (NOW + 4_990, NOW + 5_000)):
        query = TaskQuery(page_size=2, created_after=after, created_before=before)
        expected = [f"a{n}" for n, at in enumerate(times) if at >= after and (before is None or at < before)]
        assert [task_id for page in await pages(store, query) for task_id in page] == expected[::-1]
    assert await ids(store, TaskQuery(created_after=NOW + hour + 9)) == []
    assert await ids(store, TaskQuery(created_before=NOW - hour)) == []
    assert await ids(store, TaskQuery(created_after=NOW + 5, created_before=NOW + 5)) == []
    assert await ids(store, TaskQuery(q="a4999")) == ["a4999"]


async def test_what_was_swept_is_found_by_nothing(store: Store) -> None:
    await labelled(store)
    await store.sweep(finished_before=NOW + 99, events_before=0, keys_before=0, sessions_before=0, limit=10)

    assert await ids(store, TaskQuery(labels=frozenset({("team", "red")}))) == ["a3"]
    assert await ids(store, TaskQuery(q="env=test")) == ["a1"]
    assert await ids(store, TaskQuery(q="a4")) == []
    assert await ids(store, TaskQuery(created_after=NOW)) == ["a3", "a2", "a1", "a0"]
