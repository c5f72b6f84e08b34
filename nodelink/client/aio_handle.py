"""A submitted task in the hands of an asynchronous caller, and how ends are waited for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Generator, Iterable, Sequence
from contextlib import aclosing
from typing import Any, Unpack

from nodelink.client import aio_output, asks
from nodelink.client.aio_calls import Calls
from nodelink.client.aio_sender import Sender
from nodelink.client.asking import Duration, ExtendOptions
from nodelink.client.awaited import Awaited, AwaitedTask
from nodelink.client.checks import check_wait, several
from nodelink.client.nouns import Agent, LogPart, Task, TaskResult
from nodelink.client.outgoing import Promise
from nodelink.client.plans import TaskPlan
from nodelink.client.reaching import Reaching
from nodelink.errors import TaskNotFinished
from nodelink.task import LogStream


class TaskHandle:
    """A task that was submitted: a promise, until it has been awaited. `await handle` gives the handle, durable."""

    __slots__ = ("_calls", "_promise", "_sender")

    def __init__(self, calls: Calls, sender: Sender, promise: Promise) -> None:
        self._calls = calls
        self._sender = sender
        self._promise = promise

    def __repr__(self) -> str:
        """The task's id, or how its submission stands."""
        return f"<TaskHandle {self._promise!r}>"

    def __await__(self) -> Generator[Any, None, TaskHandle]:
        """Wait until the server has made the task durable. Raises the refusal. May be awaited again, by many."""
        return self._durable().__await__()

    @property
    def id(self) -> str:
        """The task's id. Raises the refusal; and InvalidStateError as long as nobody knows: await the handle first."""
        outcome = self._promise.seen()
        if outcome is None:
            raise asyncio.InvalidStateError(f"the task has no id yet: await the handle first ({self!r})")
        return outcome.task_id

    def accepted(self) -> bool:
        """Whether the task is durable, without waiting. Raises the refusal."""
        return self._promise.seen() is not None

    async def get(self) -> Task:
        """The task as it stands."""
        return await self._calls.ask(asks.get((await self).id))

    async def wait(self, timeout: float | None = None, *, until: str = "") -> Task:
        """The task when it has ended, or as it stands after so many seconds. TimeoutError: it is not durable yet.

        `until`: when it has reached this status, as with the client's own `wait`.
        """
        left = await self._accepted_within(timeout)
        return await wait_for_task(self._calls, self.id, left, until=until)

    async def result(self, timeout: float | None = None) -> TaskResult:
        """How it ended, when it has. Raises `TaskNotFinished` after so many seconds; TimeoutError: not durable yet."""
        left = await self._accepted_within(timeout)
        results = await wait_for(self._calls, [self.id], left, all=True)
        if not results:
            raise TaskNotFinished(f"{self.id} has not finished within {timeout:g} s")
        return results[0]

    async def cancel(self, *, reason: str = "", grace: Duration | None = None) -> Task:
        """Ask for it to be stopped. If it has begun, it is cancelled only when its agent confirms it."""
        return await self._calls.ask(asks.cancel((await self).id, reason=reason, grace=grace))

    async def extend(self, **limits: Unpack[ExtendOptions]) -> Task:
        """Give it other limits, if it is with an agent: longer or shorter, each counted from now."""
        return await self._calls.ask(asks.extend((await self).id, **limits))

    async def abandon(self, *, reason: str) -> Task:
        """Give it up: it has failed, whatever its agent does."""
        return await self._calls.ask(asks.abandon((await self).id, reason=reason))

    async def resolve(self, *, as_: str, reason: str) -> Task:
        """Say what became of it, if its status is unknown: `completed`, `failed`, or `rerun`, to run it again."""
        return await self._calls.ask(asks.resolve((await self).id, as_=as_, reason=reason))

    async def plan(self) -> TaskPlan:
        """Its latest plan. Raises `TaskNotFound` if it has made none."""
        return await self._calls.ask(asks.plan((await self).id))

    async def approve(self, *, plan_sha256: str, inputs_sha256: str = "", target: str = "", message: str = "") -> Task:
        """Let it apply its plan: the one with this digest. Raises as the client's own `approve`."""
        named = asks.approve(
            (await self).id, plan_sha256=plan_sha256, inputs_sha256=inputs_sha256, target=target, message=message
        )
        return await self._calls.ask(named)

    async def reject(self, *, plan_sha256: str = "", message: str = "") -> Task:
        """End it instead of having its plan applied. Raises as the client's own `approve`."""
        return await self._calls.ask(asks.reject((await self).id, plan_sha256=plan_sha256, message=message))

    async def logs(self, *, stream: LogStream | str | None = None) -> AsyncGenerator[LogPart, None]:
        """What it has printed so far."""
        async with aclosing(aio_output.printed(self._calls, (await self).id, stream=stream)) as parts:
            async for part in parts:
                yield part

    async def stream_logs(self, *, stream: LogStream | str | None = None) -> AsyncGenerator[LogPart, None]:
        """What it prints, as it comes, to the end."""
        async with aclosing(aio_output.parts(self._calls, (await self).id, stream=stream)) as parts:
            async for part in parts:
                yield part

    async def stream_lines(self, *, stream: LogStream | str | None = None) -> AsyncGenerator[str, None]:
        """The same as lines of text."""
        async with aclosing(aio_output.lines(self._calls, (await self).id, stream=stream)) as lines:
            async for line in lines:
                yield line

    async def _durable(self) -> TaskHandle:
        await self._sender.settled(self._promise)
        self._promise.seen()
        return self

    async def _accepted_within(self, timeout: float | None) -> float | None:
        """Wait until it is durable. Returns how much of the time is left."""
        check_wait(timeout)
        began = time.monotonic()
        async with asyncio.timeout(timeout):
            await self
        return None if timeout is None else max(0.0, timeout - (time.monotonic() - began))


