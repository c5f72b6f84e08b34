"""The agent as a process: what it runs, how it stops, and how it refuses to start."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from nodelink.task import (
    AckDisposition,
    AttemptRef,
    CancelCommand,
    Finished,
    LogAck,
    LogStream,
    Outcome,
    Reason,
    ResultAck,
    TaskResponse,
)
from nodelink_agent.identity import open_identity
from tests.support.fake_server import FakeServer, FakeSession, soon

A = AttemptRef("a", 1, 10)
B = AttemptRef("b", 1, 11)


@asynccontextmanager
async def agent_process(*flags: str, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A real agent, killed in the end if it has not stopped."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "nodelink_agent",
        *flags,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def refusal(*flags: str, **environment: str) -> tuple[int | None, str]:
    """The exit code and the words of an agent that does not start."""
    async with agent_process(*flags, **environment) as process:
        _, words = await soon(process.communicate())
    return process.returncode, words.decode()


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with FakeServer().running() as running:
        yield running


def is_untouched(directory: Path) -> bool:
    return not list(directory.iterdir())


def flags(server: FakeServer, directory: Path, *more: str) -> tuple[str, ...]:
    return ("--server", str(server.address), "--data-dir", str(directory), "--log-format", "json", *more)


async def result(session: FakeSession, ref: AttemptRef) -> Finished:
    while True:
        response: TaskResponse = await session.response()
        if response.ref == ref and isinstance(response.update, Finished):
            return response.update


async def test_a_command_is_run_its_output_streamed_and_the_agent_leaves_idle(
    server: FakeServer, tmp_path: Path
) -> None:
    async with agent_process(*flags(server, tmp_path, "--slots", "2", "--name", "first")) as process:
        session = await server.session()
        assert (session.hello.name, session.hello.slots) == ("first", 2)
        assert {handler.type for handler in session.hello.handlers} == {"echo", "shell"}
        await session.welcome()
        assert await soon(session.credits.get()) == 2
        await session.give(A, type="shell", payload=json.dumps({"command": "echo hello; exit 7"}).encode())
        finished = await result(session, A)
        assert (finished.outcome, finished.exit_code) == (Outcome.FAILED, 7)
        assert finished.log_totals == {LogStream.STDOUT: 6}
        assert await session.collect(A, 6) == b"hello\n"
        await session.ack(ResultAck(A, AckDisposition.COMMITTED))
        await session.ack_logs(LogAck(A, LogStream.STDOUT, 6))
        process.send_signal(signal.SIGTERM)
        assert (await soon(session.goodbyes.get())).idle
        assert await soon(process.wait()) == 0


async def test_a_cancelled_command_is_confirmed(server: FakeServer, tmp_path: Path) -> None:
    async with agent_process(*flags(server, tmp_path)):
        session = await server.session()
        await session.welcome()
        await session.give(A, type="shell", payload=json.dumps({"command": "echo up; sleep 600"}).encode())
        await session.collect(A, 3)
        await session.cancel(CancelCommand(A, 5_000))
        finished = await result(session, A)
    assert (finished.outcome, finished.reason, finished.tree_gone) == (
        Outcome.CANCELLED,
        Reason.CANCELLED_BY_CALLER,
        True,
    )


async def test_a_killed_and_restarted_agent_keeps_its_name_and_knows_nothing_of_before(
    server: FakeServer, tmp_path: Path
) -> None:
    async with agent_process(*flags(server, tmp_path)) as process:
        before = await server.session()
        await before.welcome()
        await before.give(A, type="shell", payload=b'{"command": "sleep 600"}')
        await before.response()
        process.kill()
        await soon(process.wait())
    async with agent_process(*flags(server, tmp_path)):
        after = await server.session()
    assert (after.hello.agent_id, after.hello.secret) == (before.hello.agent_id, before.hello.secret)
    assert after.hello.session > before.hello.session
    assert after.hello.remembers_since == after.hello.session
    assert not after.hello.held


async def test_what_still_runs_after_the_grace_is_stopped(server: FakeServer, tmp_path: Path) -> None:
    async with agent_process(*flags(server, tmp_path, "--shutdown-grace", "0s")) as process:
        session = await server.session()
        await session.welcome()
        await session.give(A, type="shell", payload=b'{"command": "echo up; sleep 600"}')
        await session.collect(A, 3)
        process.send_signal(signal.SIGTERM)
        finished = await result(session, A)
        assert (finished.outcome, finished.reason) == (Outcome.FAILED, Reason.INFRASTRUCTURE)
        await session.ack(ResultAck(A, AckDisposition.COMMITTED))
        await session.ack_logs(LogAck(A, LogStream.STDOUT, 3))
        assert await soon(process.wait()) == 0


async def test_a_second_signal_ends_the_drain(server: FakeServer, tmp_path: Path) -> None:
    async with agent_process(*flags(server, tmp_path)) as process:
        session = await server.session()
        await session.welcome()
        await session.give(A, type="shell", payload=b'{"command": "echo up; sleep 600"}')
        await session.collect(A, 3)
        process.send_signal(signal.SIGTERM)
        while not (await soon(session.heartbeats.get())).draining:
            pass
        process.send_signal(signal.SIGTERM)
        assert await soon(process.wait()) == 0


async def test_a_server_beyond_loopback_is_refused_unless_accepted(tmp_path: Path) -> None:
    code, words = await refusal("--server", "10.0.0.1:50051", "--data-dir", str(tmp_path))
    assert code == 78
    assert "--insecure-i-accept-remote-code-execution" in words
    assert is_untouched(tmp_path)


async def test_a_wrong_setting_is_refused_with_its_source() -> None:
    code, words = await refusal(NODELINK_SLOTS="0")
    assert (code, words) == (
        78,
        "nodelink-agent: setting slots (from NODELINK_SLOTS): '0' is not a whole number from 1 to 4096\n",
    )


async def test_a_directory_in_use_is_refused(server: FakeServer, tmp_path: Path) -> None:
    with open_identity(tmp_path / "agent"):
        code, words = await refusal(*flags(server, tmp_path))
    assert code == 75
    assert "another agent uses the directory" in words


async def test_a_damaged_identity_is_refused(server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "identity.json").write_text("{")
    code, words = await refusal(*flags(server, tmp_path))
    assert code == 78
    assert "is damaged" in words
