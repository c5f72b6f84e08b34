"""The `echo` type: its output is its payload."""

from __future__ import annotations

from nodelink.task import Execution, Finished, Outcome
from nodelink_agent.handlers.registry import HandlerEntry


def echo(payload: bytes) -> Finished:
    """Give back what came."""
    return Finished(outcome=Outcome.COMPLETED, output=payload)


ECHO = HandlerEntry(type="echo", execution=Execution.REPLAYABLE, inline=echo)
