"""Who waits for a key, over every store: tasks are found by their locks, limits, rates and workspaces as long as they
wait, the first of each shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from nodelink.task import Rate
from nodelink.values import evolve
from nodelink_server.core import task as moves
from nodelink_server.core.needs import shape_of
from nodelink_server.core.ports import Change, Place, Shape, Store
from nodelink_server.core.task import Task, rate_key, workspace_key
from tests.server.store.conftest import Database
from tests.server.store.lives import (
    NOW,
    accept,
    after,
    asking,
    cancel,
    doubt,
    exclusive,
    fail,
    give_back,
    grant,
    live,
    lose,
    new,
    put,
    ready_again,
    run_again,
    settle,
    start,
    step,
    waiting,
)

Asking = Mapping[str, object]
Asked = tuple[str, Asking]

KEY = "licence"
ONE = {KEY: 3}
ASKED: Mapping[str, Asked] = {
    "a lock": (KEY, {"lock": KEY}),
    "a limit": (KEY, {"limits": ONE}),
    "a rate": (rate_key("mail"), {"rates": {"mail": Rate(2, 1_000)}}),
    "a workspace": (workspace_key("site"), {"workspace": "site"}),
}


async def found(
    store: Store, key: str = KEY, *, after: Mapping[Shape, Place] | None = None, most: int = 9
) -> list[str]:
    """Who waits for a key, by id."""
    return [task.id for task in await store.waiting_on(key, after or {}, most)]


@pytest.fixture(params=ASKED)
def asked(request: pytest.FixtureRequest) -> Asked:
    """A key, and what a task asks for that names it."""
    return ASKED[request.param]


async def test_a_task_is_found_while_it_waits(store: Store, asked: Asked) -> None:
    key, spec = asked
    task = await live(store, asking("t1", spec))
    assert await found(store, key) == ["t1"]

    task = await step(store, grant(task))
    assert await found(store, key) == []
    task = await step(store, give_back(task))
    assert await found(store, key) == ["t1"]
    task = await step(store, grant(task, fence=101))
    task = await step(store, lose(await step(store, start(task))))
    assert await found(store, key) == ["t1"]
    task = await step(store, fail(await step(store, grant(task, fence=102)), begun=False))
    assert await found(store, key) == []
    task = await step(store, ready_again(task))
    assert await found(store, key) == ["t1"]
    await step(store, settle(await step(store, grant(task, fence=103)), begun=False))
    assert await found(store, key) == []


async def test_one_that_ends_while_it_waits_is_found_no_more(store: Store, asked: Asked) -> None:
    key, spec = asked
    await step(store, cancel(await live(store, asking("t1", spec))))

    assert await found(store, key) == []


async def test_one_that_is_run_again_is_found_again(store: Store) -> None:
    task = evolve(exclusive("t1", lock="another"), spec=new("t1", lock="another", limits=ONE).spec)
    task = await step(store, doubt(await step(store, grant(await live(store, task)))))
    assert await found(store) == []

    await step(store, run_again(task))

    assert await found(store) == await found(store, "another") == ["t1"]


async def test_one_that_is_not_ready_yet_is_not_found(store: Store, asked: Asked) -> None:
    key, spec = asked
    task = await live(store, moves.scheduled(new("t1", **spec), due_at=NOW + 5))  # type: ignore[arg-type]
    assert await found(store, key) == []

    await step(store, ready_again(task))

    assert await found(store, key) == ["t1"]


async def test_a_new_task_that_is_granted_at_once_is_not_found(store: Store, asked: Asked) -> None:
    key, spec = asked
    task = moves.granted(asking("t1", spec), agent_id="a", session=1, fence=1, now=NOW)

    await put(store, accept(task))
    assert await found(store, key) == []
    await step(store, give_back(task))

    assert await found(store, key) == ["t1"]


async def test_who_is_refused_is_found_as_before(store: Store, asked: Asked) -> None:
    key, spec = asked
    task = await live(store, asking("t1", spec, rank=5))
    other = await live(store, asking("t2", spec, rank=7))
    moved = after(task, evolve(task, rank=9))

    receipt = await put(store, moved, cancel(task), grant(other, fence=3), accept(asking("t2", spec)))

    assert [revision > 0 for revision in receipt.revisions] == [True, False, True, False]
    assert await found(store, key) == ["t1"]


async def test_a_task_that_names_many_keys_is_found_by_each(store: Store) -> None:
    spec: Asking = {
        "lock": "own",
        "limits": {"a": 1, "b": 2},
        "rates": {"a": Rate(1, 1), "c": Rate(1, 1)},
        "workspace": "a",
    }
    keys = ["own", "a", "b", rate_key("a"), rate_key("c"), workspace_key("a")]
    task = await live(store, asking("t1", spec))
    assert [await found(store, key) for key in keys] == [["t1"]] * 6
    for key in ("", "c", rate_key("b"), rate_key("own"), "nobody's"):
        assert await found(store, key) == []

    await step(store, grant(task))

    assert [await found(store, key) for key in keys] == [[]] * 6


async def test_a_task_that_names_a_key_twice_is_found_once(store: Store) -> None:
    await live(store, waiting("t1", lock=KEY, limits=ONE))

    assert await found(store) == ["t1"]


def in_turn() -> Sequence[Task]:
    """Tasks of four shapes, that name the key in several ways; their ids say in what order they are of each."""
    a: Asking = {"type": "a"}
    b: Asking = {"type": "b"}
    wide: Asking = {"type": "a", "slots": 2}
    other: Asking = {"type": "a", "pool": "other"}
    locked: Asking = {"lock": KEY}
    limited: Asking = {"limits": ONE}
    return [
        asking("b2", b, limited, rank=3),
        asking("a4", a, limited, rank=9),
        asking("a2", a, locked, rank=4),
        asking("a3", a, limited, rank=4),
        asking("wide2", wide, limited, rank=-1),
        asking("a1", a, limited, rank=-5),
        asking("other1", other, locked, rank=0),
        asking("wide1", wide, locked, rank=-2),
        asking("b1", b, limited, rank=2),
        asking("not", a, rank=-9),
        asking("neither", a, {"lock": "another", "limits": {"one": 1}}, rank=-9),
    ]


async def test_the_first_of_each_shape_come_in_the_order_of_their_ranks_and_keys(store: Store) -> None:
    await put(store, *map(accept, in_turn()))

    assert await found(store, most=1) == ["a1", "wide1", "b1", "other1"]
    assert await found(store, most=2) == ["a1", "a2", "wide1", "wide2", "b1", "b2", "other1"]
    assert await found(store, most=3) == ["a1", "a2", "a3", "wide1", "wide2", "b1", "b2", "other1"]
    assert await found(store, most=9) == ["a1", "a2", "a3", "a4", "wide1", "wide2", "b1", "b2", "other1"]


async def test_of_some_shapes_only_those_behind_a_place_are_asked_for(store: Store) -> None:
    tasks = {task.id: task for task in in_turn()}
    await put(store, *map(accept, tasks.values()))

    def behind(*task_ids: str) -> dict[Shape, Place]:
        return {shape_of(task): Place(task.rank, task.key) for task in map(tasks.__getitem__, task_ids)}

    assert await found(store, after=behind("a2"), most=2) == ["a3", "a4", "wide1", "wide2", "b1", "b2", "other1"]
    assert await found(store, after=behind("a3", "b1"), most=1) == ["a4", "wide1", "b2", "other1"]
    assert await found(store, after=behind("a4", "b2", "wide1", "other1")) == ["wide2"]
    assert await found(store, after={Shape("default", "a"): Place(4, 0)}, most=1) == ["a2", "wide1", "b1", "other1"]
    assert await found(store, after={Shape("nobody's", "a"): Place(99, 99)}, most=1) == ["a1", "wide1", "b1", "other1"]


async def test_those_that_wait_no_more_take_nobodys_turn(store: Store) -> None:
    tasks = [await live(store, waiting(f"t{number}", rank=number, limits=ONE)) for number in range(4)]
    await put(store, grant(tasks[0]), cancel(tasks[1]))

    assert await found(store, most=1) == ["t2"]


async def test_one_that_gets_another_rank_is_found_there(store: Store) -> None:
    tasks = [await live(store, waiting(f"t{number}", rank=number, limits=ONE)) for number in range(3)]

    receipt = await put(store, moved(tasks[0], 5), moved(tasks[2], -1))

    assert all(receipt.revisions)
    assert await found(store) == ["t2", "t1", "t0"]


def moved(task: Task, rank: int) -> Change:
    return after(task, evolve(task, rank=rank))


async def test_those_found_are_as_they_are_stored_with_payloads_that_are_small(store: Store) -> None:
    await live(store, waiting("small", payload=b"x" * 1024, limits=ONE, slots=3))
    await live(store, waiting("large", payload=b"x" * 1025, limits=ONE))

    tasks = await store.waiting_on(KEY, {}, 9)

    assert [(task.id, task.payload) for task in tasks] == [("large", None), ("small", b"x" * 1024)]
    assert list(tasks) == [*await store.find(["large"]), *await store.find(["small"])]


async def test_more_than_one_statement_can_name_are_found(store: Store) -> None:
    await put(store, *[accept(waiting(f"t{number:03}", rank=number, limits=ONE)) for number in range(700)])

    assert await found(store, most=1_000) == [f"t{number:03}" for number in range(700)]


async def test_they_are_found_after_a_restart(database: Database) -> None:
    async with database.open() as store:
        await store.boot(NOW)
        await live(store, waiting("t1", limits=ONE))

    async with database.open() as store:
        assert await found(store) == ["t1"]
