"""The simulated machine is as unkind as a real one, and no unkinder."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from nodelink.task import AttemptRef, Execution, Finished, Outcome, TaskRequest, TaskResponse, TaskSpec
from nodelink_agent.core.records import EndRecord, ForgetRecord, StartRecord
from tests.checking.history import History
from tests.simulation.loop import run_virtually
from tests.simulation.machines import Machine
from tests.simulation.plans import Plan
from tests.simulation.spawners import Spawner
from tests.support.clock import LoopClock

REF = AttemptRef("t1", 1, 7)
DONE = EndRecord(TaskResponse(REF, Finished(outcome=Outcome.COMPLETED)))


def _request(execution: Execution = Execution.ONCE, *, seconds: float = 10.0) -> TaskRequest:
    plan = Plan(token="a", seconds=seconds)
    return TaskRequest(ref=REF, spec=TaskSpec(type="shell"), payload=plan.payload, execution=execution)


def _machine(seed: int = 0) -> Machine:
    return Machine(
        name="m",
        clock=LoopClock(),
        is_granted=lambda request: True,
        history=History(),
        chance=random.Random(seed),
    )


def _run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    run_virtually(test(), seed=1)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_synced_outlives_the_power_and_what_is_not_may_be_lost(seed: int) -> None:
    async def test() -> None:
        machine = _machine(seed)
        machine.disk.journal = [StartRecord(_request(), "s", 0.0), DONE, ForgetRecord(REF)]
        machine.synced(1)

        machine.lose_power()

        assert machine.disk.journal[0] == StartRecord(_request(), "s", 0.0)
        assert len(machine.disk.journal) in {1, 2, 3}
        assert machine.disk.synced == len(machine.disk.journal)

    _run(test)


def test_a_journal_knows_what_began_and_was_not_forgotten() -> None:
    async def test() -> None:
        disk = _machine().disk
        start = StartRecord(_request(), "s", 0.0)

        disk.journal = [start]
        assert disk.attempts() == {REF: (start, None)}
        disk.journal = [start, DONE]
        assert disk.attempts() == {REF: (start, DONE)}
        disk.journal = [start, DONE, ForgetRecord(REF)]
        assert disk.attempts() == {}

    _run(test)


def test_a_new_disk_knows_nothing_but_who_the_machine_is() -> None:
    async def test() -> None:
        machine = _machine()
        machine.disk.session, machine.disk.remembers_since = 9, 4
        machine.begin(_request()).run.kept = True

        machine.lose_disk()

        assert (machine.disk.session, machine.disk.remembers_since, machine.disk.journal) == (9, 0, [])
        assert not machine.history.runs[0].kept

    _run(test)


def test_a_command_outlives_its_agent_and_its_end_is_written_down() -> None:
    async def test() -> None:
        machine = _machine()
        spawner = Spawner(machine, "s")
        spawner.start(_request(), None)
        spawner.cut_line()

        await asyncio.sleep(11)

        [run] = machine.history.runs
        assert (run.outcome, run.kept) == (Outcome.COMPLETED, True)
        assert machine.disk.spawners["s"].exits[REF].finished.outcome is Outcome.COMPLETED
        assert spawner.is_dead
        assert machine.disk.spawners["s"].closed

    _run(test)


def test_nobody_sees_the_end_of_a_command_whose_spawner_was_killed() -> None:
    async def test() -> None:
        machine = _machine()
        spawner = Spawner(machine, "s")
        spawner.start(_request(), None)

        spawner.kill()
        await asyncio.sleep(11)

        [run] = machine.history.runs
        assert (run.outcome, run.kept) == (Outcome.COMPLETED, False)
        assert not machine.disk.spawners["s"].exits

    _run(test)


def test_a_spawner_ends_what_runs_out_of_its_lease() -> None:
    async def test() -> None:
        machine = _machine()
        spawner = Spawner(machine, "s")
        spawner.start(_request(Execution.REPLAYABLE), until=machine.now() + 2)
        spawner.extend(REF, machine.now() + 4)

        await asyncio.sleep(11)

        [run] = machine.history.runs
        assert run.lapsed
        assert run.ended_at is not None
        assert 4 <= run.ended_at < 7

    _run(test)


def test_the_power_takes_everything_with_it() -> None:
    async def test() -> None:
        machine = _machine()
        spawner = Spawner(machine, "s")
        spawner.start(_request(), None)
        await asyncio.sleep(1)

        spawner.lose_power()
        machine.lose_power()
        await asyncio.sleep(20)

        [run] = machine.history.runs
        assert (run.ended_at, run.outcome) == (1.0, None)
        assert [life.ended_at for life in machine.history.lives] == [1.0, 1.0, None]

    _run(test)
