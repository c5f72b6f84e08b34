"""A submitted task in the hands of a synchronous caller, and how ends are waited for."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from typing import Unpack

from nodelink.client import asks, sync_output
from nodelink.client.asking import Duration, ExtendOptions
from nodelink.client.awaited import Awaited, AwaitedTask
from nodelink.client.checks import check_wait, several
from nodelink.client.nouns import Agent, LogPart, Task, TaskResult
from nodelink.client.outgoing import Promise
from nodelink.client.plans import TaskPlan
from nodelink.client.reaching import Reaching
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

    def wait(self, timeout: float | None = None, *, until: str = "") -> Task:
        """The task when it has ended, or as it stands after so many seconds. TimeoutError: it is not durable yet.

        `until`: when it has reached this status, as with the client's own `wait`.
        """
        left = self._accepted_within(timeout)
        return wait_for_task(self._calls, self.id, left, until=until)

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

    def extend(self, **limits: Unpack[ExtendOptions]) -> Task:
        """Give it other limits, if it is with an agent: longer or shorter, each counted from now."""
        return self._calls.ask(asks.extend(self.id, **limits))

    def abandon(self, *, reason: str) -> Task:
        """Give it up: it has failed, whatever its agent does."""
        return self._calls.ask(asks.abandon(self.id, reason=reason))

    def resolve(self, *, as_: str, reason: str) -> Task:
        """Say what became of it, if its status is unknown: `completed`, `failed`, or `rerun`, to run it again."""
        return self._calls.ask(asks.resolve(self.id, as_=as_, reason=reason))

    def plan(self) -> TaskPlan:
        """Its latest plan. Raises `TaskNotFound` if it has made none."""
        return self._calls.ask(asks.plan(self.id))

    def approve(self, *, plan_sha256: str, inputs_sha256: str = "", target: str = "", message: str = "") -> Task:
        """Let it apply its plan: the one with this digest. Raises as the client's own `approve`."""
        named = asks.approve(
            self.id, plan_sha256=plan_sha256, inputs_sha256=inputs_sha256, target=target, message=message
        )
        return self._calls.ask(named)

    def reject(self, *, plan_sha256: str = "", message: str = "") -> Task:
        """End it instead of having its plan applied. Raises as the client's own `approve`."""
        return self._calls.ask(asks.reject(self.id, plan_sha256=plan_sha256, message=message))

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


def wait_for_task(calls: Calls, task_id: str, timeout: float | None, *, until: str = "") -> Task:
    """The task when it has ended, or as it stands after so many seconds. `until`: when it has reached a status."""
    if until:
        return _reached(calls, task_id, until, timeout)
    awaited = AwaitedTask(task_id)
    calls.poll(awaited, timeout=timeout)
    return awaited.found


def _reached(calls: Calls, task_id: str, status: str, timeout: float | None) -> Task:
    """The task when it has reached a status. Raises TimeoutError, or `TaskAlreadyFinished` if it never will."""
    check_wait(timeout)
    reaching = Reaching(task_id, status)
    calls.ask(asks.get(task_id))  # of one that is not there nothing would ever be heard
    with closing(calls.resumed(asks.events(task_id=task_id), timeout=timeout)) as frames:
        for events in frames:
            for event in events:
                if event.name == "reset":
                    reaching.see(calls.ask(asks.get(task_id)))
                reaching.hear(event)
            if reaching.is_reached:
                return calls.ask(asks.get(task_id))
    task = calls.ask(asks.get(task_id))
    reaching.see(task)
    if reaching.is_reached:
        return task
    raise TimeoutError(f"{task_id} was not {status} within {timeout:g} s")


def wait_until_empty(calls: Calls, agent_id: str, timeout: float | None) -> Agent:
    """The agent when nothing runs there, or as it stands after so many seconds."""
    events = asks.events(agent_id=agent_id, names=("agent.drained", "agent.completed", "agent.failed"))
    with closing(calls.resumed(events, timeout=timeout)) as frames:
        for _ in frames:  # the first comes at once, and tells that nothing will be missed
            agent = calls.ask(asks.agent(agent_id))
            if not agent.current_tasks:
                return agent
    return calls.ask(asks.agent(agent_id))


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
