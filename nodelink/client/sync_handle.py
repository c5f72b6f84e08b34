"""A submitted task in the hands of a synchronous caller, and how ends are waited for."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Sequence

from nodelink.client import asks, sync_output
from nodelink.client.asking import Duration
from nodelink.client.awaited import Awaited, AwaitedTask
from nodelink.client.checks import check_wait, several
from nodelink.client.nouns import LogPart, Task, TaskResult
from nodelink.client.outgoing import Promise
from nodelink.client.sync_calls import Calls
from nodelink.client.sync_sender import Sender
from nodelink.errors import TaskNotFinished
from nodelink.task import LogStream


class TaskHandle:
    """A task that was submitted: a promise, until the server has made it durable. Threads may share one."""

    __slots__ = ("_calls", "_promise", "_sender")

    def __init__(self, calls: Calls, sender: Sender, promise: Promise) -> None:
        self._calls = calls
        self._sender = sender
        self._promise = promise

    def __repr__(self) -> str:
        """The task's id, or how its submission stands. Never waits."""
        return f"<TaskHandle {self._promise!r}>"

    @property
    def id(self) -> str:
        """The task's id. Waits until the server has made the task durable; raises the refusal."""
        self._accepted_within(None)
        outcome = self._promise.seen()
        assert outcome is not None, "what is settled has an outcome"
        return outcome.task_id

    def accepted(self) -> bool:
        """Whether the task is durable, without waiting. Raises the refusal."""
        return self._promise.seen() is not None

    def get(self) -> Task:
        """The task as it stands."""
        return self._calls.ask(asks.get(self.id))

    def wait(self, timeout: float | None = None) -> Task:
        """The task when it has ended, or as it stands after so many seconds. TimeoutError: it is not durable yet."""
        left = self._accepted_within(timeout)
        return wait_for_task(self._calls, self.id, left)

    def result(self, timeout: float | None = None) -> TaskResult:
        """How it ended, when it has. Raises `TaskNotFinished` after so many seconds; TimeoutError: not durable yet."""
        left = self._accepted_within(timeout)
        results = wait_for(self._calls, [self.id], left, all=True)
        if not results:
            raise TaskNotFinished(f"{self.id} has not finished within {timeout:g} s")
        return results[0]

    def cancel(self, *, reason: str = "", grace: Duration | None = None) -> Task:
        """Ask for it to be stopped. If it has begun, it is cancelled only when its agent confirms it."""
        return self._calls.ask(asks.cancel(self.id, reason=reason, grace=grace))

    def logs(self, *, stream: LogStream | str | None = None) -> Generator[LogPart, None, None]:
        """What it has printed so far."""
        return sync_output.printed(self._calls, self.id, stream=stream)

    def stream_logs(self, *, stream: LogStream | str | None = None) -> Generator[LogPart, None, None]:
        """What it prints, as it comes, to the end."""
        return sync_output.parts(self._calls, self.id, stream=stream)

    def stream_lines(self, *, stream: LogStream | str | None = None) -> Generator[str, None, None]:
        """The same as lines of text."""
        return sync_output.lines(self._calls, self.id, stream=stream)

    def _accepted_within(self, timeout: float | None) -> float | None:
        """Wait until it is settled. Returns how much of the time is left."""
        check_wait(timeout)
        began = time.monotonic()
        if not self._sender.wait(self._promise, timeout):
            raise TimeoutError(f"the server has not accepted it yet: {self!r}")
        return None if timeout is None else max(0.0, timeout - (time.monotonic() - began))


def wait_for_task(calls: Calls, task_id: str, timeout: float | None) -> Task:
    """The task when it has ended, or as it stands after so many seconds."""
    awaited = AwaitedTask(task_id)
    calls.poll(awaited, timeout=timeout)
    return awaited.found


def wait_for(
    calls: Calls, tasks: Iterable[str | TaskHandle], timeout: float | None, *, all: bool
) -> Sequence[TaskResult]:
    """The results of those that have ended when one has, or all have, or after so many seconds."""
    awaited = Awaited([_id_of(task) for task in several("tasks", tasks)], all=all)
    if awaited:
        calls.poll(awaited, timeout=timeout)
    return awaited.ended


def _id_of(task: str | TaskHandle) -> str:
    return task.id if isinstance(task, TaskHandle) else task