async def wait_for_task(calls: Calls, task_id: str, timeout: float | None, *, until: str = "") -> Task:
    """The task when it has ended, or as it stands after so many seconds. `until`: when it has reached a status."""
    if until:
        return await _reached(calls, task_id, until, timeout)
    awaited = AwaitedTask(task_id)
    await calls.poll(awaited, timeout=timeout)
    return awaited.found


async def _reached(calls: Calls, task_id: str, status: str, timeout: float | None) -> Task:
    """The task when it has reached a status. Raises TimeoutError, or `TaskAlreadyFinished` if it never will."""
    check_wait(timeout)
    reaching = Reaching(task_id, status)
    await calls.ask(asks.get(task_id))  # of one that is not there nothing would ever be heard
    async with aclosing(calls.resumed(asks.events(task_id=task_id), timeout=timeout)) as frames:
        async for events in frames:
            for event in events:
                if event.name == "reset":
                    reaching.see(await calls.ask(asks.get(task_id)))
                reaching.hear(event)
            if reaching.is_reached:
                return await calls.ask(asks.get(task_id))
    task = await calls.ask(asks.get(task_id))
    reaching.see(task)
    if reaching.is_reached:
        return task
    raise TimeoutError(f"{task_id} was not {status} within {timeout:g} s")


async def wait_until_empty(calls: Calls, agent_id: str, timeout: float | None) -> Agent:
    """The agent when nothing runs there, or as it stands after so many seconds."""
    events = asks.events(agent_id=agent_id, names=("agent.drained", "agent.completed", "agent.failed"))
    async with aclosing(calls.resumed(events, timeout=timeout)) as frames:
        async for _ in frames:  # the first comes at once, and tells that nothing will be missed
            agent = await calls.ask(asks.agent(agent_id))
            if not agent.current_tasks:
                return agent
    return await calls.ask(asks.agent(agent_id))


async def wait_for(
    calls: Calls, tasks: Iterable[str | TaskHandle], timeout: float | None, *, all: bool
) -> Sequence[TaskResult]:
    """The results of those that have ended when one has, or all have, or after so many seconds."""
    awaited = Awaited([await _id_of(task) for task in several("tasks", tasks)], all=all)
    if awaited:
        await calls.poll(awaited, timeout=timeout)
    return awaited.ended


async def _id_of(task: str | TaskHandle) -> str:
    return (await task).id if isinstance(task, TaskHandle) else task
