"""How an attempt's end is told when the handler itself could not tell it, or told too much."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from nodelink.task import ErrorCategory, Finished, Gone, Outcome, Reason, TaskError
from nodelink_agent.limits import silence_message

MAX_OUTPUT_BYTES = 256 * 1024
MAX_MESSAGE_LENGTH = 4_000
LONGEST_RETRY_AFTER = 24 * 3600.0
"""Seconds: no error asks for a longer wait before another try."""
_TIMEOUTS = frozenset(
    {Reason.RUN_TIMEOUT, Reason.START_TIMEOUT, Reason.TOTAL_TIMEOUT, Reason.HEARTBEAT_TIMEOUT, Reason.QUEUE_TIMEOUT}
)
_AGENT_LEFT = TaskError(ErrorCategory.INFRASTRUCTURE, "the agent was stopped while the task ran")


def handler_failed(error: BaseException) -> Finished:
    """The handler raised. The server gets the message; the traceback stays in the agent's log."""
    message = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    failed = _failed(Reason.HANDLER_ERROR, ErrorCategory.HANDLER, message)
    return replace(failed, retry_after_ms=_retry_after_ms(error))


def stopped(reason: Reason, *, confirmed: bool) -> Finished:
    """The handler was broken off. Not confirmed: it had begun something of its own that may be left."""
    if not confirmed:
        unconfirmed = _failed(Reason.CANCEL_UNCONFIRMED, ErrorCategory.INTERNAL, "the handler did not end when stopped")
        return replace(unconfirmed, tree_gone=False)
    if reason is Reason.INFRASTRUCTURE:
        return Finished(outcome=Outcome.FAILED, reason=reason, error=_AGENT_LEFT)
    return Finished(outcome=Outcome.TIMEOUT if reason in _TIMEOUTS else Outcome.CANCELLED, reason=reason)


def died() -> Gone:
    """The work was done in a process of the agent that is no more."""
    return Gone(message="the agent's process ended while the task ran in it", agent_died=True)


def unseen() -> Finished:
    """For the trace of an attempt of which nobody saw the end."""
    return _failed(Reason.AGENT_LOST, ErrorCategory.INFRASTRUCTURE, "nobody saw how it ended")


def presentable(finished: Finished, *, stop_reason: Reason | None = None, silent_seconds: float = 0.0) -> Finished:
    """The end as it may be sent: within the limits, and blaming the agent where it is the agent that went.

    `silent_seconds`: how long it was allowed to give no sign of life.
    """
    if len(finished.output) > MAX_OUTPUT_BYTES:
        text = f"the output of {len(finished.output)} bytes is larger than {MAX_OUTPUT_BYTES}"
        error = TaskError(ErrorCategory.RESOURCE, text)
        finished = replace(finished, outcome=Outcome.FAILED, reason=Reason.RESOURCE, output=b"", error=error)
    if finished.error is not None and len(finished.error.message) > MAX_MESSAGE_LENGTH:
        short = TaskError(finished.error.category, finished.error.message[:MAX_MESSAGE_LENGTH] + "…")
        finished = replace(finished, error=short)
    if Reason.INFRASTRUCTURE in (stop_reason, finished.reason) and finished.outcome in {
        Outcome.CANCELLED,
        Outcome.TIMEOUT,
    }:
        finished = replace(finished, outcome=Outcome.FAILED, reason=Reason.INFRASTRUCTURE, error=_AGENT_LEFT)
    if finished.outcome is Outcome.TIMEOUT and finished.reason is Reason.HEARTBEAT_TIMEOUT and finished.error is None:
        finished = replace(finished, error=TaskError(ErrorCategory.TIMEOUT, silence_message(silent_seconds)))
    return finished


def _retry_after_ms(error: BaseException) -> int | None:
    """How long to wait before another try, if the error says so; what is no such time says nothing."""
    asked = getattr(error, "retry_after", None)
    seconds = asked.total_seconds() if isinstance(asked, timedelta) else asked
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:  # NaN is neither
        return None
    return round(min(seconds, LONGEST_RETRY_AFTER) * 1000)


def _failed(reason: Reason, category: ErrorCategory, message: str) -> Finished:
    return Finished(outcome=Outcome.FAILED, reason=reason, error=TaskError(category, message))
