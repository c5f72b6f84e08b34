"""The examples run, as a reader would run them."""

from __future__ import annotations

import asyncio
import sys

from tests.support.processes import ROOT, House


async def run(house: House, example: str, *arguments: str, given: bytes = b"") -> tuple[int | None, str]:
    """Run one example against the server. Returns its exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(ROOT / "examples" / example), house.server.grpc, *arguments),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        printed, _ = await process.communicate(given)
    return process.returncode, printed.decode()


async def test_the_example_that_follows_a_command_shows_its_output_and_exits_with_its_code(house: House) -> None:
    assert await run(house, "follow_a_command.py", "sh", "-c", "echo here; exit 4") == (4, "here\n")


async def test_the_example_of_many_tasks_waits_for_each_of_them(house: House) -> None:
    assert await run(house, "many_at_once.py", "60") == (0, "60 of 60 completed\n")


async def test_the_example_that_maps_over_its_input_prints_in_order(house: House) -> None:
    lines = "".join(f"line {number}\n" for number in range(40))

    assert await run(house, "map_over_inputs.py", "cat", given=lines.encode()) == (0, lines)


async def test_the_example_that_runs_one_at_a_time_exits_with_the_code_of_its_command(house: House) -> None:
    command = ("sh", "-c", "echo deployed; exit 3")

    assert await run(house, "one_at_a_time.py", "deploy eu-1", *command) == (3, "deployed\n")
