"""What people see on a terminal: tables that fit, colours, bars, and screens that are drawn again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from nodelink.task import LogStream, Outcome, Progress, Reason
from tests.support.grpc_door import GrpcDoor, grpc_door
from tests.support.pseudo_terminal import CTRL_C, PseudoTerminal, nodelink_on_terminal, on_terminal

GREEN, RED, YELLOW = "\x1b[32m", "\x1b[31m", "\x1b[33m"


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        yield door


@pytest.fixture
def seat(door: GrpcDoor, tmp_path: Path) -> Seat:
    return Seat(door, tmp_path)


class Seat:
    """Runs commands on terminals of their own."""

    def __init__(self, door: GrpcDoor, directory: Path) -> None:
        self._env = {"NODELINK_SERVER": str(door.address)}
        self._directory = directory

    def __call__(
        self, *arguments: str, width: int = 80, height: int = 24, **env: str
    ) -> AbstractAsyncContextManager[PseudoTerminal]:
        """A terminal with this command on it."""
        command = nodelink_on_terminal(*arguments)
        return on_terminal(*command, cwd=self._directory, env={**self._env, **env}, width=width, height=height)

    async def shown(self, *arguments: str, width: int = 80, **env: str) -> PseudoTerminal:
        """The terminal after the command has ended."""
        async with self(*arguments, width=width, height=24, **env) as terminal:
            assert await terminal.end() == 0
            await terminal.shows("\n")
            return terminal


# --- tables -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
async def test_a_table_fits_and_an_id_is_never_cut(door: GrpcDoor, seat: Seat, width: int) -> None:
    async with door.agent(agent_id="01900000-0000-7000-8000-aaaaaaaaaaaa"):
        ids = [await door.submit(pool="a-pool-with-a-rather-long-name", metadata={"n": "1"}) for _ in range(3)]
        terminal = await seat.shown("tasks", "list", width=width)

    lines = terminal.text.splitlines()
    assert len(lines) == 4
    assert all(len(line) <= width for line in lines), terminal.text
    assert [line.split()[0] for line in lines[1:]] == ids[::-1]


async def test_what_matters_least_goes_first(door: GrpcDoor, seat: Seat) -> None:
    await door.submit()
    titles = {width: (await seat.shown("tasks", "list", width=width)).text.splitlines()[0] for width in (200, 80, 56)}

    assert titles[200].split() == ["ID", "TYPE", "STATUS", "PRIO", "POOL", "AGENT", "CREATED"]
    assert "STATUS" in titles[56]
    assert "PRIO" not in titles[56]


async def test_a_status_has_its_colour_and_nobody_is_forced_to_see_it(door: GrpcDoor, seat: Seat) -> None:
    async with door.agent() as agent:
        for end in ({}, {"outcome": Outcome.FAILED, "reason": Reason.EXIT_CODE, "exit_code": 1}):
            task_id = await door.submit("shell", b'{"command":"x"}')
            agent.finish((await agent.take()).ref, **end)
            await door.manager.wait_many([task_id], 20_000)
    await door.submit(pool="gpu")
    seen = await seat.shown("tasks", "list")
    plain = [
        await seat.shown("tasks", "list", NO_COLOR="1"),
        await seat.shown("tasks", "list", TERM="dumb"),
        await seat.shown("tasks", "list", "--no-color"),
        await seat.shown("--no-color", "tasks", "list"),
    ]

    assert f"{GREEN}completed" in seen.raw
    assert f"{RED}failed" in seen.raw
    assert f"{YELLOW}pending" in seen.raw
    assert all("\x1b" not in terminal.raw for terminal in plain)
    assert {terminal.text.split("CREATED")[0] for terminal in plain} == {seen.text.split("CREATED")[0]}


async def test_a_strangers_name_cannot_steer_the_terminal(door: GrpcDoor, seat: Seat) -> None:
    task_id = await door.submit(metadata={"note": "\x1b[2J\x1b]0;title\x07"})
    terminal = await seat.shown("tasks", "get", task_id, NO_COLOR="1")

    assert "\x1b" not in terminal.raw
    assert "\x07" not in terminal.raw


# --- progress ---------------------------------------------------------------------------------------------------------


async def test_waiting_for_several_tells_how_many_have_ended(door: GrpcDoor, seat: Seat) -> None:
    async with door.agent() as agent:
        ids = [await door.submit() for _ in range(2)]
        refs = [(await agent.take()).ref for _ in ids]
        async with seat("tasks", "wait", *ids, "-o", "id") as terminal:
            await terminal.shows("0 of 2 have ended")
            agent.finish(refs[0])
            await terminal.shows("50%  1 of 2 have ended")
            agent.finish(refs[1])
            assert await terminal.end() == 0
            await terminal.shows(ids[1])

    assert terminal.raw.rstrip().endswith(f"\x1b[K{ids[0]}\r\n{ids[1]}")  # the bar is gone


async def test_a_task_that_tells_how_far_it_is_has_a_bar_and_its_output_is_unharmed(door: GrpcDoor, seat: Seat) -> None:
    async with door.agent() as agent, seat("run", "--", "work") as terminal:
        ref = (await agent.take()).ref
        agent.start(ref)
        agent.say(ref, Progress(fraction=0.25, message="a quarter"))
        await terminal.shows("25%  a quarter")
        agent.write(ref, LogStream.STDOUT, b"a line\n")
        await terminal.shows("a line")
        agent.finish(ref)
        assert await terminal.end() == 0

    assert "\r\x1b[Ka line\r\n" in terminal.raw


async def test_an_interrupt_ends_the_waiting_and_not_the_task(door: GrpcDoor, seat: Seat) -> None:
    ids = [await door.submit() for _ in range(2)]
    async with seat("tasks", "wait", *ids) as terminal:
        await terminal.shows("0 of 2 have ended")
        terminal.press(CTRL_C)
        assert await terminal.end() == 130

    assert "Traceback" not in terminal.text
    assert {(await door.manager.get(task_id)).task.status for task_id in ids} == {"pending"}


# --- watching ---------------------------------------------------------------------------------------------------------


async def test_a_watched_list_is_drawn_again_in_place_and_no_higher_than_the_terminal(
    door: GrpcDoor, seat: Seat
) -> None:
    first = await door.submit()
    async with seat("tasks", "list", "--watch", height=4) as terminal:
        end = await terminal.shows(first)
        others = [await door.submit() for _ in range(4)]
        await terminal.shows(others[3], after=end)
        terminal.press(CTRL_C)
        assert await terminal.end() == 130

    last = terminal.raw.rpartition("\x1b[H")[2].partition("\x1b[J")[0]
    assert last.count("\r\n") == 3
    assert others[3] in last
    assert first not in last


async def test_a_watched_task_is_drawn_until_it_has_ended(door: GrpcDoor, seat: Seat) -> None:
    async with door.agent() as agent:
        task_id = await door.submit()
        ref = (await agent.take()).ref
        async with seat("tasks", "get", task_id, "--watch", NO_COLOR="1") as terminal:
            end = await terminal.shows("sent")
            agent.start(ref)
            end = await terminal.shows("in_progress", after=end)
            agent.finish(ref)
            assert await terminal.end() == 0
            await terminal.shows("completed", after=end)

    assert "\x1b[32m" not in terminal.raw
