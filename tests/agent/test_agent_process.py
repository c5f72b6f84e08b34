"""The agent as a process: what it runs, how it stops, and how it refuses to start."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from nodelink.task import (
    Accepted,
    AckDisposition,
    AttemptRef,
    CancelCommand,
    Finished,
    Gone,
    HeldState,
    LogAck,
    LogStream,
    Outcome,
    Reason,
    ResultAck,
    TaskResponse,
    Verdict,
    VerdictAction,
)
from nodelink.wire import HELD_FROM_PB, ref_of
from nodelink_agent.identity import open_identity
from nodelink_agent.records import Format
from tests.support.commands import Gate
from tests.support.fake_server import FakeServer, FakeSession, soon
from tests.support.processes import until

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


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    gate = Gate(tmp_path)
    yield gate
    gate.release()


def is_untouched(directory: Path) -> bool:
    return not list(directory.iterdir())


def flags(server: FakeServer, directory: Path, *more: str) -> tuple[str, ...]:
    return (
        "--server",
        str(server.address),
        "--data-dir",
        str(directory),
        "--log-format",
        "json",
        "--result-reserve",
        "0",
        *more,
    )


def held(session: FakeSession) -> dict[AttemptRef, HeldState]:
    return {ref_of(attempt.ref): HELD_FROM_PB[attempt.state] for attempt in session.hello.held}


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


async def test_a_command_outlives_its_killed_agent_and_the_next_one_tells_its_end(
    server: FakeServer, tmp_path: Path, gate: Gate
) -> None:
    command = f"echo up >> {tmp_path}/runs; echo up; {gate}; echo done; exit 7"
    async with agent_process(*flags(server, tmp_path)) as process:
        before = await server.session()
        await before.welcome()
        await before.give(A, type="shell", payload=json.dumps({"command": command}).encode())
        await before.collect(A, 3)
        process.kill()
        await soon(process.wait())
    async with agent_process(*flags(server, tmp_path)):
        after = await server.session()
        assert (after.hello.agent_id, after.hello.secret) == (before.hello.agent_id, before.hello.secret)
        assert (after.hello.session, after.hello.remembers_since) == (2, 1)
        assert after.hello.instance_id != before.hello.instance_id
        assert held(after) == {A: HeldState.RUNNING}
        await after.welcome(Verdict(A, VerdictAction.KEEP, (LogAck(A, LogStream.STDOUT, 3),)))
        await gate.open()
        finished = await result(after, A)
        assert (finished.exit_code, finished.log_totals) == (7, {LogStream.STDOUT: 8})
        assert await after.collect(A, 5) == b"done\n"
    assert (tmp_path / "runs").read_text() == "up\n"


async def test_a_result_that_was_not_delivered_is_delivered_by_the_next_process(
    server: FakeServer, tmp_path: Path
) -> None:
    async with agent_process(*flags(server, tmp_path)) as process:
        session = await server.session()
        await session.welcome()
        await session.give(A, type="shell", payload=b'{"command": "echo hello; exit 7"}')
        told = await result(session, A)
        process.kill()
        await soon(process.wait())
    async with agent_process(*flags(server, tmp_path)) as process:
        session = await server.session()
        assert held(session) == {A: HeldState.ENDED}
        await session.welcome(Verdict(A, VerdictAction.KEEP))
        assert await result(session, A) == told
        assert await session.collect(A, 6) == b"hello\n"
        await session.ack(ResultAck(A, AckDisposition.DUPLICATE))
        await session.ack_logs(LogAck(A, LogStream.STDOUT, 6))
        process.send_signal(signal.SIGTERM)
        assert (await soon(session.goodbyes.get())).idle
        await soon(process.wait())
    assert list((tmp_path / "agent" / "attempts").iterdir()) == []
    async with agent_process(*flags(server, tmp_path)):
        assert held(await server.session()) == {}


async def test_what_was_accepted_and_not_granted_is_not_known_after_a_kill(server: FakeServer, tmp_path: Path) -> None:
    async with agent_process(*flags(server, tmp_path)) as process:
        session = await server.session()
        await session.welcome()
        await session.give(A, type="shell", payload=b'{"command": "true"}', granted=False)
        assert isinstance((await session.response()).update, Accepted)
        process.kill()
        await soon(process.wait())
    async with agent_process(*flags(server, tmp_path)):
        hello = (await server.session()).hello
        assert (len(hello.held), hello.remembers_since) == (0, 1)


async def test_a_stopping_agent_leaves_what_runs_to_the_next(server: FakeServer, tmp_path: Path, gate: Gate) -> None:
    command = json.dumps({"command": f"echo up; {gate}; exit 7"}).encode()
    async with agent_process(*flags(server, tmp_path)) as process:
        session = await server.session()
        await session.welcome()
        await session.give(A, type="shell", payload=command)
        await session.collect(A, 3)
        process.send_signal(signal.SIGTERM)
        assert not (await soon(session.goodbyes.get())).idle
        assert await soon(process.wait()) == 0
    async with agent_process(*flags(server, tmp_path)):
        session = await server.session()
        assert held(session) == {A: HeldState.RUNNING}
        await session.welcome(Verdict(A, VerdictAction.KEEP))
        await gate.open()
        assert (await result(session, A)).exit_code == 7


async def test_what_still_runs_after_the_grace_is_stopped_if_so_set(server: FakeServer, tmp_path: Path) -> None:
    grace = ("--shutdown-grace", "0s", "--on-stop", "stop")
    async with agent_process(*flags(server, tmp_path, *grace)) as process:
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
    async with agent_process(*flags(server, tmp_path, "--on-stop", "stop")) as process:
        session = await server.session()
        await session.welcome()
        await session.give(A, type="shell", payload=b'{"command": "echo up; sleep 600"}')
        await session.collect(A, 3)
        process.send_signal(signal.SIGTERM)
        while not (await soon(session.heartbeats.get())).draining:
            pass
        process.send_signal(signal.SIGTERM)
        assert await soon(process.wait()) == 0


async def test_an_agent_whose_spawner_dies_tells_what_is_gone_and_fails(server: FakeServer, tmp_path: Path) -> None:
    async with agent_process(*flags(server, tmp_path)) as process:
        session = await server.session()
        await session.welcome()
        await session.give(A, type="shell", payload=b'{"command": "echo $PPID; exec sleep 600"}')
        chunk = await soon(session.chunks.get())
        os.kill(int(chunk.data), signal.SIGKILL)
        while not isinstance(update := (await session.response()).update, Gone):
            pass
        assert not update.agent_died
        await session.ack(ResultAck(A, AckDisposition.COMMITTED))
        said, complained = await soon(process.communicate())
        assert process.returncode == 70
    last = json.loads((said + complained).splitlines()[-1])
    assert (last["event"], last["level"]) == ("agent_failed", "error")
    assert "the process that starts commands has died" in last["reason"]
    assert b"Traceback" not in said + complained


async def test_a_stop_while_it_is_being_loaded_is_heard(server: FakeServer, tmp_path: Path) -> None:
    async with agent_process(*flags(server, tmp_path)) as process:
        await until(lambda: (tmp_path / "agent" / "spawners").exists() or None, "its spawner's place")
        process.send_signal(signal.SIGTERM)
        assert await soon(process.wait()) == 0


async def test_a_journal_of_another_version_is_refused(server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "journal").write_bytes(Format(b"JNL", 99).header)
    code, words = await refusal(*flags(server, tmp_path))
    assert code == 78
    assert "the journal is not of a version" in words


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
