"""The synchronous client, for scripts, programs without a loop, and the Python prompt. Threads may share one."""

from __future__ import annotations

import weakref
from collections.abc import Generator, Iterable, Mapping, Sequence
from functools import partial
from typing import Self, Unpack

import grpc

from nodelink.client import asks, sync_output
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
from nodelink.client.channel import CALL_SECONDS, MOST_UNANSWERED, OPTIONS, PATIENCE_SECONDS
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
from nodelink.client.sync_artifacts import Artifacts, States
from nodelink.client.sync_calls import Calls
from nodelink.client.sync_connection import Connection
from nodelink.client.sync_handle import TaskHandle, wait_for, wait_for_task, wait_until_empty
from nodelink.client.sync_map import mapped
from nodelink.client.sync_sender import Sender
from nodelink.client.sync_uploads import Uploads
from nodelink.client.why import AgentWhy, TaskWhy
from nodelink.client.window import DEFAULT_WINDOW, Window
from nodelink.server_address import find_server
from nodelink.task import DEFAULT_POOL, Execution, LogStream, Submission


class Client:
    """Talks to one server over one connection. Used as a context, or closed at the end.

    Without a server: NODELINK_SERVER, then `./.nodelink/addresses.json`, then 127.0.0.1:50051. `timeout`: seconds for
    a call that is answered at once, further tries included. `patience`: seconds that the server may be away before a
    call that goes on for long, or a submission, fails; one that has never answered is not waited for.

    Every call may raise a `NodelinkError`: `LinkLost` if the server cannot be reached, else what the server says.
    Make it after a fork, not before: an inherited one raises RuntimeError.
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        timeout: float = CALL_SECONDS,
        patience: float = PATIENCE_SECONDS,
        most_unacknowledged: int = MOST_UNANSWERED,
        channel: grpc.Channel | None = None,
    ) -> None:
        """A channel that is given is used instead of an own one, and closed with the client."""
        check_limits(timeout=timeout, patience=patience, most_unacknowledged=most_unacknowledged)
        self.server = server_of(server or find_server())
        channel = channel or grpc.insecure_channel(self.server, options=OPTIONS)
        self._connection = connection = Connection(self.server, channel, patience=patience)
        self._calls = Calls(connection, timeout=timeout)
        self.artifacts = Artifacts(self._calls, Uploads(connection))
        """Bytes by their digest: up, down, and as parts of tasks."""
        self.states = States(self._calls, self.artifacts)
        """The states of workspaces."""
        self._sender = Sender(connection.stubs.tasks.StreamSubmitTasks, connection, most=most_unacknowledged)
        # Handles and generators hold the calls: when they and the client are forgotten, nothing is leaked.
        self._release = weakref.finalize(self._calls, _release, self._sender, connection)

    def __enter__(self) -> Self:
        """The client itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        """Flush and close. A refusal is raised unless something else is under way; Ctrl-C is not held up."""
        try:
            if kind is None:
                self.flush()
            elif issubclass(kind, Exception | SystemExit):
                self._sender.flush()
        finally:
            self.close()

    def __repr__(self) -> str:
        """Which server, and whether it is closed."""
        return f"<Client of {self.server}{', closed' if self._connection.is_closed else ''}>"

    def close(self) -> None:
        """End the connection and what is under way on it, at once: what `flush` would wait for is not waited for."""
        self._release()

    # --- submit -----------------------------------------------------------------------------------------------------

    def submit(self, task: Submission | str, payload: object = None, **options: Unpack[SubmitOptions]) -> TaskHandle:
        """Hand in a task, and go on at once: `submit("echo", {"any": "json"}, priority="HIGH", timeout="30s")`.

        The handle is a promise: the task is durable when its `id` is there, or after `flush`, or when the client's
        context is left without an error. Handles that gather ride together, so a loop is as fast as `submit_many`.
        Blocks while 10,000 are unacknowledged. Raises `InvalidTask` for what cannot be sent; what the server refuses
        is raised by the handle.
        """
        return TaskHandle(self._calls, self._sender, self._sender.submit(submission_of(task, payload, options)))

    def run(
        self,
        task: Submission | str,
        payload: object = None,
        *,
        wait: float | None = None,
        **options: Unpack[SubmitOptions],
    ) -> TaskResult:
        """Hand in a task and wait for its end, or for so many seconds: then `TaskNotFinished`."""
        return self.submit(task, payload, **options).result(wait)

    def submit_many(self, submissions: Iterable[Submission]) -> Sequence[SubmitOutcome]:
        """Hand in any number of tasks, durable on return. An outcome for each, in order, refusals among them."""
        outcomes: list[SubmitOutcome] = []
        for batch in batches(submissions, self._sender.new_key):
            outcomes += batch.outcomes(self._calls.ask(batch.ask) if batch.ask else [])
        return outcomes

    def map(
        self,
        type: str,
        payloads: Iterable[object],
        *,
        ordered: bool = True,
        window: int = DEFAULT_WINDOW,
        **options: Unpack[TaskOptions],
    ) -> Generator[TaskResult, None, None]:
        """The result of a task for each payload, in their order, or as they end. At most `window` are open at a time.

        A task that fails has a result like any other; one that is refused raises. What is open when the caller stops
        reading goes on by itself.
        """
        submissions = (new_task(type, payload, **options) for payload in payloads)
        return mapped(Window(window, ordered=ordered), submissions, self.submit, self.wait_any)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything that was submitted so far is durable, or for so many seconds. Returns whether it is.

        Raises the first refusal that nobody has looked at.
        """
        is_done = self._sender.flush(timeout)
        refusal = self._sender.unseen()
        if refusal is not None:
            raise refusal
        return is_done

    # --- look -------------------------------------------------------------------------------------------------------

    def get(self, task_id: str) -> Task:
        """One task as it stands."""
        return self._calls.ask(asks.get(task_id))

    def why(self, task_id: str) -> TaskWhy:
        """Why a task stands where it stands: what it waits for, and what would help. Raises `TaskNotFound`."""
        return self._calls.ask(asks.why(task_id))

    def list(self, wanted: TaskFilter | None = None, *, limit: int = 50) -> Sequence[Task]:
        """The newest tasks that match, newest first."""
        return tuple(self.iterate(wanted, limit=limit))

    def iterate(self, wanted: TaskFilter | None = None, *, limit: int | None = None) -> Generator[Task, None, None]:
        """All tasks that match, newest first, read page by page as they are taken."""
        return self._calls.pages(partial(asks.page, wanted), limit=limit)

    def result(self, task_id: str) -> TaskResult:
        """How a task ended. Raises `TaskNotFinished`."""
        return self._calls.ask(asks.result(task_id))

    # --- wait -------------------------------------------------------------------------------------------------------

    def wait(self, task_id: str, *, timeout: float | None = None, until: str = "") -> Task:
        """The task when it has ended, or as it stands after so many seconds.

        `until`: when it has reached this status, or is past it; `finished` is any end. Then TimeoutError is raised
        after so many seconds, and `TaskAlreadyFinished` if it has ended otherwise.
        """
        return wait_for_task(self._calls, task_id, timeout, until=until)

    def wait_any(self, tasks: Iterable[str | TaskHandle], *, timeout: float | None = None) -> Sequence[TaskResult]:
        """The results of those of at most 1,000 tasks that have ended, as soon as one has. Empty: the time was up."""
        return wait_for(self._calls, tasks, timeout, all=False)

    def wait_all(self, tasks: Iterable[str | TaskHandle], *, timeout: float | None = None) -> Sequence[TaskResult]:
        """The results of all the tasks, in their order; or of those that have ended after so many seconds."""
        return wait_for(self._calls, tasks, timeout, all=True)

    # --- output and events ------------------------------------------------------------------------------------------

    def logs(self, task_id: str, **which: Unpack[LogOptions]) -> Generator[LogPart, None, None]:
        """What a task has printed so far. `attempt` 0: the current one; `limit` 0: all; `tail`: only the last bytes.

        Its last output may come a moment after its result; `stream_logs` waits for it.
        """
        return sync_output.printed(self._calls, task_id, **which)

    def stream_logs(self, task_id: str, **which: Unpack[FollowOptions]) -> Generator[LogPart, None, None]:
        """What a task prints, as it comes, to the end. Every byte comes once, also over a restart of the server."""
        return sync_output.parts(self._calls, task_id, **which)

    def stream_lines(self, task_id: str, *, stream: LogStream | str | None = None) -> Generator[str, None, None]:
        """The same as lines of text, without their ends."""
        return sync_output.lines(self._calls, task_id, stream=stream)

    def log_pages(self, task_id: str, **which: Unpack[FollowOptions]) -> Generator[LogPage, None, None]:
        """As `stream_logs`, in pages that tell the offset to go on from, and whether the output is complete."""
        return sync_output.pages(self._calls, task_id, **which)

    def watch(self, **which: Unpack[WatchOptions]) -> Generator[Event, None, None]:
        """Events as they happen, none missed and none twice, for ever. `after`: the revision to go on from.

        Without it: from now, or, for one task, from its first event. An event named `reset` says that some are lost.
        """
        for events in self._calls.resumed(asks.events(**which)):
            yield from events

    # --- steer ------------------------------------------------------------------------------------------------------

    def cancel(self, task_id: str, *, reason: str = "", grace: Duration | None = None) -> Task:
        """Ask for a task to be stopped. If it has begun, it is cancelled only when its agent confirms it."""
        return self._calls.ask(asks.cancel(task_id, reason=reason, grace=grace))

    def extend(self, task_id: str, **limits: Unpack[ExtendOptions]) -> Task:
        """Give a task that is with an agent other limits, longer or shorter, each counted from now.

        At least one of `timeout`, `total_timeout`, `heartbeat_timeout`. Raises `CannotExtend`, `TaskAlreadyFinished`.
        """
        return self._calls.ask(asks.extend(task_id, **limits))

    def abandon(self, task_id: str, *, reason: str) -> Task:
        """Give a live task up: it has failed, whatever its agent does, which is told to stop it at next contact.

        The reason is kept with the task. Raises `TaskAlreadyFinished`.
        """
        return self._calls.ask(asks.abandon(task_id, reason=reason))

    def resolve(self, task_id: str, *, as_: str, reason: str) -> Task:
        """Say what became of a task whose status is unknown: `completed`, `failed`, or `rerun`, to run it again.

        The reason is kept with it. Raises `TaskNotInDoubt` for any other status of a live task, `TaskAlreadyFinished`.
        """
        return self._calls.ask(asks.resolve(task_id, as_=as_, reason=reason))

    def approve(
        self, task_id: str, *, plan_sha256: str, inputs_sha256: str = "", target: str = "", message: str = ""
    ) -> Task:
        """Let a task apply its plan: the one with this digest, and with these inputs and this target if they are given.

        Raises `PlanChanged` if another plan waits, `PlanNotWaiting` if none does, `NotAllowed`, `TaskAlreadyFinished`.
        """
        return self._calls.ask(
            asks.approve(task_id, plan_sha256=plan_sha256, inputs_sha256=inputs_sha256, target=target, message=message)
        )

    def reject(self, task_id: str, *, plan_sha256: str = "", message: str = "") -> Task:
        """End a task whose plan waits for an approval, if it is the one with this digest. Raises as `approve`."""
        return self._calls.ask(asks.reject(task_id, plan_sha256=plan_sha256, message=message))

    def plan(self, task_id: str) -> TaskPlan:
        """The latest plan of a task. Raises `TaskNotFound` if it has made none."""
        return self._calls.ask(asks.plan(task_id))

    def plans(self, *, statuses: Iterable[str] = (), workspace: str = "", limit: int = 50) -> Sequence[TaskPlan]:
        """The latest plans of tasks, the newest task first, at most 1,000."""
        return self._calls.ask(asks.plans(statuses=statuses, workspace=workspace, limit=limit))

    def retry(self, task_id: str, *, idempotency_key: str | None = None) -> Task:
        """Run a finished task again, as a new one, which is returned. Raises `TaskNotFinished`."""
        return self._calls.ask(asks.retry(task_id, key=idempotency_key or self._sender.new_key()))

    def bulk(self, action: str, wanted: TaskFilter | None = None, **how: Unpack[BulkOptions]) -> BulkResult:
        """Do one thing to every task that matches: `cancel`, `retry` or `set_priority` (with a `priority`).

        At least one part of the filter, or `ids`, must be given. Without statuses and ids it is done to those that it
        can be done to; a retry, to what has failed, timed out or was lost. `dry_run`: only tell what would be done.
        Called again with the same `idempotency_key` within a day, it tells what the first call did.
        """
        order = Bulk(action, wanted, new_key=self._sender.new_key, **how)
        while self._calls.ask(asks.bulk(order)):
            pass
        return order.result

    def clean_up(self, older_than: Duration) -> int:
        """Remove the tasks that ended longer ago than that, with their output. Returns how many."""
        return self._calls.ask(asks.clean_up(older_than))

    # --- agents and figures -----------------------------------------------------------------------------------------

    def agents(self, *, status: str = "", pool: str = "", labels: Mapping[str, str] | None = None) -> Sequence[Agent]:
        """The agents that the server knows and that match, by name."""
        return self._calls.ask(asks.agents(status=status, pool=pool, labels=labels))

    def agent(self, agent_id: str) -> Agent:
        """One agent. Raises `AgentNotFound`."""
        return self._calls.ask(asks.agent(agent_id))

    def agent_why(self, agent_id: str) -> AgentWhy:
        """Why an agent has the work that it has, or none. Raises `AgentNotFound`."""
        return self._calls.ask(asks.agent_why(agent_id))

    def drain_agent(self, agent_id: str, *, note: str = "", deadline: Duration | None = None) -> Agent:
        """Have an agent become empty: it gets nothing new, and what still runs there at the deadline is stopped.

        `deadline` counts from now on; without one, what runs there may go on. Raises `AgentNotFound`.
        """
        return self._calls.ask(asks.drain(agent_id, note=note, deadline=deadline))

    def wait_until_empty(self, agent_id: str, *, timeout: float | None = None) -> Agent:
        """The agent when nothing runs there any more, or as it stands after so many seconds. Raises `AgentNotFound`."""
        return wait_until_empty(self._calls, agent_id, timeout)

    def undrain_agent(self, agent_id: str) -> Agent:
        """Let an agent that is kept from new work have new work again. Raises `AgentNotFound`."""
        return self._calls.ask(asks.undrain(agent_id))

    def agent_sessions(self, agent_id: str) -> Generator[AgentSession, None, None]:
        """The connections of an agent, newest first, read page by page as they are taken."""
        return self._calls.pages(lambda _, token: asks.sessions(agent_id, token))

    def scheduler_status(self) -> SchedulerStatus:
        """What waits and what runs, now."""
        return self._calls.ask(asks.scheduler_status())

    def stats(self, **which: Unpack[StatsOptions]) -> Stats:
        """What was done in the last hour, or from `since` to `until`. `by`: agent, pool or type.

        `step`: the length of a bucket.
        """
        return self._calls.ask(asks.stats(**which))

    # --- workspaces and limits --------------------------------------------------------------------------------------

    def workspaces(self) -> Sequence[Workspace]:
        """Every workspace, by name."""
        return self._calls.ask(asks.workspaces())

    def workspace(self, name: str) -> Workspace:
        """One workspace. Raises `WorkspaceNotFound`."""
        return self._calls.ask(asks.workspace(name))

    def create_workspace(
        self, name: str, *, pool: str = DEFAULT_POOL, mode: str = "agent", execution: Execution | str | None = None
    ) -> Workspace:
        """Keep a new workspace. `mode`: agent (anywhere in the pool), or local (there, on the server's own machine).

        `execution`: the class of those of its tasks that name none; None: that of their type.

        Raises `WorkspaceConflict` if there is one of its name.
        """
        return self._calls.ask(asks.create_workspace(name, pool=pool, mode=mode, execution=execution))

    def update_workspace(
        self, name: str, *, pool: str, mode: str, execution: Execution | str | None = None
    ) -> Workspace:
        """Let the tasks that come in from now on run elsewhere, or as another class. Raises `WorkspaceNotFound`."""
        return self._calls.ask(asks.update_workspace(name, pool=pool, mode=mode, execution=execution))

    def delete_workspace(self, name: str) -> Workspace:
        """Let there be no such workspace. Raises `WorkspaceNotFound`; `WorkspaceConflict` while tasks of it live."""
        return self._calls.ask(asks.delete_workspace(name))

    def limits(self) -> LimitList:
        """The limits that are set, and the keys of which a place is taken."""
        return self._calls.ask(asks.limits())

    def limit(self, name: str) -> Limit:
        """One limit: running, pool:NAME, type:NAME, agent:ID, workspace:NAME or key:NAME."""
        return self._calls.ask(asks.limit(name))

    def set_limit(self, name: str, most: int) -> Limit:
        """Let at most so many tasks be with agents at a time, 0: nothing more starts. What runs already goes on."""
        return self._calls.ask(asks.set_limit(name, most))

    def remove_limit(self, name: str) -> Limit:
        """Let there be no such limit any more."""
        return self._calls.ask(asks.remove_limit(name))

    # --- pauses and checkpoints -------------------------------------------------------------------------------------

    def pause(self, *, pool: str = "", type: str = "", reason: str = "") -> Paused:
        """Let nothing new start: at all, in a pool, or of a type. What runs goes on. A checkpoint is taken."""
        return self._calls.ask(asks.pause(pool=pool, type=type, reason=reason))

    def resume(
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
        return self._calls.ask(
            asks.resume(pool=pool, type=type, reason=reason, checkpoint=checkpoint, as_waiting=as_waiting)
        )

    def take_checkpoint(self) -> Checkpoint:
        """Take a checkpoint of what waits and runs now."""
        return self._calls.ask(asks.take_checkpoint())

    def checkpoints(self) -> Sequence[Checkpoint]:
        """The checkpoints that are kept, the newest first."""
        return self._calls.ask(asks.checkpoints())

    def verify_checkpoint(self, checkpoint_id: str) -> Checkpoint:
        """Have a checkpoint read through. Raises `CheckpointNotFound`; `InvalidTask`, which names its defect."""
        return self._calls.ask(asks.verify_checkpoint(checkpoint_id))

    def checkpoint_parts(self, checkpoint_id: str) -> Generator[bytes, None, None]:
        """The file of a checkpoint, part by part. Raises `CheckpointNotFound`."""
        offset = 0
        while part := self._calls.ask(asks.checkpoint_part(checkpoint_id, offset)):
            offset += len(part)
            yield part


def _release(sender: Sender, connection: Connection) -> None:
    if not connection.is_inherited:  # its locks may be held by threads that did not come along
        sender.close()
        connection.close()
