"""Whatever is asked for is read back from SQLite as it was asked, however few ask for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import fields, replace
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nodelink.task import Execution, OnConflict, Rate, RetryPolicy, TaskSpec, WhenTaken
from nodelink_server.core import task as moves
from nodelink_server.core.needs import shape_of
from nodelink_server.core.ports import Store
from nodelink_server.core.task import Task
from nodelink_server.store.sql import open_store
from tests.server.store.lives import AGENT, NOW, accept, grant, put

NAMES = st.text(min_size=1, max_size=10)
OPTIONAL = st.none() | st.integers(0, 2**62)
AMOUNTS = st.integers(1, 2**62)
FIELDS = {
    "type": NAMES,
    "pool": NAMES,
    "priority": st.integers(1, 100),
    "timeout_ms": OPTIONAL,
    "queue_timeout_ms": OPTIONAL,
    "scheduled_at": OPTIONAL,
    "delay_ms": OPTIONAL,
    "execution": st.none() | st.sampled_from(Execution),
    "metadata": st.dictionaries(st.text(max_size=10), st.text(max_size=10), max_size=3),
    "lock": st.text(max_size=10),
    "retry": st.none()
    | st.builds(
        RetryPolicy,
        max_attempts=AMOUNTS,
        initial_ms=AMOUNTS,
        max_ms=AMOUNTS,
        multiplier=st.floats(1, 1e300),
        on=st.lists(NAMES, max_size=3).map(tuple),
    ),
    "start_timeout_ms": OPTIONAL,
    "total_timeout_ms": OPTIONAL,
    "heartbeat_timeout_ms": st.none() | AMOUNTS,
    "agent_id": st.text(max_size=10),
    "selector": st.text(max_size=10),
    "slots": AMOUNTS,
    "resources": st.dictionaries(NAMES, AMOUNTS, max_size=3),
    "limits": st.dictionaries(NAMES, AMOUNTS, max_size=3),
    "rates": st.dictionaries(NAMES, st.builds(Rate, AMOUNTS, AMOUNTS), max_size=3),
    "when_taken": st.sampled_from(WhenTaken),
    "workspace": st.text(max_size=10),
    "unique_key": st.text(max_size=10),
    "on_conflict": st.sampled_from(OnConflict),
    "fairness_key": st.text(max_size=10),
    "fairness_weight": AMOUNTS,
    "approval_timeout_ms": OPTIONAL,
    "approval_by_other": st.booleans(),
}
FEW = st.lists(st.sampled_from(sorted(FIELDS)), max_size=3).flatmap(
    lambda names: st.fixed_dictionaries({name: FIELDS[name] for name in {"type", *names}})
)
ALL = st.fixed_dictionaries(FIELDS)
ASKED = (FEW | ALL).map(lambda asked: TaskSpec(**{"priority": 50, **asked}))
"""Mostly one or two of the fields, since what is rare is written apart, and only if there is any of it."""


class Readings:
    """A store on the disk, and tasks that are put there and read back, each under an id of its own."""

    def __init__(self, directory: Path) -> None:
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        opened = open_store(f"sqlite:///{directory}/nodelink.db", ids=lambda: "cluster")
        self._store: Store = self._runner.run(self._stack.enter_async_context(opened))
        self._numbers = count()

    def close(self) -> None:
        """Let go of it."""
        self._runner.run(self._stack.aclose())
        self._runner.close()

    def new(self, spec: TaskSpec, *, is_exclusive: bool) -> Task:
        """A task that asks for this; a unique key is its own, as no other live task may have it."""
        number = next(self._numbers)
        execution = Execution.EXCLUSIVE if is_exclusive else Execution.ONCE
        own = f"{number} {spec.unique_key}" if spec.unique_key else ""
        return Task(id=f"t{number}", spec=replace(spec, unique_key=own), execution=execution, created_at=NOW)

    def check(self, task: Task) -> None:
        """Put a task there, and see that it comes back; and once more when it has been granted."""
        self._runner.run(self._check(task))

    async def _check(self, task: Task) -> None:
        await put(self._store, accept(task))
        await self._check_read(task)
        if task.ready_at is not None and task.attempt is None:
            change = grant(task)
            await put(self._store, change)
            await self._check_read(change.task)

    async def _check_read(self, task: Task) -> None:
        record = await self._store.read(task.id)
        assert record is not None
        for name in (field.name for field in fields(TaskSpec)):  # one by one, for the failure to say which
            assert (name, getattr(record.task.spec, name)) == (name, getattr(task.spec, name))
            assert type(getattr(record.task.spec, name)) is type(getattr(task.spec, name))
        assert record.task == task
        assert (record.task.lock, record.task.shared_keys) == (task.lock, task.shared_keys)
        assert shape_of(record.task) == shape_of(task)


@pytest.fixture
def readings(tmp_path: Path) -> Iterator[Readings]:
    made = Readings(tmp_path)
    yield made
    made.close()


def test_every_field_is_drawn() -> None:
    assert set(FIELDS) == {field.name for field in fields(TaskSpec)}


@given(spec=ASKED, is_exclusive=st.booleans(), how=st.sampled_from(["waits", "is scheduled", "is granted", "ended"]))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_asked_for_is_read_back(readings: Readings, spec: TaskSpec, is_exclusive: bool, how: str) -> None:
    task = readings.new(spec, is_exclusive=is_exclusive)
    ready = moves.ready(task, rank=-3, now=NOW, queue_deadline=None, fair_tag=5 if spec.fairness_key else None)
    if how == "waits":
        readings.check(ready)
    elif how == "is scheduled":
        readings.check(moves.scheduled(task, due_at=NOW + 5))
    elif how == "is granted":
        readings.check(moves.granted(ready, agent_id=AGENT, session=1, fence=1, now=NOW))
    else:
        readings.check(moves.skipped(task, now=NOW))
