"""How a `shell` attempt ended, given how its command did, or why there is none.

`cancelled` or `timeout` is said only if the tree was alive when the signal was given and is gone.
"""

from __future__ import annotations

import json
import signal

from nodelink.task import ErrorCategory, Finished, Outcome, Reason, TaskError
from nodelink_agent.command import CommandEnd, StartFailed
from nodelink_agent.limits import silence_message

_TIMEOUTS = frozenset({Reason.RUN_TIMEOUT, Reason.START_TIMEOUT, Reason.HEARTBEAT_TIMEOUT, Reason.TOTAL_TIMEOUT})
_encode = json.JSONEncoder(separators=(",", ":")).encode
_REASONS = {reason.value: reason for reason in Reason}


def ended(end: CommandEnd, stop_reason: Reason | None = None) -> Finished:
    """How the attempt ended. `stop_reason`: of the stop that this agent asked for, if the command knows of none."""
    stop_reason = _REASONS.get(end.stop_reason) or stop_reason
    outcome, reason, error = _stopped(end, stop_reason) if end.signalled_alive else _by_itself(end)
    return Finished(
        outcome=outcome,
        reason=reason,
        exit_code=end.exit_code,
        signal=end.signal,
        output=_encode({"exit_code": end.exit_code, "signal": end.signal}).encode(),
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
    reason = stop_reason or Reason.INFRASTRUCTURE  # nobody asked: the agent or its spawner went
    if not end.tree_gone:
        error = TaskError(ErrorCategory.INFRASTRUCTURE, "the command was told to stop, and some of it is still alive")
        return Outcome.FAILED, Reason.CANCEL_UNCONFIRMED, error
    if reason in _TIMEOUTS:
        return Outcome.TIMEOUT, reason, TaskError(ErrorCategory.TIMEOUT, f"the command was stopped: {_why(end)}")
    return Outcome.CANCELLED, reason, None


def _why(end: CommandEnd) -> str:
    return silence_message(end.silent_seconds) if end.silent_seconds else "its time was up"


def not_started(error: StartFailed | OSError, *, cwd: str | None) -> Finished:
    """The command could not be started: the task's own fault (a program or directory that is not there), or ours."""
    if isinstance(error, OSError):
        message = f"the attempt's directory cannot be made: {error.strerror}"
        return failed(Reason.START_ERROR, ErrorCategory.RESOURCE, message)
    is_tasks_own = error.exit_code is not None or (cwd is not None and repr(cwd) in error.message)
    category = ErrorCategory.EXIT_CODE if is_tasks_own else ErrorCategory.RESOURCE
    return failed(Reason.START_ERROR, category, error.message, exit_code=error.exit_code)


def failed(reason: Reason, category: ErrorCategory, message: str, *, exit_code: int | None = None) -> Finished:
    """The attempt failed without a command that ended."""
    error = TaskError(category, message)
    return Finished(outcome=Outcome.FAILED, reason=reason, exit_code=exit_code, error=error)


def _signal_name(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"
