"""How an attempt's end is told when the handler itself could not tell it, or told too much."""

from __future__ import annotations

from dataclasses import replace

from nodelink.task import ErrorCategory, Finished, Outcome, Reason, TaskError

MAX_OUTPUT_BYTES = 256 * 1024
MAX_MESSAGE_LENGTH = 4_000
_TIMEOUTS = frozenset(
    {Reason.RUN_TIMEOUT, Reason.START_TIMEOUT, Reason.TOTAL_TIMEOUT, Reason.HEARTBEAT_TIMEOUT, Reason.QUEUE_TIMEOUT}
)
_AGENT_LEFT = TaskError(ErrorCategory.INFRASTRUCTURE, "the agent was stopped while the task ran")


def handler_failed(error: BaseException) -> Finished:
    """The handler raised. The server gets the message; the traceback stays in the agent's log."""
    message = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return _failed(Reason.HANDLER_ERROR, ErrorCategory.HANDLER, message)


def stopped(reason: Reason, *, confirmed: bool) -> Finished:
    """The handler was broken off. Not confirmed: it had begun something of its own that may be left."""
    if not confirmed:
        unconfirmed = _failed(Reason.CANCEL_UNCONFIRMED, ErrorCategory.INTERNAL, "the handler did not end when stopped")
        return replace(unconfirmed, tree_gone=False)
    if reason is Reason.INFRASTRUCTURE:
        return Finished(outcome=Outcome.FAILED, reason=reason, error=_AGENT_LEFT)
    return Finished(outcome=Outcome.TIMEOUT if reason in _TIMEOUTS else Outcome.CANCELLED, reason=reason)


def presentable(finished: Finished, *, stop_reason: Reason | None = None) -> Finished:
    """The end as it may be sent: within the limits, and blaming the agent where it is the agent that went."""
    if len(finished.output) > MAX_OUTPUT_BYTES:
        text = f"the output of {len(finished.output)} bytes is larger than {MAX_OUTPUT_BYTES}"
        error = TaskError(ErrorCategory.RESOURCE, text)
        finished = replace(finished, outcome=Outcome.FAILED, reason=Reason.RESOURCE, output=b"", error=error)
    if finished.error is not None and len(finished.error.message) > MAX_MESSAGE_LENGTH:
        short = TaskError(finished.error.category, finished.error.message[:MAX_MESSAGE_LENGTH] + "…")
        finished = replace(finished, error=short)
    if stop_reason is Reason.INFRASTRUCTURE and finished.outcome in {Outcome.CANCELLED, Outcome.TIMEOUT}:
        finished = replace(finished, outcome=Outcome.FAILED, reason=stop_reason, error=_AGENT_LEFT)
    return finished


def _failed(reason: Reason, category: ErrorCategory, message: str) -> Finished:
    return Finished(outcome=Outcome.FAILED, reason=reason, error=TaskError(category, message))
