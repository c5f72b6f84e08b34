"""The `shell` type: a command with its environment, directory and input, in a session of its own.

Its output goes to the attempt's spool, so the command never waits for the link. A stop is a signal to the whole
tree, the grace, and a kill. The command belongs to a spawner and outlives this process: the next one takes it up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from nodelink.errors import InvalidTask
from nodelink.task import AttemptRef, Declined, ErrorCategory, Execution, Gone, LogStream, Reason
from nodelink_agent.command import Command, CommandSpec, SpawnerLost, StartFailed
from nodelink_agent.commands import Commands
from nodelink_agent.found import Exited, NeverBegan, Running, Vanished
from nodelink_agent.handlers.registry import Context, Ending, HandlerEntry
from nodelink_agent.handlers.shell_end import ended, failed, not_started
from nodelink_agent.handlers.shell_payload import ShellPayload, read_payload
from nodelink_agent.orphans import clear_orphans
from nodelink_agent.spool import Extent

PASSED_ON = frozenset({"PATH", "HOME", "LANG", "TZ", "TMPDIR", "USER", "LOGNAME", "SHELL"})
"""What a command gets of the agent's own environment, and LC_* with it."""

_NEVER_BEGAN = Declined(message="the agent stopped before the command could be started", just_this=True)
_GONE = Gone(message="the process that held the command died while it ran")


def command_id(ref: AttemptRef) -> str:
    """The name under which a spawner holds an attempt's command."""
    return f"{ref.task_id}/{ref.attempt}/{ref.fence}"


def shell(commands: Commands, *, environment: Mapping[str, str], server: str) -> HandlerEntry:
    """The type's entry. `environment` is the agent's own; `server` is the address that commands are told."""
    handler = ShellHandler(commands, environment, server)
    return HandlerEntry(
        type="shell", execution=Execution.ONCE, run=handler.run, place=commands.spawner_id, resume=handler.resume
    )


class ShellHandler:
    """Runs shell tasks through spawners."""

    def __init__(self, commands: Commands, environment: Mapping[str, str], server: str) -> None:
        self._commands = commands
        self._environment = {k: v for k, v in environment.items() if k in PASSED_ON or k.startswith("LC_")}
        self._server = server

    async def run(self, payload: bytes, context: Context) -> Ending:
        """Run one command to its end. Cancelled: the command is killed if a stop was asked for, else it goes on."""
        try:
            asked = read_payload(payload)
        except InvalidTask as error:
            return failed(Reason.HANDLER_ERROR, ErrorCategory.INVALID_INPUT, error.message)
        return await self.run_command(asked, context)

    async def run_command(self, asked: ShellPayload, context: Context) -> Ending:
        """The same, for a command that has been read."""
        try:
            command = await self._start(asked, context)
        except (StartFailed, OSError) as error:
            return not_started(error, cwd=asked.cwd)
        except SpawnerLost:
            return await self._after_loss(self._commands.spawner_id, context)
        context.started(self._commands.containment)
        self._keep_limits(context)
        return await self._until_end(command, context)

    async def resume(self, place: str, context: Context) -> Ending:
        """Take up the command that an earlier process of the agent gave to the spawner of this name."""
        match self._commands.found(place, command_id(context.ref)):
            case NeverBegan():
                return _NEVER_BEGAN
            case Vanished() as vanished:
                return await self._clear(vanished, context)
            case Running() | Exited():
                command = self._commands.adopt(place, command_id(context.ref), context.output.grown)
                context.started(self._commands.containment)
                return await self._until_end(command, context)

    async def _until_end(self, command: Command, context: Context) -> Ending:
        """Wait for the end, and pass on a stop that is asked for meanwhile."""
        context.outlives(True)
        context.on_stop(command.stop)
        try:
            return ended(await command.wait(), context.stop_reason)
        except asyncio.CancelledError:
            if context.cancelled:
                command.stop(0)
            raise
        except SpawnerLost:
            return await self._after_loss(command.spawner_id, context)

    async def _after_loss(self, spawner_id: str, context: Context) -> Ending:
        """The spawner has died: what its journal says, or nobody knows how the command ended."""
        match self._commands.found(spawner_id, command_id(context.ref)):
            case NeverBegan():
                return _NEVER_BEGAN
            case Exited(end, output):
                _tell_output(output, context)
                return ended(end, context.stop_reason)
            case Vanished() as vanished:
                return await self._clear(vanished, context)
            case Running():  # another agent has taken the spawner over, and tells how it ends
                context.outlives(True)
                never: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
                return await never

    async def _clear(self, vanished: Vanished, context: Context) -> Ending:
        """Nobody will know how it ended. Nothing of it is to be left before that is told."""
        is_exclusive = context.execution is Execution.EXCLUSIVE
        if is_exclusive:
            context.cannot_be_stopped()
        context.outlives(is_exclusive)
        _tell_output(vanished.output, context)
        ref = context.ref
        await clear_orphans(vanished, task_id=ref.task_id, fence=ref.fence, exclusive=is_exclusive)
        return _GONE

    async def _start(self, payload: ShellPayload, context: Context) -> Command:
        output = context.output
        spec = CommandSpec(
            id=command_id(context.ref),
            argv=payload.argv,
            env={**self._environment, **_trace(context), **payload.env, **self._identity(context.ref)},
            cwd=payload.cwd or output.make_work(),
            directory=output.spool,
            stdin=payload.stdin,
            timeout_seconds=_seconds(context.spec.timeout_ms),
            lease_until=context.lease_until,
            heartbeat_seconds=_seconds(context.spec.heartbeat_timeout_ms),
        )
        context.listen()  # what the spawner was told to start may begin, however long its answer takes
        return await self._commands.start(spec, output.grown)

    def _keep_limits(self, context: Context) -> None:
        """Have other limits kept that came before the spawner had the command."""
        if context.limits is not None:
            ref, number, run_until, seconds = context.limits
            self._commands.limit(command_id(ref), number=number, run_until=run_until, heartbeat_seconds=seconds)

    def _identity(self, ref: AttemptRef) -> Mapping[str, str]:
        return {
            "NODELINK_TASK_ID": ref.task_id,
            "NODELINK_ATTEMPT": str(ref.attempt),
            "NODELINK_FENCE": str(ref.fence),
            "NODELINK_SERVER": self._server,
        }


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000


def _trace(context: Context) -> Mapping[str, str]:
    """What lets a command's own spans join the trace. A task's own env goes before it."""
    return {"TRACEPARENT": context.traceparent} if context.traceparent else {}


def _tell_output(output: Mapping[LogStream, Extent], context: Context) -> None:
    for stream, extent in output.items():
        context.output.grown(stream, extent)
