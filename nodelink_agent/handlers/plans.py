"""The `plan`, `apply` and `plan_and_apply` types: a tool finds out what it would change, and changes exactly that.

The tool runs in a step, which is a command like those of `shell`: it outlives this process. What goes before it (bytes
down) has not begun; what comes behind it (the plan up) is done again by the next process if this one ends meanwhile.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from nodelink.errors import BlobNotFound, InvalidTask, NodelinkError
from nodelink.plan import APPLY, PLAN, PLAN_AND_APPLY, Plan, is_applying
from nodelink.plan_payload import STATEFUL, Archive, PlanPayload, inputs_sha256, read_plan_payload
from nodelink.task import ErrorCategory, Execution, Finished, Outcome, Reason, TaskError
from nodelink_agent.commands import Commands
from nodelink_agent.endings import stopped
from nodelink_agent.handlers.plan_states import fetch_state, save_state
from nodelink_agent.handlers.registry import Context, Ending, HandlerEntry
from nodelink_agent.handlers.shell import ShellHandler
from nodelink_agent.handlers.shell_end import failed
from nodelink_agent.handlers.shell_payload import ShellPayload
from nodelink_agent.tools.base_state import BaseState
from nodelink_agent.tools.order import APPROVED, REFUSED
from nodelink_agent.tools.order import PLAN as PLAN_NAME
from nodelink_agent.tools.plan_file import PlanFile, PlanUnreadable, read_plan_file
from nodelink_agent.tools.preparing import ARCHIVE, prepare
from nodelink_agent.tools.step import EX_REFUSED
from nodelink_agent.tools.table import RUNNERS

ARTIFACT = "plan"
"""The name of a plan among the artifacts of its task."""

_EXECUTIONS = {PLAN: Execution.REPLAYABLE, APPLY: Execution.EXCLUSIVE, PLAN_AND_APPLY: Execution.EXCLUSIVE}
_PACKAGES = Path(__file__).resolve().parents[2]
_BOOT = (
    "import runpy, sys; sys.path.append(sys.argv.pop(1)); "
    "runpy.run_module('nodelink_agent.tools.step', {}, '__main__', alter_sys=True)"
)


class WrongPlan(NodelinkError):
    """The plan is not one that may be applied with what the task was given."""


def plan_handlers(
    commands: Commands, tools: Sequence[str], *, environment: Mapping[str, str], server: str, unsaved: Path
) -> Sequence[HandlerEntry]:
    """The entries of the types; none if the agent was given no tools. `environment` is the agent's own.

    `unsaved`: a directory for states that the server refuses.
    """
    if not tools:
        return ()
    handler = PlanHandler(ShellHandler(commands, environment, server), tools, environment.get("PATH"), unsaved)
    place = commands.spawner_id
    return [
        HandlerEntry(type=type, execution=execution, run=handler.run, place=place, resume=handler.resume)
        for type, execution in _EXECUTIONS.items()
    ]


class PlanHandler:
    """Makes and applies plans, each by one command. `path`: where programs are looked up."""

    def __init__(self, shell: ShellHandler, tools: Sequence[str], path: str | None, unsaved: Path) -> None:
        self._shell = shell
        self._tools = tools
        self._path = path
        self._unsaved = unsaved

    async def run(self, payload: bytes, context: Context) -> Ending:
        """Plan or apply, to the end."""
        try:
            asked = read_plan_payload(payload, type=context.spec.type, tools=self._tools)
            command = await self._prepare(asked, context)
        except (InvalidTask, WrongPlan, BlobNotFound) as error:
            return failed(Reason.HANDLER_ERROR, ErrorCategory.INVALID_INPUT, error.message)
        return await self._told(await self._shell.run_command(command, context), context)

    async def resume(self, place: str, context: Context) -> Ending:
        """Take up the step that an earlier process of the agent gave to a spawner."""
        return await self._told(await self._shell.resume(place, context), context)

    async def _prepare(self, payload: PlanPayload, context: Context) -> ShellPayload:
        """Have everything where the step looks for it. Returns the step's command."""
        runner = RUNNERS[payload.tool]
        program = shutil.which(runner.program, path=self._path)
        if program is None:
            raise WrongPlan(f"{runner.program!r} is not there any more: it is not in the PATH of the agent")
        directory = _directory(context)
        directory.mkdir(mode=0o700, exist_ok=True)
        applies = _applies(context)
        base = await fetch_state(payload.tool, directory, context) if payload.tool in STATEFUL else None
        if applies:
            await _fetch_plan(directory, payload, base, context)
        if isinstance(payload.source, Archive):
            await context.blobs.get(payload.source.sha256, directory / ARCHIVE)
        laying_out = partial(
            prepare,
            directory,
            runner,
            payload,
            program=program,
            inputs=payload.inputs(context.spec.workspace),
            applies=applies,
            base=base,
        )
        files = await asyncio.to_thread(laying_out)
        return ShellPayload(
            argv=step_command(directory),
            env=runner.environment(files),
            cwd=str(files.place),
        )

    async def _told(self, ending: Ending, context: Context) -> Ending:
        """The end of the step as that of the task: with the plan that it has made, or why it refused."""
        directory = _directory(context)
        if not isinstance(ending, Finished):
            return await self._saved(ending, context)
        if ending.reason is Reason.EXIT_CODE and ending.exit_code == EX_REFUSED and (directory / REFUSED).exists():
            why = (directory / REFUSED).read_text(encoding="utf-8")
            ending = replace(ending, reason=Reason.HANDLER_ERROR, error=TaskError(ErrorCategory.HANDLER, why))
        if ending.outcome is not Outcome.COMPLETED or _applies(context):
            return await self._saved(ending, context)
        return await _send_plan(directory / PLAN_NAME, ending, context)

    async def _saved(self, ending: Ending, context: Context) -> Ending:
        """The end of the step, once what it has done to the state of the workspace is saved."""
        if not _applies(context):
            return ending
        return await save_state(ending, _directory(context), context, kept_in=self._unsaved)


