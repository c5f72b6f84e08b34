"""The asynchronous client. It has the names of the synchronous one, and waits with `await`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, Self, Unpack

import grpc

from nodelink.client import aio_output, asks
from nodelink.client.aio_artifacts import Artifacts, States
from nodelink.client.aio_calls import Calls
from nodelink.client.aio_connection import Connection
from nodelink.client.aio_handle import TaskHandle, wait_for, wait_for_task, wait_until_empty
from nodelink.client.aio_map import mapped
from nodelink.client.aio_sender import Sender
from nodelink.client.aio_uploads import Uploads
from nodelink.client.asking import (
    Duration,
    ExtendOptions,
    FollowOptions,
    LogOptions,
    StatsOptions,
    SubmitOptions,
    TaskOptions,
    WatchOptions,
    new_task,
    submission_of,
)
from nodelink.client.batches import batches
from nodelink.client.bulk import Bulk, BulkOptions
from nodelink.client.channel import CALL_SECONDS, MOST_UNANSWERED_AIO, OPTIONS, PATIENCE_SECONDS
from nodelink.client.checks import check_limits, server_of
from nodelink.client.figures import SchedulerStatus, Stats
from nodelink.client.nouns import (
    Agent,
    AgentSession,
    BulkResult,
    Event,
    LogPage,
    LogPart,
    SubmitOutcome,
    Task,
    TaskFilter,
    TaskResult,
)
from nodelink.client.pausing import Checkpoint, Paused, Resumed
from nodelink.client.places import Limit, LimitList, Workspace
from nodelink.client.plans import TaskPlan
from nodelink.client.why import AgentWhy, TaskWhy
from nodelink.client.window import DEFAULT_WINDOW, Window
from nodelink.server_address import find_server
from nodelink.task import DEFAULT_POOL, Execution, LogStream, Submission


class AsyncClient:
    """Talks to one server over one connection. Made in a running loop; used as a context, or closed at the end.

    Without a server: NODELINK_SERVER, then `./.nodelink/addresses.json`, then 127.0.0.1:50051. `timeout`: seconds for
    a call that is answered at once, further tries included. `patience`: seconds that the server may be away before a
    call that goes on for long, or a submission, fails; one that has never answered is not waited for.

    Every call may raise a `NodelinkError`: `LinkLost` if the server cannot be reached, else what the server says.
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        timeout: float = CALL_SECONDS,
        patience: float = PATIENCE_SECONDS,
        most_unacknowledged: int = MOST_UNANSWERED_AIO,
        channel: grpc.aio.Channel | None = None,
    ) -> None:
        """A channel that is given is used instead of an own one, and closed with the client."""
        check_limits(timeout=timeout, patience=patience, most_unacknowledged=most_unacknowledged)
        self.server = server_of(server or find_server())
        channel = channel or grpc.aio.insecure_channel(self.server, options=OPTIONS)
        self._connection = Connection(self.server, channel, patience=patience)
        self._calls = Calls(self._connection, timeout=timeout)
        self.artifacts = Artifacts(self._calls, Uploads(self._connection))
        """Bytes by their digest: up, down, and as parts of tasks."""
        self.states = States(self._calls, self.artifacts)
        """The states of workspaces."""
        self._sender = Sender(self._open_stream, self._connection, most=most_unacknowledged)

    async def __aenter__(self) -> Self:
        """The client itself."""
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        """Flush and close. A refusal is raised unless something else is under way; being cancelled is not held up."""
        try:
            if kind is None:
                await self.flush()
            elif issubclass(kind, Exception | SystemExit):
                await self._sender.flush()
        finally:
            await self.close()

    def __repr__(self) -> str:
        """Which server, and whether it is closed."""
        return f"<AsyncClient of {self.server}{', closed' if self._connection.is_closed else ''}>"

    async def close(self) -> None:
        """End the connection and what is under way on it, at once: what `flush` would wait for is not waited for."""
        await self._sender.close()
        await self._connection.close()

    # --- submit -----------------------------------------------------------------------------------------------------

    def submit(self, task: Submission | str, payload: object = None, **options: Unpack[SubmitOptions]) -> TaskHandle:
        """Hand in a task, and go on at once: `submit("echo", {"any": "json"}, priority="HIGH", timeout="30s")`.

        The handle is a promise: the task is durable when the handle has been awaited, or after `flush`, or when the
        client's context is left without an error. Handles that gather ride together, so a loop is as fast as
        `submit_many`. Raises `InvalidTask` for what cannot be sent, and `Overloaded` while 100,000 are
        unacknowledged; what the server refuses is raised by the handle.
        """
        return TaskHandle(self._calls, self._sender, self._sender.submit(submission_of(task, payload, options)))

    async def run(
        self,
        task: Submission | str,
        payload: object = None,
        *,
        wait: float | None = None,
        **options: Unpack[SubmitOptions],
    ) -> TaskResult:
        """Hand in a task and wait for its end, or for so many seconds: then `TaskNotFinished`."""
        return await self.submit(task, payload, **options).result(wait)

    async def submit_many(self, submissions: Iterable[Submission]) -> Sequence[SubmitOutcome]:
        """Hand in any number of tasks, durable on return. An outcome for each, in order, refusals among them."""
        outcomes: list[SubmitOutcome] = []
        for batch in batches(submissions, self._sender.new_key):
            outcomes += batch.outcomes(await self._calls.ask(batch.ask) if batch.ask else [])
        return outcomes

    def map(
        self,
        type: str,
        payloads: Iterable[object],
        *,
        ordered: bool = True,
        window: int = DEFAULT_WINDOW,
        **options: Unpack[TaskOptions],
    ) -> AsyncGenerator[TaskResult, None]:
        """The result of a task for each payload, in their order, or as they end. At most `window` are open at a time.

        A task that fails has a result like any other; one that is refused raises. What is open when the caller stops
        reading goes on by itself.
        """
        submissions = (new_task(type, payload, **options) for payload in payloads)
        return mapped(Window(window, ordered=ordered), submissions, self.submit, self.wait_any)

    async def flush(self) -> None:
        """Wait until everything that was submitted so far is durable. Raises the first refusal nobody has looked at."""
        await self._sender.flush()
        refusal = self._sender.unseen()
        if refusal is not None:
            raise refusal

    # --- look -------------------------------------------------------------------------------------------------------

    async def get(self, task_id: str) -> Task:
        """One task as it stands."""
        return await self._calls.ask(asks.get(task_id))

    async def why(self, task_id: str) -> TaskWhy:
        """Why a task stands where it stands: what it waits for, and what would help. Raises `TaskNotFound`."""
        return await self._calls.ask(asks.why(task_id))

    async def list(self, wanted: TaskFilter | None = None, *, limit: int = 50) -> Sequence[Task]:
        """The newest tasks that match, newest first."""
        return [task async for task in self.iterate(wanted, limit=limit)]

    def iterate(self, wanted: TaskFilter | None = None, *, limit: int | None = None) -> AsyncGenerator[Task, None]:
        """All tasks that match, newest first, read page by page as they are taken."""
        return self._calls.pages(partial(asks.page, wanted), limit=limit)

    async def result(self, task_id: str) -> TaskResult:
        """How a task ended. Raises `TaskNotFinished`."""
        return await self._calls.ask(asks.result(task_id))

    # --- wait -------------------------------------------------------------------------------------------------------

    async def wait(self, task_id: str, *, timeout: float | None = None, until: str = "") -> Task:
        """The task when it has ended, or as it stands after so many seconds.

        `until`: when it has reached this status, or is past it; `finished` is any end. Then TimeoutError is raised
        after so many seconds, and `TaskAlreadyFinished` if it has ended otherwise.
        """
        return await wait_for_task(self._calls, task_id, timeout, until=until)

    async def wait_any(
        self, tasks: Iterable[str | TaskHandle], *, timeout: float | None = None
    ) -> Sequence[TaskResult]:
        """The results of those of at most 1,000 tasks that have ended, as soon as one has. Empty: the time was up."""
        return await wait_for(self._calls, tasks, timeout, all=False)

    async def wait_all(
        self, tasks: Iterable[str | TaskHandle], *, timeout: float | None = None
    ) -> Sequence[TaskResult]:
        """The results of all the tasks, in their order; or of those that have ended after so many seconds."""
        return await wait_for(self._calls, tasks, timeout, all=True)

    # --- output and events ------------------------------------------------------------------------------------------

    def logs(self, task_id: str, **which: Unpack[LogOptions]) -> AsyncGenerator[LogPart, None]:
        """What a task has printed so far. `attempt` 0: the current one; `limit` 0: all; `tail`: only the last bytes.

        Its last output may come a moment after its result; `stream_logs` waits for it.
        """
        return aio_output.printed(self._calls, task_id, **which)

    def stream_logs(self, task_id: str, **which: Unpack[FollowOptions]) -> AsyncGenerator[LogPart, None]:
        """What a task prints, as it comes, to the end. Every byte comes once, also over a restart of the server."""
        return aio_output.parts(self._calls, task_id, **which)

    def stream_lines(self, task_id: str, *, stream: LogStream | str | None = None) -> AsyncGenerator[str, None]:
        """The same as lines of text, without their ends."""
        return aio_output.lines(self._calls, task_id, stream=stream)

    def log_pages(self, task_id: str, **which: Unpack[FollowOptions]) -> AsyncGenerator[LogPage, None]:
        """As `stream_logs`, in pages that tell the offset to go on from, and whether the output is complete."""
        return aio_output.pages(self._calls, task_id, **which)

    async def watch(self, **which: Unpack[WatchOptions]) -> AsyncGenerator[Event, None]:
        """Events as they happen, none missed and none twice, for ever. `after`: the revision to go on from.

        Without it: from now, or, for one task, from its first event. An event named `reset` says that some are lost.
        """
        async with aclosing(self._calls.resumed(asks.events(**which))) as frames:
            async for events in frames:
                for event in events:
                    yield event

    # --- steer ------------------------------------------------------------------------------------------------------

    async def cancel(self, task_id: str, *, reason: str = "", grace: Duration | None = None) -> Task:
        """Ask for a task to be stopped. If it has begun, it is cancelled only when its agent confirms it."""
        return await self._calls.ask(asks.cancel(task_id, reason=reason, grace=grace))

    async def extend(self, task_id: str, **limits: Unpack[ExtendOptions]) -> Task:
        """Give a task that is with an agent other limits, longer or shorter, each counted from now.

        At least one of `timeout`, `total_timeout`, `heartbeat_timeout`. Raises `CannotExtend`, `TaskAlreadyFinished`.
        """
        return await self._calls.ask(asks.extend(task_id, **limits))

    async def abandon(self, task_id: str, *, reason: str) -> Task:
        """Give a live task up: it has failed, whatever its agent does, which is told to stop it at next contact.

        The reason is kept with the task. Raises `TaskAlreadyFinished`.
        """
        return await self._calls.ask(asks.abandon(task_id, reason=reason))

    async def resolve(self, task_id: str, *, as_: str, reason: str) -> Task:
        """Say what became of a task whose status is unknown: `completed`, `failed`, or `rerun`, to run it again.

        The reason is kept with it. Raises `TaskNotInDoubt` for any other status of a live task, `TaskAlreadyFinished`.
        """
        return await self._calls.ask(asks.resolve(task_id, as_=as_, reason=reason))

    async def approve(
        self, task_id: str, *, plan_sha256: str, inputs_sha256: str = "", target: str = "", message: str = ""
    ) -> Task:
        """Let a task apply its plan: the one with this digest, and with these inputs and this target if they are given.

        Raises `PlanChanged` if another plan waits, `PlanNotWaiting` if none does, `NotAllowed`, `TaskAlreadyFinished`.
        """
        return await self._calls.ask(
            asks.approve(task_id, plan_sha256=plan_sha256, inputs_sha256=inputs_sha256, target=target, message=message)
        )

    async def reject(self, task_id: str, *, plan_sha256: str = "", message: str = "") -> Task:
        """End a task whose plan waits for an approval, if it is the one with this digest. Raises as `approve`."""
        return await self._calls.ask(asks.reject(task_id, plan_sha256=plan_sha256, message=message))

    async def plan(self, task_id: str) -> TaskPlan:
        """The latest plan of a task. Raises `TaskNotFound` if it has made none."""
        return await self._calls.ask(asks.plan(task_id))

    async def plans(self, *, statuses: Iterable[str] = (), workspace: str = "", limit: int = 50) -> Sequence[TaskPlan]:
        """The latest plans of tasks, the newest task first, at most 1,000."""
        return await self._calls.ask(asks.plans(statuses=statuses, workspace=workspace, limit=limit))

    async def retry(self, task_id: str, *, idempotency_key: str | None = None) -> Task:
        """Run a finished task again, as a new one, which is returned. Raises `TaskNotFinished`."""
        return await self._calls.ask(asks.retry(task_id, key=idempotency_key or self._sender.new_key()))

    async def bulk(self, action: str, wanted: TaskFilter | None = None, **how: Unpack[BulkOptions]) -> BulkResult:
        """Do one thing to every task that matches: `cancel`, `retry` or `set_priority` (with a `priority`).

        At least one part of the filter, or `ids`, must be given. Without statuses and ids it is done to those that it
        can be done to; a retry, to what has failed, timed out or was lost. `dry_run`: only tell what would be done.
        Called again with the same `idempotency_key` within a day, it tells what the first call did.
        """
        order = Bulk(action, wanted, new_key=self._sender.new_key, **how)
        while await self._calls.ask(asks.bulk(order)):
            pass
        return order.result

    async def clean_up(self, older_than: Duration) -> int:
        """Remove the tasks that ended longer ago than that, with their output. Returns how many."""
        return await self._calls.ask(asks.clean_up(older_than))

    # --- agents and figures -----------------------------------------------------------------------------------------

    async def agents(
        self, *, status: str = "", pool: str = "", labels: Mapping[str, str] | None = None
    ) -> Sequence[Agent]:
        """The agents that the server knows and that match, by name."""
        return await self._calls.ask(asks.agents(status=status, pool=pool, labels=labels))

    async def agent(self, agent_id: str) -> Agent:
        """One agent. Raises `AgentNotFound`."""
        return await self._calls.ask(asks.agent(agent_id))

    async def agent_why(self, agent_id: str) -> AgentWhy:
        """Why an agent has the work that it has, or none. Raises `AgentNotFound`."""
        return await self._calls.ask(asks.agent_why(agent_id))

    async def drain_agent(self, agent_id: str, *, note: str = "", deadline: Duration | None = None) -> Agent:
        """Have an agent become empty: it gets nothing new, and what still runs there at the deadline is stopped.

        `deadline` counts from now on; without one, what runs there may go on. Raises `AgentNotFound`.
        """
        return await self._calls.ask(asks.drain(agent_id, note=note, deadline=deadline))

    async def wait_until_empty(self, agent_id: str, *, timeout: float | None = None) -> Agent:
        """The agent when nothing runs there any more, or as it stands after so many seconds. Raises `AgentNotFound`."""
        return await wait_until_empty(self._calls, agent_id, timeout)

    async def undrain_agent(self, agent_id: str) -> Agent:
        """Let an agent that is kept from new work have new work again. Raises `AgentNotFound`."""
        return await self._calls.ask(asks.undrain(agent_id))

    def agent_sessions(self, agent_id: str) -> AsyncGenerator[AgentSession, None]:
        """The connections of an agent, newest first, read page by page as they are taken."""
        return self._calls.pages(lambda _, token: asks.sessions(agent_id, token))

    async def scheduler_status(self) -> SchedulerStatus:
        """What waits and what runs, now."""
        return await self._calls.ask(asks.scheduler_status())

    async def stats(self, **which: Unpack[StatsOptions]) -> Stats:
        """What was done in the last hour, or from `since` to `until`. `by`: agent, pool or type.

        `step`: the length of a bucket.
        """
        return await self._calls.ask(asks.stats(**which))

    # --- workspaces and limits --------------------------------------------------------------------------------------

    async def workspaces(self) -> Sequence[Workspace]:
        """Every workspace, by name."""
        return await self._calls.ask(asks.workspaces())

    async def workspace(self, name: str) -> Workspace:
        """One workspace. Raises `WorkspaceNotFound`."""
        return await self._calls.ask(asks.workspace(name))

    async def create_workspace(
        self, name: str, *, pool: str = DEFAULT_POOL, mode: str = "agent", execution: Execution | str | None = None
    ) -> Workspace:
        """Keep a new workspace. `mode`: agent (anywhere in the pool), or local (there, on the server's own machine).

        `execution`: the class of those of its tasks that name none; None: that of their type.

        Raises `WorkspaceConflict` if there is one of its name.
        """
        return await self._calls.ask(asks.create_workspace(name, pool=pool, mode=mode, execution=execution))

    async def update_workspace(
        self, name: str, *, pool: str, mode: str, execution: Execution | str | None = None
    ) -> Workspace:
        """Let the tasks that come in from now on run elsewhere, or as another class. Raises `WorkspaceNotFound`."""
        return await self._calls.ask(asks.update_workspace(name, pool=pool, mode=mode, execution=execution))

    async def delete_workspace(self, name: str) -> Workspace:
        """Let there be no such workspace. Raises `WorkspaceNotFound`; `WorkspaceConflict` while tasks of it live."""
        return await self._calls.ask(asks.delete_workspace(name))

    async def limits(self) -> LimitList:
        """The limits that are set, and the keys of which a place is taken."""
        return await self._calls.ask(asks.limits())

    async def limit(self, name: str) -> Limit:
        """One limit: running, pool:NAME, type:NAME, agent:ID, workspace:NAME or key:NAME."""
        return await self._calls.ask(asks.limit(name))

    async def set_limit(self, name: str, most: int) -> Limit:
        """Let at most so many tasks be with agents at a time, 0: nothing more starts. What runs already goes on."""
        return await self._calls.ask(asks.set_limit(name, most))

    async def remove_limit(self, name: str) -> Limit:
        """Let there be no such limit any more."""
        return await self._calls.ask(asks.remove_limit(name))

    # --- pauses and checkpoints -------------------------------------------------------------------------------------

    async def pause(self, *, pool: str = "", type: str = "", reason: str = "") -> Paused:
        """Let nothing new start: at all, in a pool, or of a type. What runs goes on. A checkpoint is taken."""
        return await self._calls.ask(asks.pause(pool=pool, type=type, reason=reason))

    async def resume(
        self,
        *,
        pool: str = "",
        type: str = "",
        reason: str = "",
        checkpoint: str | bytes | None = None,
        as_waiting: bool = False,
    ) -> Resumed:
        """End a pause; before that, a server that has never had a task goes on from a `checkpoint`, if one is given: by
        its id there, or as the bytes of its file. `as_waiting`: what ran when it was taken waits again.

        Raises `CheckpointNotFound`, `ServerNotEmpty`; `InvalidTask`, which names the defect of what is no checkpoint.
        """
        return await self._calls.ask(
            asks.resume(pool=pool, type=type, reason=reason, checkpoint=checkpoint, as_waiting=as_waiting)
        )

    async def take_checkpoint(self) -> Checkpoint:
        """Take a checkpoint of what waits and runs now."""
        return await self._calls.ask(asks.take_checkpoint())

    async def checkpoints(self) -> Sequence[Checkpoint]:
        """The checkpoints that are kept, the newest first."""
        return await self._calls.ask(asks.checkpoints())

    async def verify_checkpoint(self, checkpoint_id: str) -> Checkpoint:
        """Have a checkpoint read through. Raises `CheckpointNotFound`; `InvalidTask`, which names its defect."""
        return await self._calls.ask(asks.verify_checkpoint(checkpoint_id))

    async def checkpoint_parts(self, checkpoint_id: str) -> AsyncGenerator[bytes, None]:
        """The file of a checkpoint, part by part. Raises `CheckpointNotFound`."""
        offset = 0
        while part := await self._calls.ask(asks.checkpoint_part(checkpoint_id, offset)):
            offset += len(part)
            yield part

    def _open_stream(self) -> Any:
        call: Any = self._connection.stubs.tasks.StreamSubmitTasks  # which takes no requests here: they are written
        return call()
