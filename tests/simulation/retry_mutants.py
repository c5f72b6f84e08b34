"""Servers that break a rule of trying again what has failed, or of giving up what takes too long."""

from __future__ import annotations

from typing import Any

from nodelink.task import RetryPolicy, TaskStatus
from nodelink.values import evolve
from nodelink_server.core.front import Front
from nodelink_server.core.timers import WINDOW


def never_tries_again(manager: Any) -> None:
    """Whatever a task's policy says, its first failure is its end."""
    manager.rooms.processor._retries.after = lambda before, settled, finished, *, now: None


def tries_for_ever(manager: Any) -> None:
    """A task is tried again however often it has been."""
    retries = manager.rooms.processor._retries
    after = retries.after

    def eager(before: Any, settled: Any, finished: Any, *, now: int) -> Any:
        policy = before.spec.retry
        if policy is None:
            return None
        endless = evolve(before.spec, retry=evolve(policy, max_attempts=max(policy.max_attempts, 2) + 1))
        made = after(evolve(before, spec=endless), settled, finished, now=now)
        return made and (evolve(made[0], spec=before.spec), made[1])

    retries.after = eager


def tries_again_what_has_succeeded(manager: Any) -> None:
    """A task that is to be tried several times is, whatever comes of the first."""
    retries = manager.rooms.processor._retries
    after = retries.after

    def blind(before: Any, settled: Any, finished: Any, *, now: int) -> Any:
        is_first = isinstance(before.spec.retry, RetryPolicy) and before.failures == 0
        forged = evolve(settled, status=TaskStatus.FAILED) if is_first else settled
        return after(before, forged, finished, now=now)

    retries.after = blind


def ignores_how_long_a_failure_asks_to_wait(manager: Any) -> None:
    """The next try comes when the policy says, whatever the failure has asked for."""
    retries = manager.rooms.processor._retries
    after = retries.after

    def impatient(before: Any, settled: Any, finished: Any, *, now: int) -> Any:
        return after(before, settled, evolve(finished, retry_after_ms=None), now=now)

    retries.after = impatient


def forgets_retries_at_a_restart(manager: Any) -> None:
    """What waited for its next try when the server stopped is not looked for."""
    manager.rooms.timers._retrying = Front(WINDOW)


def keeps_no_output_of_a_failed_try(manager: Any) -> None:
    """Output that comes after its attempt has failed is thrown away."""
    logs = manager.logs
    wanted = logs._attempt

    async def current_only(task: Any, ref: Any) -> Any:
        return await wanted(task, ref) if task.attempt is not None and task.ref == ref else None

    logs._attempt = current_only


def forgets_how_long_a_task_may_take(manager: Any) -> None:
    """What waits goes on waiting when its time in all is over."""
    timers = manager.rooms.timers
    outlived = timers._outlived
    timers._outlived = lambda task: None if task.is_waiting else outlived(task)