def step_command(directory: Path) -> Sequence[str]:
    """What runs the step that is laid out in a directory."""
    return [sys.executable, "-I", "-S", "-c", _BOOT, str(_PACKAGES), str(directory)]


def _directory(context: Context) -> Path:
    return context.output.directory.absolute() / "work"


def _applies(context: Context) -> bool:
    return is_applying(context.spec.type, has_plan=context.plan is not None)


async def _fetch_plan(directory: Path, payload: PlanPayload, base: BaseState | None, context: Context) -> None:
    """Have the plan that is to be applied, and no other. WrongPlan: it was made of something else, or is no plan."""
    sha256 = context.plan.sha256 if context.plan is not None else payload.plan
    path = await context.blobs.get(sha256, directory / APPROVED)
    try:
        plan = read_plan_file(await asyncio.to_thread(path.read_bytes))
    except PlanUnreadable as error:
        raise WrongPlan(f"{sha256} is not applied: {error}") from error
    inputs = payload.inputs(context.spec.workspace)
    changed = sorted(name for name in {*inputs, *plan.inputs} if inputs.get(name) != plan.inputs.get(name))
    if changed:
        raise WrongPlan(f"nothing was applied: changed since the plan: {', '.join(changed)}")
    if context.plan is not None and context.plan.inputs_sha256 != inputs_sha256(inputs):
        raise WrongPlan("nothing was applied: what was approved was made from something else than the plan says")
    if base is not None and base.sha256 != plan.state:
        raise WrongPlan("nothing was applied: the target has changed since the plan: the workspace has another state")


async def _send_plan(path: Path, ending: Finished, context: Context) -> Ending:
    """Give the plan to the server and tell of it. A stop that is asked for meanwhile breaks it off."""
    stored = await asyncio.to_thread(path.read_bytes)
    sending = asyncio.ensure_future(context.blobs.put(path, name=ARTIFACT))
    stop = asyncio.ensure_future(context.stop_asked())
    try:
        await asyncio.wait({sending, stop}, return_when=asyncio.FIRST_COMPLETED)
        if not sending.done():
            return stopped(context.stop_reason or Reason.INFRASTRUCTURE, confirmed=True)
        plan = _plan(read_plan_file(stored), stored, sending.result())
        return replace(ending, plan=plan, plan_artifact=ARTIFACT)
    finally:
        sending.cancel()
        stop.cancel()


def _plan(file: PlanFile, stored: bytes, sha256: str) -> Plan:
    if hashlib.sha256(stored).hexdigest() != sha256:
        raise RuntimeError("the plan has changed while it was sent")
    return Plan(sha256, len(stored), inputs_sha256(file.inputs), file.target, file.summary)
