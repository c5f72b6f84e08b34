"""The status file: true while the agent's loop turns, and old when it does not."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from nodelink_agent.probe import main
from nodelink_agent.status import FILE_NAME, FRESH_SECONDS, forget_status, status_problem, tell_status
from tests.support.processes import until


class Switch:
    """A link that is there or not."""

    def __init__(self) -> None:
        self.linked = False


@asynccontextmanager
async def told(directory: Path, switch: Switch) -> AsyncIterator[None]:
    """The status told in a directory."""
    telling = asyncio.create_task(tell_status(directory, server="server:1", is_linked=lambda: switch.linked))
    try:
        yield
    finally:
        telling.cancel()
        await asyncio.wait({telling})


def problem(directory: Path, *, later: float = 0.0) -> str:
    return status_problem(directory, now=time.time() + later)


async def test_the_status_follows_the_link(tmp_path: Path) -> None:
    switch = Switch()
    async with told(tmp_path, switch):
        await until(lambda: (tmp_path / FILE_NAME).exists() or None, "a status")
        assert problem(tmp_path) == "the agent is not linked to the server server:1"
        switch.linked = True
        await until(lambda: not problem(tmp_path) or None, "linked")
        switch.linked = False
        await until(lambda: problem(tmp_path) or None, "not linked")


async def test_a_status_that_is_not_written_any_more_counts_for_nothing(tmp_path: Path) -> None:
    switch = Switch()
    switch.linked = True
    async with told(tmp_path, switch):
        await until(lambda: (tmp_path / FILE_NAME).exists() or None, "a status")
    assert not problem(tmp_path, later=FRESH_SECONDS - 5)
    assert "has died or stands still" in problem(tmp_path, later=FRESH_SECONDS + 5)


async def test_a_directory_that_cannot_be_written_to_ends_nothing(tmp_path: Path) -> None:
    switch = Switch()
    async with told(tmp_path / "later", switch):
        assert problem(tmp_path / "later") == f"no agent runs on {tmp_path / 'later'}"
        (tmp_path / "later").mkdir()
        await until(lambda: (tmp_path / "later" / FILE_NAME).exists() or None, "a status")


@pytest.mark.parametrize("content", ["", "[]", "{}", "null", '{"linked": true}', "\xff"])
def test_a_damaged_status_is_a_problem(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE_NAME).write_text(content, encoding="latin-1")
    assert "cannot be read" in problem(tmp_path)


def test_an_agent_that_has_stopped_leaves_no_status(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text(json.dumps({"linked": True, "server": "server:1"}))
    assert not problem(tmp_path)
    forget_status(tmp_path)
    forget_status(tmp_path)
    assert problem(tmp_path) == f"no agent runs on {tmp_path}"


@pytest.mark.parametrize("linked,code", [(True, 0), (False, 1)])
def test_the_probe_ends_with_the_code_of_what_it_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], linked: bool, code: int
) -> None:
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / FILE_NAME).write_text(json.dumps({"linked": linked, "server": "server:1"}))
    os.utime(tmp_path / "agent" / FILE_NAME)
    assert main(["--data-dir", str(tmp_path)]) == code
    assert bool(capsys.readouterr().err) == (not linked)


def test_the_probe_refuses_a_setting_that_is_not_right(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--slots", "none"]) == 78
    assert "slots" in capsys.readouterr().err


async def test_a_status_from_the_future_counts_for_nothing_since_the_clock_was_set_back(tmp_path: Path) -> None:
    switch = Switch()
    switch.linked = True
    async with told(tmp_path, switch):
        await until(lambda: (tmp_path / FILE_NAME).exists() or None, "a status")
    assert "has died or stands still" in problem(tmp_path, later=-3_600)
