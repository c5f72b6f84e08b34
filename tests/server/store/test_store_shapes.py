"""How waiting tasks stand, over every store: by what they need of an agent, by rank, and in the line of their pool."""

from __future__ import annotations

from collections.abc import Mapping

from nodelink.values import evolve
from nodelink_server.core import task as moves
from nodelink_server.core.needs import place_of, shape_of
from nodelink_server.core.ports import Place, Shape, Store
from nodelink_server.core.task import Task
from tests.server.store.conftest import Database
from tests.server.store.lives import (
    NOW,
    accept,
    after,
    asking,
    cancel,
    give_back,
    grant,
    live,
    new,
    put,
    ready_again,
    step,
    waiting,
)

NEEDS: Mapping[str, Mapping[str, object]] = {
    "nothing": {},
    "agent": {"agent_id": "a1"},
    "labels": {"selector": "env=prod"},
    "slots": {"slots": 2},
    "little": {"resources": {"cpu": 500}},
    "much": {"resources": {"cpu": 1_500, "gpu": 1_000}},
    "all": {"agent_id": "a1", "selector": "!spot", "slots": 3, "resources": {"ключ": 1}},
}


async def of_every_need(store: Store) -> dict[str, Task]:
    """A waiting task that needs this, each behind the one before."""
    tasks = {name: asking(name, needs, rank=rank) for rank, (name, needs) in enumerate(NEEDS.items())}
    await put(store, *map(accept, tasks.values()))
    return tasks


async def test_those_that_need_the_same_wait_in_one_line(store: Store) -> None:
    tasks = await of_every_need(store)
    more = await live(store, waiting("more", rank=-1, resources={"gpu": 1_000, "cpu": 1_500}))

    found = {name: [one.id for one in await store.waiting(shape_of(task), None, 9)] for name, task in tasks.items()}

    assert found == {name: [name] for name in NEEDS} | {"much": ["more", "much"]}
    assert shape_of(more) == shape_of(tasks["much"])
    assert await store.waiting(Shape("default", "echo", "[]"), None, 9) == []


async def test_only_those_that_need_the_same_go_before_a_task(store: Store) -> None:
    tasks = await of_every_need(store)
    await put(store, *[accept(waiting(f"t{number}", slots=2, rank=-number)) for number in range(5)])

    def before(name: str) -> tuple[Shape, Place]:
        return shape_of(tasks[name]), place_of(tasks[name])

    assert await store.count_before(*before("slots"), 100) == 5
    assert await store.count_before(*before("slots"), 3) == 3
    assert [await store.count_before(*before(name), 100) for name in ("nothing", "all", "much")] == [0, 0, 0]


async def test_pages_are_of_one_need(store: Store) -> None:
    await of_every_need(store)
    tasks = [await live(store, waiting(f"t{number}", slots=2, rank=9)) for number in range(3)]
    shape = shape_of(tasks[0])

    first = await store.waiting(shape, None, 2)
    rest = await store.waiting(shape, place_of(first[-1]), 9)

    assert [task.id for task in (*first, *rest)] == ["slots", "t0", "t1", "t2"]


async def test_a_start_knows_each_shape_once_in_order(database: Database) -> None:
    async with database.open() as store:
        await store.boot(NOW)
        tasks = [*(await of_every_need(store)).values(), waiting("t1", type="b"), waiting("t2", pool="a", slots=2)]
        await put(store, *[accept(task) for task in (*tasks[-2:], waiting("again", slots=2))])
        await live(store, moves.scheduled(new("later", slots=9), due_at=NOW + 5))
        await step(store, grant(await live(store, waiting("granted", slots=8))))

    async with database.open() as store:
        boot = await store.boot(NOW)

    assert list(boot.shapes) == sorted({shape_of(task) for task in tasks})
    assert len(boot.shapes) == len(NEEDS) + 2


async def test_what_is_needed_stays_when_a_task_is_given_back(store: Store) -> None:
    task = (await of_every_need(store))["all"]

    task = await step(store, give_back(await step(store, grant(task))))

    assert [one.spec for one in await store.waiting(shape_of(task), None, 9)] == [task.spec]


async def test_a_task_can_be_given_another_priority_and_place(store: Store) -> None:
    for name in ("t1", "t2"):
        await live(store, waiting(name, rank=5, priority=50, slots=2, fairness_key="k", fair_tag=7))
    (task,) = await store.find(["t2"])
    urgent = evolve(task, rank=1, fair_tag=3, spec=evolve(task.spec, priority=100))

    await put(store, after(task, urgent))

    assert [one.id for one in await store.waiting(shape_of(task), None, 9)] == ["t2", "t1"]
    record = await store.read("t2")
    assert record is not None
    assert (record.task.spec.priority, record.task.rank, record.task.fair_tag) == (100, 1, 3)
    assert (await store.counts()).queued == {("default", "NORMAL"): 1, ("default", "CRITICAL"): 1}


async def lines(store: Store) -> Mapping[tuple[str, str], tuple[int, int]]:
    return (await store.boot(NOW)).lines


def standing(task_id: str, tag: int, key: str = "k", pool: str = "p") -> Task:
    """A waiting task in the line of its pool."""
    return waiting(task_id, pool=pool, fairness_key=key, fair_tag=tag)


async def test_a_start_knows_how_far_the_waiting_tasks_of_each_key_of_a_pool_reach(database: Database) -> None:
    async with database.open() as store:
        await store.boot(NOW)
        assert await lines(store) == {}
        places = [("t1", 9), ("t2", 2**50), ("t3", 10), ("t4", 9, "l"), ("t5", 3, "k", "q")]
        await put(store, *[accept(standing(*place)) for place in places], accept(waiting("none", pool="p")))  # type: ignore[arg-type]

    async with database.open() as store:
        assert await lines(store) == {("p", "k"): (9, 2**50), ("p", "l"): (9, 9), ("q", "k"): (3, 3)}


async def test_only_those_that_wait_stand_in_a_line(store: Store) -> None:
    tasks = [await live(store, standing(f"t{number}", number)) for number in range(4)]
    await live(store, moves.scheduled(new("later", fairness_key="k"), due_at=NOW + 5))
    granted = await step(store, grant(tasks[0]))
    await step(store, cancel(tasks[3]))
    assert await lines(store) == {("p", "k"): (1, 2)}

    await step(store, give_back(granted))
    assert await lines(store) == {("p", "k"): (0, 2)}

    for task in await store.find(["t0", "t1", "t2"]):
        await step(store, cancel(task))
    assert await lines(store) == {}


async def test_a_task_gets_its_place_in_line_when_it_is_ready(store: Store) -> None:
    later = moves.scheduled(new("later", pool="p", fairness_key="k"), due_at=NOW + 5)
    task = await live(store, later)
    assert await lines(store) == {}

    await step(store, after(task, evolve(ready_again(task).task, fair_tag=77)))

    assert await lines(store) == {("p", "k"): (77, 77)}


async def test_a_key_that_has_no_place_yet_is_no_line(store: Store) -> None:
    """As one that a server without lines has let in."""
    await live(store, waiting("t1", fairness_key="k"))

    assert await lines(store) == {}
    assert [task.spec.fairness_key for task in await store.find(["t1"])] == ["k"]
