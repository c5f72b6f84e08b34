"""The `shell` type: a command with its environment, directory and input, in a session of its own.

Its output goes to the attempt's spool, so the command never waits for the link. A stop is a signal to the whole
tree, the grace, and a kill; `cancelled` or `timeout` is said only if the tree was alive when the signal was given and
is gone.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Mapping

from nodelink.errors import InvalidTask
from nodelink.task import AttemptRef, ErrorCategory, Execution, Finished, Outcome, Reason, TaskError
from nodelink_agent.command import Command, CommandEnd, CommandSpec, SpawnerLost, StartFailed
from nodelink_agent.commands import Commands
from nodelink_agent.handlers.registry import Context, HandlerEntry
from nodelink_agent.handlers.shell_payload import ShellPayload, read_payload

PASSED_ON = frozenset({"PATH", "HOME", "LANG", "TZ", "TMPDIR", "USER", "LOGNAME", "SHELL"})
"""What a command gets of the agent's own environment, and LC_* with it."""

_TIMEOUTS = frozenset({Reason.RUN_TIMEOUT, Reason.START_TIMEOUT, Reason.HEARTBEAT_TIMEOUT, Reason.TOTAL_TIMEOUT})


def shell(commands: Commands, *, environment: Mapping[str, str], server: str) -> HandlerEntry:
    """The type's entry. `environment` is the agent's own; `server` is the address that commands are told."""
    return HandlerEntry(type="shell", execution=Execution.ONCE, run=ShellHandler(commands, environment, server).run)


class ShellHandler:
    """Runs shell tasks through the spawner."""

    def __init__(self, commands: Commands, environment: Mapping[str, str], server: str) -> None:
        self._commands = commands
        self._environment = {k: v for k, v in environment.items() if k in PASSED_ON or k.startswith("LC_")}
        self._server = server

    async def run(self, payload: bytes, context: Context) -> Finished:
        """Run one command to its end. Cancelled: the command is killed."""
        try:
            command = await self._start(read_payload(payload), context)
        except InvalidTask as error:
            return _failed(Reason.HANDLER_ERROR, ErrorCategory.INVALID_INPUT, error.message)
        except StartFailed as error:
            return _failed(Reason.START_ERROR, ErrorCategory.EXIT_CODE, error.message, exit_code=error.exit_code)
        except OSError as error:
            message = f"the attempt's directory cannot be made: {error.strerror}"
            return _failed(Reason.START_ERROR, ErrorCategory.RESOURCE, message)
        except SpawnerLost as error:
            return _lost(error)
        context.started(self._commands.containment)
        return await _until_end(command, context)

    async def _start(self, payload: ShellPayload, context: Context) -> Command:
        work = context.output.directory.absolute() / "work"
        work.mkdir(mode=0o700, exist_ok=True)
        spec = CommandSpec(
            id=f"{context.ref.task_id}/{context.ref.attempt}/{context.ref.fence}",
            argv=payload.argv,
            env={**self._environment, **_trace(context), **payload.env, **self._identity(context.ref)},
            cwd=payload.cwd or str(work),
            directory=context.output.directory,
            stdin=payload.stdin,
        )
        return await self._commands.start(spec, context.output.grown)

    def _identity(self, ref: AttemptRef) -> Mapping[str, str]:
        return {
            "NODELINK_TASK_ID": ref.task_id,
            "NODELINK_ATTEMPT": str(ref.attempt),
            "NODELINK_FENCE": str(ref.fence),
            "NODELINK_SERVER": self._server,
        }


def _trace(context: Context) -> Mapping[str, str]:
    """What lets a command's own spans join the trace. A task's own env goes before it."""
    return {"TRACEPARENT": context.traceparent} if context.traceparent else {}


async def _until_end(command: Command, context: Context) -> Finished:
    """Wait for the end, and pass on a stop that is asked for meanwhile."""
    async with asyncio.TaskGroup() as group:
        stopper = group.create_task(_stop_when_asked(command, context))
        try:
            return ended(await command.wait(), context.stop_reason)
        except SpawnerLost as error:
            return _lost(error)
        except asyncio.CancelledError:
            command.stop(0)
            raise
        finally:
            stopper.cancel()


async def _stop_when_asked(command: Command, context: Context) -> None:
    await context.stop_asked()
    command.stop(context.grace_seconds)


def ended(end: CommandEnd, stop_reason: Reason | None) -> Finished:
    """How the attempt ended, given how its command did."""
    outcome, reason, error = _stopped(end, stop_reason) if end.signalled_alive else _by_itself(end)
    return Finished(
        outcome=outcome,
        reason=reason,
        exit_code=end.exit_code,
        signal=end.signal,
        output=json.dumps({"exit_code": end.exit_code, "signal": end.signal}, separators=(",", ":")).encode(),
        error=error,
        cpu_seconds=end.cpu_seconds,
        max_rss_bytes=end.max_rss_bytes,
        tree_gone=end.tree_gone,
    )


def _by_itself(end: CommandEnd) -> tuple[Outcome, Reason, TaskError | None]:
    if end.exit_code == 0:
        return Outcome.COMPLETED, Reason.NONE, None
    if end.signal is not None:
        error = TaskError(ErrorCategory.SIGNAL, f"the command was killed by {_signal_name(end.signal)}")
        return Outcome.FAILED, Reason.SIGNAL, error
    error = TaskError(ErrorCategory.EXIT_CODE, f"the command exited with code {end.exit_code}")
    return Outcome.FAILED, Reason.EXIT_CODE, error


def _stopped(end: CommandEnd, stop_reason: Reason | None) -> tuple[Outcome, Reason, TaskError | None]:
    reason = stop_reason or Reason.CANCELLED_BY_CALLER
    if not end.tree_gone:
        error = TaskError(ErrorCategory.INFRASTRUCTURE, "the command was told to stop, and some of it is still alive")
        return Outcome.FAILED, Reason.CANCEL_UNCONFIRMED, error
    if reason in _TIMEOUTS:
        return Outcome.TIMEOUT, reason, TaskError(ErrorCategory.TIMEOUT, "the command was stopped: its time was up")
    return Outcome.CANCELLED, reason, None


def _lost(error: SpawnerLost) -> Finished:
    """Nobody can tell what the command does, or whether it began."""
    why = TaskError(ErrorCategory.INFRASTRUCTURE, error.message)
    return Finished(outcome=Outcome.FAILED, reason=Reason.INFRASTRUCTURE, error=why, tree_gone=False)


def _failed(reason: Reason, category: ErrorCategory, message: str, *, exit_code: int | None = None) -> Finished:
    error = TaskError(category, message)
    return Finished(outcome=Outcome.FAILED, reason=reason, exit_code=exit_code, error=error)


def _signal_name(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"
