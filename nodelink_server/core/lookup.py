"""What can be asked about tasks and agents. Everything here reads, and changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from nodelink.errors import FieldError, InvalidTask, TaskNotFound
from nodelink.task import PRIORITIES, Reason
from nodelink.values import evolve
from nodelink_server.core.agents import AgentRegistry
from nodelink_server.core.assignment import Assignment, AssignmentDelays, Unassigned, assignment_since
from nodelink_server.core.checkpoints import Checkpoints
from nodelink_server.core.leases import Leases, TaskContact
from nodelink_server.core.levels import Levels
from nodelink_server.core.limits import OURS, RUNNING, Limits
from nodelink_server.core.needs import shape_of
from nodelink_server.core.pauses import SCHEDULER, Pause, Pauses
from nodelink_server.core.ports import AgentSessionRecord, Clock, Store, TaskPage, TaskQuery
from nodelink_server.core.scheduler import Scheduler
from nodelink_server.core.search import search_of
from nodelink_server.core.sends import Sends
from nodelink_server.core.states import GRANTED, QUEUED
from nodelink_server.core.task import Task
from nodelink_server.core.task_record import TaskRecord
from nodelink_server.core.validation import MAX_METADATA
from nodelink_server.core.waiters import in_force

MOST_SESSIONS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerStatus:
    """What waits and what runs. `queue_by_priority` is by band: CRITICAL, HIGH, NORMAL, LOW."""

    state: str
    queued_tasks: int
    running_tasks: int
    max_concurrent_tasks: int
    available_slots: int
    queue_by_priority: Mapping[str, int]
    last_checkpoint_at: int | None = None
    pauses: Sequence[Pause] = ()


class Lookup:
    """Reads for people and their programs."""

    def __init__(
        self,
        *,
        store: Store,
        agents: AgentRegistry,
        scheduler: Scheduler,
        levels: Levels,
        limits: Limits,
        pauses: Pauses,
        checkpoints: Checkpoints,
        leases: Leases,
        clock: Clock,
        sends: Sends,
        delays: AssignmentDelays,
    ) -> None:
        self._sends = sends
        self._delays = delays
        self._store = store
        self._limits = limits
        self._pauses = pauses
        self._checkpoints = checkpoints
        self._leases = leases
        self._clock = clock
        self._agents = agents
        self._scheduler = scheduler
        self._levels = levels

    async def get(self, task_id: str) -> TaskRecord:
        """A task. A waiting one says why it waits. Raises `TaskNotFound`."""
        record = await self._store.read(task_id)
        if record is None:
            raise TaskNotFound(f"there is no task {task_id[:64]}")
        return self._told(record)

    def contact(self, task: Task) -> TaskContact | None:
        """How an agent is heard of that has a task; None: none has it."""
        if task.is_terminal or task.is_waiting or task.attempt is None:
            return None
        agent_id, left = task.attempt.agent_id, self._leases.left_ms(task)
        return TaskContact(
            state="connected" if self._agents.session(agent_id) is not None else "lost",
            last_contact=self._agents.last_contact(agent_id),
            lease_until=None if left is None else self._clock.now() + left,
        )

    async def list(self, query: TaskQuery) -> TaskPage:
        """A page of tasks, newest first. Raises `InvalidTask` for a `q` that means nothing, and too many labels."""
        if len(query.labels) > MAX_METADATA:
            raise InvalidTask(FieldError("labels", f"a task has at most {MAX_METADATA}"))
        if query.q:
            search_of(query.q)
        page = await self._store.list(query)
        return TaskPage([self._told(record) for record in page], page.next_key)

    async def counts(self) -> Mapping[tuple[str, str], int]:
        """How many live tasks there are by (status, pool), as of a moment ago."""
        return (await self._levels.read()).by_status

    async def queued(self) -> Mapping[tuple[str, str], int]:
        """How many tasks are pending by (pool, priority band), as of a moment ago."""
        return (await self._levels.read()).queued

    async def scheduler_status(self) -> SchedulerStatus:
        """What waits and what runs, as of a moment ago."""
        by_priority = dict.fromkeys(sorted(PRIORITIES, key=PRIORITIES.__getitem__, reverse=True), 0)
        for (_, band), count in (await self.queued()).items():
            by_priority[band] += count
        last = self._checkpoints.last
        running = sum(count for (status, _), count in (await self.counts()).items() if status in GRANTED)
        return SchedulerStatus(
            state="paused" if self._scheduler.paused or self._pauses.get(SCHEDULER) is not None else "running",
            queued_tasks=sum(by_priority.values()),
            running_tasks=running,
            max_concurrent_tasks=self._limits.limit(OURS + RUNNING) or 0,
            available_slots=sum(max(0, session.room) for session in self._agents.sessions()),
            queue_by_priority=by_priority,
            last_checkpoint_at=last.taken_at if last is not None else None,
            pauses=self._pauses.all(),
        )

    async def agent_sessions(self, agent_id: str, *, before: int, limit: int) -> Sequence[AgentSessionRecord]:
        """The sessions of an agent with a number below `before` (0: any), newest first. Raises `AgentNotFound`."""
        self._agents.view(agent_id)
        return await self._store.agent_sessions(agent_id, before, max(1, min(limit, MOST_SESSIONS)))

    def _told(self, record: TaskRecord) -> TaskRecord:
        """What is stored of a task, with what is known of it now."""
        limits = in_force(record.task, self._limits)
        return self._explained(replace(record, in_force=limits) if limits else record)

    def _explained(self, record: TaskRecord) -> TaskRecord:
        task = record.task
        if task.status not in QUEUED or task.message:
            return record
        if self._scheduler.paused:
            return replace(record, task=evolve(task, reason=Reason.PAUSED, message="the scheduler is paused"))
        pause = self._pauses.over(task.spec.pool, task.spec.type)
        if pause is not None:
            return replace(record, task=evolve(task, reason=Reason.PAUSED, message=f"waits: {pause.words}"))
        lacking = self._limits.explain(task)
        if lacking is not None:
            reason, why = lacking
            return replace(record, task=evolve(task, reason=reason, message=f"waits: {why}"))
        failed = self._sends.rest_of(task.id)
        if failed is not None:
            resting = Assignment(failed.times, self._clock.now() + self._sends.left_ms(failed), Unassigned.SEND_FAILED)
            message = f"it could not be sent to agent {failed.agent_id}, and nobody else has room"
            return replace(record, task=evolve(task, message=message), assignment=resting)
        shape = shape_of(task)
        since, why = task.ready_at or task.created_at, self._agents.unassigned(shape)
        tries = assignment_since(since, self._clock.now(), why, self._delays)
        return replace(record, task=evolve(task, message=self._agents.why_nobody(shape)), assignment=tries)
