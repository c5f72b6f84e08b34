"""The state of a workspace around a step: fetched before it, and saved behind it, however the step has ended."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import replace
from pathlib import Path

import structlog

from nodelink.errors import FieldError, InvalidTask, NodelinkError
from nodelink.task import AttemptRef, Declined, ErrorCategory, Finished, Gone, Outcome, Reason, TaskError
from nodelink_agent.handlers.registry import Context, Ending
from nodelink_agent.tools.base_state import FETCHED, BaseState, NewState, new_state

_log = structlog.get_logger(__name__)


class BrokenState(NodelinkError):
    """What the tool has left is a part of a state: it was killed as it wrote."""


async def fetch_state(tool: str, directory: Path, context: Context) -> BaseState:
    """The state that a step begins with. InvalidTask: the task has no workspace."""
    workspace = context.spec.workspace
    if not workspace:
        raise InvalidTask(FieldError("workspace", f"must be named: {tool} has its state there"))
    fetched = directory / FETCHED
    state = await context.state.load(fetched)
    if state is None:
        return BaseState(workspace=workspace, fetched=fetched)
    return BaseState(workspace=workspace, fetched=fetched, sha256=state.sha256, etag=state.etag)


async def save_state(ending: Ending, directory: Path, context: Context, *, kept_in: Path) -> Ending:
    """How a step has ended, once the state that it has left is the workspace's.

    A state that the server refuses is kept on this machine, in a directory for such states, and the ending tells where.
    """
    state = None if isinstance(ending, Declined) else await asyncio.to_thread(new_state, directory)
    if state is None:
        return ending
    context.cannot_be_stopped()  # what was changed has to be known, whoever wants to stop what has ended
    context.outlives(True)
    try:
        await _save(state, context)
    except (NodelinkError, OSError) as error:
        place = await asyncio.to_thread(_keep, state.path, kept_in, context.ref)
        _log.error("state_not_saved", task_id=context.ref.task_id, reason=str(error), kept=place)
        return _unsaved(ending, f"the state of the workspace was not saved: {error}; on the agent's machine: {place}")
    return ending


async def _save(state: NewState, context: Context) -> None:
    if not await asyncio.to_thread(lambda: state.is_whole):
        raise BrokenState
    context.state.take_up(state.etag)
    await context.state.save(state.path)


def _keep(state: Path, directory: Path, ref: AttemptRef) -> str:
    """Where it is kept, for people."""
    path = directory / f"{ref.task_id}-{ref.attempt}-{ref.fence}.tfstate"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        shutil.copyfile(state, path)
        with path.open("rb") as file:
            os.fsync(file.fileno())
    except OSError as error:
        return f"nowhere, for it could not be written: {error}"
    return str(path)


def _unsaved(ending: Ending, why: str) -> Ending:
    """The ending with what is to be done by a person, and that no new try begins: it would know nothing of this one."""
    if isinstance(ending, Gone):
        return replace(ending, message=f"{ending.message}; {why}")
    if not isinstance(ending, Finished):
        return ending
    before = f"{ending.error.message}; " if ending.error is not None else ""
    error = TaskError(ErrorCategory.INVALID_INPUT, before + why)
    return replace(ending, outcome=Outcome.FAILED, reason=Reason.HANDLER_ERROR, error=error)
