"""Shell attempts over the death of their agent, or of their spawner, with real commands."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from nodelink.task import Declined, Execution, Finished, Gone, Outcome, Reason
from nodelink_agent.commands import Commands, earlier_spawners, start_spawner
from nodelink_agent.handlers.registry import HandlerEntry
from nodelink_agent.handlers.shell import command_id, shell
from tests.support.commands import AGENT, PATIENCE, Gate, alive, exited, handle, open_commands
from tests.support.shell_attempt import Attempt


@asynccontextmanager
async def left_behind(folder: Path) -> AsyncIterator[Commands]:
    """The commands of an agent that goes and leaves what runs."""
    spawner = start_spawner(folder / AGENT)
    async with Commands(spawner, earlier=earlier_spawners(spawner)) as commands:
        yield commands


def entry(commands: Commands) -> HandlerEntry:
    return shell(commands, environment={"PATH": os.environ["PATH"]}, server="127.0.0.1:1")


def attempt(commands: Commands, folder: Path, execution: Execution = Execution.ONCE, task_id: str = "") -> Attempt:
    return Attempt(entry(commands), folder / "attempts", execution=execution, task_id=task_id)


async def broken_off(attempt: Attempt, run: asyncio.Task[object]) -> None:
    await attempt.until(lambda context: context.stays)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    gate = Gate(tmp_path)
    yield gate
    gate.release()


async def test_a_command_goes_on_without_its_agent_and_the_next_one_tells_its_end(tmp_path: Path, gate: Gate) -> None:
    async with left_behind(tmp_path) as commands:
        first = attempt(commands, tmp_path)
        run = asyncio.create_task(first.run(command=f"echo up; {gate}; echo done; exit 3"))
        await first.first_line()
        await broken_off(first, run)
        place = commands.spawner_id
    async with open_commands(tmp_path) as commands:
        second = attempt(commands, tmp_path, task_id=first.task_id)
        run_again = asyncio.create_task(second.resume(place))
        await second.first_line()
        await gate.open()
        finished = await run_again
        assert isinstance(finished, Finished)
        assert (finished.exit_code, second.text()) == (3, b"up\ndone\n")


async def test_a_command_that_ended_meanwhile_is_told_with_its_output(tmp_path: Path, gate: Gate) -> None:
    async with left_behind(tmp_path) as commands:
        first = attempt(commands, tmp_path)
        run = asyncio.create_task(first.run(command=f"echo $$; {gate}; echo done"))
        pid = int(await first.first_line())
        await broken_off(first, run)
        place = commands.spawner_id
    with handle(pid) as descriptor:
        await gate.open()
        await exited(descriptor)
    async with open_commands(tmp_path) as commands:
        second = attempt(commands, tmp_path, task_id=first.task_id)
        finished = await second.resume(place)
        assert isinstance(finished, Finished)
        assert (finished.outcome, second.text()) == (Outcome.COMPLETED, b"%d\ndone\n" % pid)


async def test_a_command_that_was_taken_up_can_be_stopped(tmp_path: Path, gate: Gate) -> None:
    async with left_behind(tmp_path) as commands:
        first = attempt(commands, tmp_path)
        run = asyncio.create_task(first.run(command="echo up; exec sleep 1000"))
        await first.first_line()
        await broken_off(first, run)
        place = commands.spawner_id
    async with open_commands(tmp_path) as commands:
        second = attempt(commands, tmp_path, task_id=first.task_id)
        run_again = asyncio.create_task(second.resume(place))
        await second.first_line()
        second.context.ask_stop(Reason.CANCELLED_BY_CALLER, PATIENCE)
        finished = await run_again
        assert isinstance(finished, Finished)
        assert (finished.outcome, finished.signal) == (Outcome.CANCELLED, signal.SIGTERM)


async def test_a_command_that_was_never_ordered_is_declined(tmp_path: Path) -> None:
    async with left_behind(tmp_path) as commands:
        place = commands.spawner_id
    async with open_commands(tmp_path) as commands:
        ending = await attempt(commands, tmp_path).resume(place)
    assert isinstance(ending, Declined)
    assert ending.just_this


async def test_the_run_timeout_is_the_spawners_business_as_well(tmp_path: Path) -> None:
    async with left_behind(tmp_path) as commands:
        first = Attempt(entry(commands), tmp_path / "attempts", timeout_ms=1)
        finished = await first.run(command="exec sleep 1000")
    assert (finished.outcome, finished.reason) == (Outcome.TIMEOUT, Reason.RUN_TIMEOUT)


async def test_the_end_of_a_lease_is_the_spawners_business_as_well(tmp_path: Path) -> None:
    async with left_behind(tmp_path) as commands:
        first = attempt(commands, tmp_path, Execution.REPLAYABLE)
        first.lease(0.01)
        finished = await first.run(command="exec sleep 1000")
    assert finished.reason is Reason.LEASE_EXPIRED


async def test_what_a_dead_spawner_held_is_killed_and_gone(tmp_path: Path) -> None:
    async with left_behind(tmp_path) as commands:
        first = attempt(commands, tmp_path)
        run = asyncio.create_task(first.run_to_any_end(command="echo $$; exec sleep 1000"))
        pid = int(await first.first_line())
        os.kill(commands._spawner.process.pid, signal.SIGKILL)
        ending = await run
        assert isinstance(ending, Gone)
        assert not ending.agent_died
        assert not alive(pid)
        assert not first.context.stays


async def test_what_is_exclusive_is_never_killed_but_waited_for(tmp_path: Path, gate: Gate) -> None:
    async with left_behind(tmp_path) as commands:
        first = attempt(commands, tmp_path, Execution.EXCLUSIVE)
        run = asyncio.create_task(first.run_to_any_end(command=f"echo $$; trap '' PIPE HUP; {gate}; exit 0"))
        pid = int(await first.first_line())
        other = attempt(commands, tmp_path)
        other_run = asyncio.create_task(other.run_to_any_end(command="echo up; exec sleep 1000"))
        await other.first_line()
        os.kill(commands._spawner.process.pid, signal.SIGKILL)
        place = commands.spawner_id
        await first.until(lambda context: not context.can_be_stopped)
        assert isinstance(await other_run, Gone)  # by now, what is not exclusive has been killed
        assert alive(pid)
        await broken_off(first, run)
    assert alive(pid)
    async with open_commands(tmp_path) as commands:
        second = attempt(commands, tmp_path, Execution.EXCLUSIVE, first.task_id)
        run_again = asyncio.create_task(second.resume(place))
        await gate.open()
        ending = await run_again
        assert isinstance(ending, Gone)
        assert not alive(pid)
        assert second.text() == b"%d\n" % pid


async def test_without_a_spawner_nothing_begins(tmp_path: Path) -> None:
    async with left_behind(tmp_path) as commands:
        os.kill(commands._spawner.process.pid, signal.SIGKILL)
        async with asyncio.timeout(PATIENCE):
            await commands.broken.wait()
        ending = await attempt(commands, tmp_path).run_to_any_end(command="true")
    assert isinstance(ending, Declined)


async def test_two_attempts_have_commands_of_different_names(tmp_path: Path) -> None:
    async with left_behind(tmp_path) as commands:
        one, other = attempt(commands, tmp_path), attempt(commands, tmp_path)
    assert command_id(one.context.ref) != command_id(other.context.ref)
