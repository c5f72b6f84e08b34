"""What an agent writes down so that its next process knows it: the beginnings and ends of attempts, as values.

How they become bytes is the journal's part. What is done at once and in the agent's own loop is never written down.
"""

from __future__ import annotations

from typing import NamedTuple

from nodelink.taken import ONE_SLOT, Taken
from nodelink.task import AttemptRef, Execution, TaskRequest, TaskResponse


class StartRecord(NamedTuple):
    """An attempt is about to begin. Durable before it does.

    `place`: the spawner that is to hold it, or empty: the agent's own process. `at` is the moment by CLOCK_BOOTTIME.
    """

    request: TaskRequest
    place: str
    at: float


class EndRecord(NamedTuple):
    """An attempt is over: Finished, Gone, or Declined because it did not begin after all. Durable before it is told."""

    response: TaskResponse


class ForgetRecord(NamedTuple):
    """Nothing of an attempt is to be told any more. If this is lost, it is told once more, which does no harm."""

    ref: AttemptRef


Record = StartRecord | EndRecord | ForgetRecord


class Remembered(NamedTuple):
    """An attempt that an earlier process of the agent wrote down, and what became of it.

    `response` None: it runs, or is waited for. `is_recorded`: the journal knows of its end. `takes`: what it takes of
    the agent for as long as it is held.
    """

    ref: AttemptRef
    execution: Execution
    lease_ms: int | None = None
    response: TaskResponse | None = None
    is_recorded: bool = False
    takes: Taken = ONE_SLOT
