"""Whether a task that has failed is tried again, and when: its own policy, and nothing else. Only how long it waits may
the failure say instead.

Only a failure that is known counts. What was lost with its agent has a budget of its own (`core/losses.py`).
"""

from __future__ import annotations

import hashlib

from nodelink.task import ErrorCategory, Finished, LogStream, Outcome, RetryPolicy, TaskStatus
from nodelink_server.core.attempt import Failure, Superseded
from nodelink_server.core.clock import ControlTime
from nodelink_server.core.task import Task, retried
from nodelink_server.core.validation import MAX_RETRY_DELAY_MS

NEVER_MENDED = frozenset({ErrorCategory.INVALID_INPUT, ErrorCategory.POLICY})
"""What fails for these fails again, so a policy has to name them."""
RETRIED_FROM = frozenset({TaskStatus.SENT, TaskStatus.IN_PROGRESS})
_FAILED = frozenset({TaskStatus.FAILED, TaskStatus.TIMEOUT})


class Retries:
    """Says what follows a known failure. The wait is counted in control time: no clock that jumps shortens it."""

    def __init__(self, control: ControlTime) -> None:
        self._control = control

    def after(self, before: Task, settled: Task, finished: Finished, *, now: int) -> tuple[Task, Superseded] | None:
        """The next value of a task that is tried again, and the attempt it leaves behind; None: this is its end.

        `before`: as it was when its attempt ended; `settled`: as the end would leave it.
        """
        policy = before.spec.retry
        if policy is None or settled.status not in _FAILED or before.status not in RETRIED_FROM:
            return None
        if before.failures + 1 >= policy.max_attempts or not finished.tree_gone or not is_worth_it(policy, finished):
            return None
        assert settled.attempt is not None
        retry_at = self._control.now()
        if before.total_deadline is not None and before.total_deadline <= retry_at:
            return None
        wait_ms = finished.retry_after_ms
        if wait_ms is None:
            wait_ms = wait_of(policy, before.failures, chance_of(before.id, before.failures))
        wait_ms = min(wait_ms, MAX_RETRY_DELAY_MS)
        message = f"try {before.failures + 1} of {policy.max_attempts} failed: {_what(settled, finished)}"
        failure = Failure(
            reason=settled.reason,
            message=settled.message,
            next_at=now + wait_ms,
            exit_code=finished.exit_code,
            signal=finished.signal,
            category=finished.error.category if finished.error is not None else "",
            stdout_total=finished.log_totals.get(LogStream.STDOUT),
            stderr_total=finished.log_totals.get(LogStream.STDERR),
            retry_after_ms=finished.retry_after_ms,
        )
        superseded = Superseded(
            attempt=settled.attempt, state=settled.status, ended_at=now, failure=failure, plan=before.plan
        )
        return retried(before, retry_at=retry_at + wait_ms, message=message), superseded


def wait_of(policy: RetryPolicy, failures: int, chance: float) -> int:
    """Milliseconds to wait after one more failure than so many. `chance`: a number from 0 up to 1 (full jitter)."""
    bound = float(policy.initial_ms)
    for _ in range(failures):
        bound = min(bound * policy.multiplier, policy.max_ms)
    return int(chance * min(bound, policy.max_ms))


def is_worth_it(policy: RetryPolicy, finished: Finished) -> bool:
    """Whether a policy wants a failure of this kind to be tried again."""
    kinds = {finished.error.category.value} if finished.error is not None else set()
    if finished.outcome is Outcome.TIMEOUT:
        kinds.add(ErrorCategory.TIMEOUT.value)
    elif finished.signal is not None:  # its exit code, if it has one, says the same in another way
        kinds |= {ErrorCategory.SIGNAL.value, f"signal:{finished.signal}"}
    elif finished.exit_code is not None:
        kinds |= {ErrorCategory.EXIT_CODE.value, f"exit_code:{finished.exit_code}"}
    return bool(kinds & set(policy.on)) if policy.on else not kinds & NEVER_MENDED


def chance_of(task_id: str, failures: int) -> float:
    """A number from 0 up to 1 that is another one for each task and try, and the same if it is asked for again."""
    drawn = hashlib.blake2b(f"{task_id}/{failures}".encode(), digest_size=7).digest()
    return int.from_bytes(drawn, "big") / (1 << 56)


def _what(settled: Task, finished: Finished) -> str:
    if finished.exit_code is not None:
        return f"exit code {finished.exit_code}"
    if finished.signal is not None:
        return f"signal {finished.signal}"
    return settled.message or settled.reason
