"""The `shell` type from its payload to how the attempt ended, with real commands."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nodelink.task import (
    ErrorCategory,
    LogStream,
    Outcome,
    Reason,
)
from nodelink_agent.boottime import boottime
from nodelink_agent.command import CommandEnd, StartFailed
from nodelink_agent.core.work import NewLimits
from nodelink_agent.handlers.shell import shell
from nodelink_agent.handlers.shell_end import ended, not_started
from tests.support.commands import PATIENCE, Shop, alive, exited, handle, open_shop
from tests.support.shell_attempt import Attempt

SERVER = "127.0.0.1:50051"
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/srv/of-the-agent",
    "LC_TIME": "C",
    "NODELINK_POOL_TOKEN": "secret",
    "GRPC_VERBOSITY": "ERROR",
    "SSH_AUTH_SOCK": "/secret",
    "TRACEPARENT": "of the agent",
}
OUT = LogStream.STDOUT
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with open_shop(tmp_path) as shop:
        yield shop


@pytest.fixture
async def attempt(shop: Shop, tmp_path: Path) -> Attempt:
    return Attempt(shell(shop.commands, environment=ENVIRONMENT, server=SERVER), tmp_path / "attempts")


async def test_exit_code_zero_is_completed(attempt: Attempt) -> None:
    finished = await attempt.run(command="echo out; echo err >&2")
    assert (finished.outcome, finished.reason, finished.exit_code) == (Outcome.COMPLETED, Reason.NONE, 0)
    assert json.loads(finished.output) == {"exit_code": 0, "signal": None}
    assert (attempt.text(), attempt.text(LogStream.STDERR)) == (b"out\n", b"err\n")
    assert attempt.containment == "subreaper"


async def test_another_exit_code_is_failed(attempt: Attempt) -> None:
    finished = await attempt.run(command=["sh", "-c", "exit 7"])
    assert (finished.outcome, finished.reason, finished.exit_code) == (Outcome.FAILED, Reason.EXIT_CODE, 7)
    assert finished.error is not None
    assert finished.error.category is ErrorCategory.EXIT_CODE
    assert finished.error.message == "the command exited with code 7"


async def test_a_signal_is_failed_with_its_number(attempt: Attempt) -> None:
    finished = await attempt.run(command="kill -SEGV $$")
    assert (finished.outcome, finished.reason) == (Outcome.FAILED, Reason.SIGNAL)
    assert (finished.exit_code, finished.signal) == (139, 11)
    assert finished.error is not None
    assert finished.error.message == "the command was killed by signal 11 (SIGSEGV)"


@pytest.mark.parametrize("command,exit_code", [(["no-such-command"], 127), (["/etc/passwd"], 126)])
async def test_what_cannot_start_is_a_start_error(attempt: Attempt, command: list[str], exit_code: int) -> None:
    finished = await attempt.run(command=command)
    assert (finished.outcome, finished.reason) == (Outcome.FAILED, Reason.START_ERROR)
    assert finished.error is not None
    assert finished.error.category is ErrorCategory.EXIT_CODE
    assert finished.exit_code == exit_code
    assert attempt.containment is None


async def test_a_directory_that_does_not_exist_is_a_start_error_that_names_it(attempt: Attempt) -> None:
    finished = await attempt.run(command="true", cwd="/no/such/place")
    assert (finished.reason, finished.exit_code) == (Reason.START_ERROR, None)
    assert finished.error is not None
    assert "/no/such/place" in finished.error.message
    assert finished.error.category is ErrorCategory.EXIT_CODE


def test_a_start_that_fails_for_want_of_something_of_the_agents_is_not_the_commands_fault() -> None:
    finished = not_started(StartFailed("too many commands at once: no more files may be open", None), cwd="/srv")
    assert finished.error is not None
    assert (finished.reason, finished.error.category) == (Reason.START_ERROR, ErrorCategory.RESOURCE)


async def test_a_wrong_payload_is_invalid_input(attempt: Attempt, tmp_path: Path) -> None:
    finished = await attempt.run(command="true", env={"NODELINK_SERVER": "elsewhere"})
    assert finished.outcome is Outcome.FAILED
    assert finished.error is not None
    assert finished.error.category is ErrorCategory.INVALID_INPUT
    assert finished.error.message.startswith("env.NODELINK_SERVER: ")
    assert not (tmp_path / "attempts").exists()


async def test_a_command_is_given_the_trace_of_its_attempt(attempt: Attempt) -> None:
    attempt.context.traceparent = TRACEPARENT
    await attempt.run(command=["printenv", "TRACEPARENT"])
    assert attempt.text().decode() == TRACEPARENT + "\n"


async def test_a_trace_that_a_task_brings_in_its_own_environment_goes_before(attempt: Attempt) -> None:
    attempt.context.traceparent = TRACEPARENT
    await attempt.run(command=["printenv", "TRACEPARENT"], env={"TRACEPARENT": "mine"})
    assert attempt.text() == b"mine\n"


async def test_a_command_whose_task_has_no_trace_is_given_none(attempt: Attempt) -> None:
    await attempt.run(command="env")
    assert b"TRACEPARENT" not in attempt.text()


async def test_the_environment_holds_what_is_allowed_and_who_it_is(attempt: Attempt) -> None:
    await attempt.run(command=["env"], env={"HOME": "/mine", "GRPC_TRACE": "all"})
    assert dict(line.split("=", 1) for line in attempt.text().decode().splitlines()) == {
        "PATH": ENVIRONMENT["PATH"],
        "LC_TIME": "C",
        "HOME": "/mine",
        "GRPC_TRACE": "all",
        "NODELINK_TASK_ID": attempt.task_id,
        "NODELINK_ATTEMPT": "2",
        "NODELINK_FENCE": "33",
        "NODELINK_SERVER": SERVER,
    }


async def test_the_default_directory_is_private_and_empty(attempt: Attempt) -> None:
    finished = await attempt.run(command="pwd; stat -c %a .; ls -A")
    assert finished.outcome is Outcome.COMPLETED
    assert attempt.text().decode().splitlines() == [str(attempt.context.output.make_work()), "700"]


async def test_directory_and_input_are_taken_from_the_payload(attempt: Attempt, tmp_path: Path) -> None:
    await attempt.run(command="pwd; cat", cwd=str(tmp_path), stdin="grün")
    assert attempt.text().decode() == f"{tmp_path}\ngrün"


@pytest.mark.parametrize(
    "reason,outcome",
    [
        (Reason.CANCELLED_BY_CALLER, Outcome.CANCELLED),
        (Reason.SUPERSEDED, Outcome.CANCELLED),
        (Reason.DRAINED, Outcome.CANCELLED),
        (Reason.RUN_TIMEOUT, Outcome.TIMEOUT),
        (Reason.TOTAL_TIMEOUT, Outcome.TIMEOUT),
    ],
)
async def test_a_stop_that_is_confirmed_is_told_by_its_reason(
    attempt: Attempt, reason: Reason, outcome: Outcome
) -> None:
    run = asyncio.create_task(attempt.run(command="echo $$; exec sleep 1000"))
    pid = int(await attempt.first_line())
    attempt.context.ask_stop(reason, PATIENCE)
    finished = await run
    assert (finished.outcome, finished.reason, finished.tree_gone) == (outcome, reason, True)
    assert (finished.exit_code, finished.signal) == (143, signal.SIGTERM)
    assert not alive(pid)


async def test_a_command_that_exits_zero_when_told_to_stop_is_cancelled_all_the_same(attempt: Attempt) -> None:
    run = asyncio.create_task(attempt.run(command="trap 'exit 0' TERM; echo up; while :; do sleep 0.01; done"))
    await attempt.first_line()
    attempt.context.ask_stop(Reason.CANCELLED_BY_CALLER, PATIENCE)
    finished = await run
    assert (finished.outcome, finished.exit_code) == (Outcome.CANCELLED, 0)


async def test_a_command_that_prints_nothing_for_too_long_has_timed_out(shop: Shop, tmp_path: Path) -> None:
    entry = shell(shop.commands, environment=ENVIRONMENT, server=SERVER)
    finished = await Attempt(entry, tmp_path / "attempts", heartbeat_timeout_ms=50).run(command="exec sleep 1000")
    assert (finished.outcome, finished.reason) == (Outcome.TIMEOUT, Reason.HEARTBEAT_TIMEOUT)
    assert finished.error is not None
    assert finished.error.category is ErrorCategory.TIMEOUT
    assert finished.error.message == "the command was stopped: no sign of life came for 0.05 s"


async def test_limits_that_came_before_the_command_had_begun_are_kept(attempt: Attempt) -> None:
    attempt.context.limited(NewLimits(attempt.context.ref, 3, run_until=boottime()))
    finished = await attempt.run(command="exec sleep 1000")
    assert (finished.outcome, finished.reason) == (Outcome.TIMEOUT, Reason.RUN_TIMEOUT)


async def test_a_stop_after_the_end_leaves_the_result_as_it_was(attempt: Attempt) -> None:
    finished = await attempt.run(command="exit 3")
    attempt.context.ask_stop(Reason.CANCELLED_BY_CALLER, 0)
    assert (finished.outcome, finished.reason) == (Outcome.FAILED, Reason.EXIT_CODE)


async def test_a_stop_that_is_not_confirmed_is_no_cancel() -> None:
    end = CommandEnd(
        exit_code=None,
        signal=None,
        cpu_seconds=0,
        max_rss_bytes=0,
        signalled_alive=True,
        tree_gone=False,
        leftovers=1,
    )
    finished = ended(end, Reason.CANCELLED_BY_CALLER)
    assert (finished.outcome, finished.reason) == (Outcome.FAILED, Reason.CANCEL_UNCONFIRMED)
    assert not finished.tree_gone


async def test_a_handler_that_is_broken_off_after_a_stop_kills_its_command(attempt: Attempt) -> None:
    run = asyncio.create_task(attempt.run(command="trap '' TERM; echo $$; while :; do sleep 1; done"))
    pid = int(await attempt.first_line())
    attempt.context.ask_stop(Reason.CANCELLED_BY_CALLER, 3_600)
    with handle(pid) as descriptor:
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        await exited(descriptor)


async def test_a_stop_while_the_spawner_stands_still_is_told_when_it_is_true(attempt: Attempt, shop: Shop) -> None:
    """It was told to start the command, and will, whatever is asked for meanwhile."""
    os.kill(shop.spawner_pid, signal.SIGSTOP)
    try:
        run = asyncio.create_task(attempt.run(command="echo begun; exec sleep 1000"))
        async with asyncio.timeout(PATIENCE):
            while not attempt.context.listens:  # noqa: ASYNC110 - nobody tells when a handler begins to listen
                await asyncio.sleep(0)
        attempt.context.ask_stop(Reason.CANCELLED_BY_CALLER, PATIENCE)
        await asyncio.sleep(0)
        assert not run.done()
    finally:
        os.kill(shop.spawner_pid, signal.SIGCONT)
    finished = await run
    assert (finished.outcome, finished.signal, finished.tree_gone) == (Outcome.CANCELLED, signal.SIGTERM, True)


async def test_a_place_that_cannot_be_written_is_a_start_error(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    entry = shell(shop.commands, environment=ENVIRONMENT, server=SERVER)
    finished = await Attempt(entry, tmp_path / "file").run(command="true")
    assert finished.reason is Reason.START_ERROR
    assert finished.error is not None
    assert finished.error.category is ErrorCategory.RESOURCE
