"""Every store against one simple model: whatever is asked in whatever order, they answer alike and hold the same."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from nodelink.task import Execution, Rate, TaskStatus
from nodelink.values import evolve
from nodelink_server.core.needs import place_of, shape_of
from nodelink_server.core.ports import Batch, Change, Evidence, IdempotencyKey, Place, Shape, Store
from nodelink_server.core.task import Task, rate_key, workspace_key
from nodelink_server.core.task_record import LateResult
from nodelink_server.store.disk import Disk
from nodelink_server.store.memory import MemoryStore
from nodelink_server.store.sql import open_store
from tests.machines.effort import effort
from tests.machines.model import Kept, Model
from tests.machines.steps import LEGAL, START_MS, agent_record, give_up_key, grant, new_task, reorder, submit

AGENTS = ("a1", "a2")
LOCKS = ("", "database", "network")
ASKED: Sequence[Mapping[str, object]] = (
    {},
    {"limits": {"license": 2}},
    {"limits": {"license": 3, "database": 1}},
    {"rates": {"mail": Rate(2, 3)}},
    {"limits": {"license": 2}, "rates": {"mail": Rate(1, 5), "license": Rate(2, 2)}, "workspace": "site"},
    {"workspace": "site", "slots": 2},
    {"agent_id": "a1", "resources": {"gpu": 1_000, "cpu": 500}},
)
FAIR = ("", "", "one", "two")
UNIQUE = ("", "", "nightly", "weekly")
KEYS = ("database", "license", rate_key("mail"), workspace_key("site"), "nobody's")
KINDS = ("submit", "submit", "again", "move", "move", "move", "move", "move", "move", "stale")
NUMBERS = st.integers(0, 1_000)
Open = Callable[[], AbstractAsyncContextManager[Store]]


class StoreMachine(RuleBasedStateMachine):
    """Hands batches to a store and to the model."""

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._model = Model()
        self._now = START_MS
        self._made = 0
        self._fence = 0
        self._starts = 0
        self._touched: set[str] = set()
        self._told = 0
        self._open = self.database()
        self._start()

    def database(self) -> Open:
        """A new database, as something that can be opened again and again."""
        disk = Disk()

        @asynccontextmanager
        async def in_memory() -> AsyncIterator[Store]:
            yield MemoryStore(disk)

        return in_memory

    def teardown(self) -> None:
        """Let go of the store."""
        self._runner.run(self._stack.aclose())
        self._runner.close()

    # -- what happens -------------------------------------------------------------------------------------------------

    @rule(choices=st.lists(st.tuples(st.sampled_from(KINDS), NUMBERS, NUMBERS), min_size=1, max_size=5))
    def commit(self, choices: Sequence[tuple[str, int, int]]) -> None:
        """Several changes in one batch, the same task among them twice perhaps."""
        self._now += 1
        self._apply(Batch(now=self._now, control_ms=self._now - START_MS, changes=list(self._changes(choices))))

    @rule(task=NUMBERS, fence=st.integers(1, 2), attempt=st.integers(1, 2))
    def keep_evidence(self, task: int, fence: int, attempt: int) -> None:
        """A late result; also of a task that is not there."""
        self._now += 1
        late = LateResult(attempt, fence, "a1", self._now, "completed", self._now % 5, "late")
        evidence = [Evidence(task % (self._model.last_key + 2), late)]
        self._touched.update(self._model.tasks)
        self._apply(Batch(now=self._now, control_ms=self._now - START_MS, evidence=evidence))

    @rule(agent=st.sampled_from(AGENTS), session=st.integers(1, 5))
    def greet(self, agent: str, session: int) -> None:
        """A hello, perhaps of an older session."""
        self._now += 1
        agents = [agent_record(agent, session, now=self._now)]
        self._apply(Batch(now=self._now, control_ms=self._now - START_MS, agents=agents))

    @rule()
    def sweep(self) -> None:
        """What is free again under a rate is forgotten, and nothing else is."""
        nothing = {"finished_before": 0, "events_before": 0, "keys_before": 0, "sessions_before": 0}
        assert self._runner.run(self._store.sweep(**nothing, limit=1)) == 0

    @rule()
    def restart(self) -> None:
        """The server goes, and another one starts."""
        self._runner.run(self._stack.aclose())
        self._start()

    @rule()
    def look_at_everything(self) -> None:
        """Whatever a store can be asked, it answers as the model does."""
        self._runner.run(self._check_queues())
        self._touched.update(self._model.tasks)

    @invariant()
    def what_was_touched_is_as_it_should_be(self) -> None:
        """Records, histories and events."""
        self._model.check()
        self._runner.run(self._check_touched())
        self._touched.clear()

    # -- how ----------------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._stack = AsyncExitStack()
        self._store = self._runner.run(self._stack.enter_async_context(self._open()))
        boot = self._runner.run(self._store.boot(self._now))
        self._starts += 1
        assert boot.start_number == self._starts
        assert boot.revision == self._model.revision
        assert list(boot.granted) == self._model.granted()
        assert dict(boot.holds) == self._model.holds
        assert {agent.id: agent for agent in boot.agents} == self._model.agents
        assert list(boot.shapes) == sorted({shape_of(task) for task in self._model.pending()})
        assert dict(boot.rates) == self._model.used()
        assert dict(boot.lines) == self._model.lines()

    def _changes(self, choices: Sequence[tuple[str, int, int]]) -> Sequence[Change]:
        made = [self._change(kind, which, how) for kind, which, how in choices]
        return [change for change in made if change is not None]

    def _change(self, kind: str, which: int, how: int) -> Change | None:
        known = list(self._model.tasks.values())
        if kind == "submit" or not known:
            return self._submission(which, how)
        kept = known[which % len(known)]
        if kind == "again":
            return submit(evolve(kept.versions[0], revision=0, key=0))
        return self._move(_version(kept, how) if kind == "stale" else kept.task, how)

    def _submission(self, which: int, how: int) -> Change:
        self._made += 1
        execution = list(Execution)[which % 3]
        fair, unique = FAIR[how // 5 % len(FAIR)], UNIQUE[which // 2 % len(UNIQUE)]
        task = new_task(
            f"t{self._made}",
            now=self._now,
            execution=execution,
            lock=LOCKS[how % len(LOCKS)],
            rank=how % 4,
            fair_tag=how if fair else None,
            asked={"fairness_key": fair, "unique_key": unique, **ASKED[which // 3 % len(ASKED)]},
        )
        named = IdempotencyKey(caller="local", key=str(how % 5), digest=b"a" if which % 2 else b"b")
        return submit(task, named if how % 4 == 0 else None)

    def _move(self, task: Task, how: int) -> Change | None:
        if task.is_terminal:
            return None
        if task.unique_key and how % 7 == 3:
            return give_up_key(task)
        if task.status is TaskStatus.PENDING and how % 5:
            self._fence += 1
            return grant(task, agent_id=AGENTS[how % 2], fence=self._fence, now=self._now, at=how)
        steps = (*LEGAL[task.status], reorder) if task.status is TaskStatus.PENDING else LEGAL[task.status]
        return steps[how % len(steps)](task, self._now + how % 2)

    def _apply(self, batch: Batch) -> None:
        expected = self._model.apply(batch)
        receipt = self._runner.run(self._store.apply(batch))
        assert list(receipt.revisions) == list(expected.revisions)
        assert list(receipt.keys) == list(expected.keys)
        assert dict(receipt.replays) == dict(expected.replays)
        assert receipt.locked == expected.locked
        assert dict(receipt.clashes) == dict(expected.clashes)
        assert receipt.refused_agents == expected.refused_agents
        told = [(event.revision, event.name, event.task_id) for event in receipt.events]
        assert told == self._model.events[self._told :]
        self._told = len(self._model.events)
        self._touched.update(change.task.id for change in batch.changes)

    async def _check_touched(self) -> None:
        for task_id in sorted(self._touched):
            kept, record = self._model.tasks.get(task_id), await self._store.read(task_id)
            if kept is None:
                assert record is None
                continue
            assert record is not None
            assert record.task == kept.task
            assert (record.finished, list(record.earlier)) == (kept.finished, kept.earlier)
            assert list(record.remarks) == kept.remarks
            assert sorted(record.late_results) == sorted(kept.late.values())
            history = [(event.revision, event.name, event.task_id) for event in await self._store.history(task_id)]
            assert history == [event for event in self._model.events if event[2] == task_id]

    async def _check_queues(self) -> None:
        pending = sorted(self._model.pending(), key=place_of)
        for shape in {shape_of(task) for task in pending} | {Shape("default", "once")}:
            ordered = [task for task in pending if shape_of(task) == shape]
            assert [task.id for task in await self._store.waiting(shape, None, 1_000)] == [task.id for task in ordered]
        for key in {task.lock for task in pending if task.lock} | set(KEYS):
            await self._check_waiting_on(key, [task for task in pending if key in (task.lock, *task.shared_keys)])
        events = await self._store.events(0, 1_000_000)
        assert [(event.revision, event.name, event.task_id) for event in events] == self._model.events
        for event in events:
            if event.task_id:
                assert event in await self._store.history(event.task_id)

    async def _check_waiting_on(self, key: str, named: Sequence[Task]) -> None:
        """The first of each shape, and then those behind them."""
        after: dict[Shape, Place] = {}
        for most in (1, 2):
            shapes = sorted({shape_of(task) for task in named})
            firsts = [task for shape in shapes for task in [one for one in named if shape_of(one) == shape][:most]]
            assert [task.id for task in await self._store.waiting_on(key, after, most)] == [task.id for task in firsts]
            after |= {shape_of(task): place_of(task) for task in firsts}
            named = [task for task in named if task not in firsts]


class SqliteMachine(StoreMachine):
    """The same over files."""

    def database(self) -> Open:
        """Made anew for each example: in memory if there is such a place, since a disk's time is not the point."""
        self._directory = Path(tempfile.mkdtemp(dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None))
        return lambda: open_store(f"sqlite:///{self._directory}/nodelink.db", ids=lambda: "cluster")

    def teardown(self) -> None:
        """Let go of the store and of its files."""
        super().teardown()
        shutil.rmtree(self._directory)


def _version(kept: Kept, how: int) -> Task:
    """A value of a task that it may have left behind."""
    live = [task for task in kept.versions[1:] if not task.is_terminal]
    return live[how % len(live)]


SHARED_MEMORY = Path("/dev/shm")
TestMemory = StoreMachine.TestCase
TestMemory.settings = effort(200, 50)
TestSqlite = SqliteMachine.TestCase
TestSqlite.settings = effort(25, 25)
