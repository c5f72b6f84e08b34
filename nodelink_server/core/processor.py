"""The single loop that settles what comes through the response channel.

Order that must hold: settle, commit, then acknowledge. A final response is never dropped: while the database is away
the loop tries again, the channel fills, agents get no more credit, and their outboxes keep what they have.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from nodelink.errors import StoreError
from nodelink.task import (
    AckDisposition,
    Declined,
    Finished,
    Progress,
    ResultAck,
    Started,
    TaskResponse,
    TaskStatus,
)
from nodelink_server.core.channel import ResponseChannel
from nodelink_server.core.ledger import Ledger
from nodelink_server.core.ports import Change, Clock, EventName, Store, TaskEvent
from nodelink_server.core.registry import TaskRegistry
from nodelink_server.core.session import AgentSession
from nodelink_server.core.tally import Tally
from nodelink_server.core.task import Superseded, Task, given_back, settled, started, stopped

MOST_PER_ROUND = 2_000
RETRY_SECONDS = 0.5

log = structlog.get_logger(__name__)

ENDED_EVENT: Mapping[TaskStatus, EventName] = {
    TaskStatus.COMPLETED: EventName.TASK_COMPLETED,
    TaskStatus.FAILED: EventName.TASK_FAILED,
    TaskStatus.TIMEOUT: EventName.TASK_TIMEOUT,
    TaskStatus.CANCELLED: EventName.TASK_CANCELLED,
    TaskStatus.LOST: EventName.TASK_LOST,
}


@dataclass(slots=True)
class _Plan:
    """What the responses of one round make of one task."""

    before: Task
    after: Task
    events: list[EventName] = field(default_factory=list)
    finished: Finished | None = None
    superseded: Superseded | None = None
    sources: list[tuple[AgentSession, TaskResponse]] = field(default_factory=list)


class ResponseProcessor:
    """Turns responses into the next values of their tasks, in batches."""

    def __init__(
        self,
        *,
        channel: ResponseChannel,
        ledger: Ledger,
        store: Store,
        registry: TaskRegistry,
        clock: Clock,
        tally: Tally,
        publish: Callable[[Sequence[TaskEvent]], None],
    ) -> None:
        self._channel = channel
        self._ledger = ledger
        self._store = store
        self._registry = registry
        self._clock = clock
        self._tally = tally
        self._publish = publish
        self.is_idle = True
        """Whether nothing is being settled right now."""
        self.rounds = 0
        """How often frames were taken and settled."""

    def nudge(self) -> None:
        """Have it turn once, through its channel."""
        self._channel.nudge()

    async def run(self) -> None:
        """Settle what comes, for ever."""
        while True:
            frames = await self._channel.take(MOST_PER_ROUND)
            self.is_idle = False
            await self._settle([(frame.session, response) for frame in frames for response in frame.responses])
            self._channel.settle(frames)
            self.is_idle = True
            self.rounds += 1

    async def _settle(self, responses: Sequence[tuple[AgentSession, TaskResponse]]) -> None:
        """Settle responses until each has been carried out or found to be stale, however often the database fails."""
        while responses:
            try:
                responses = await self._round(responses)
            except StoreError as error:
                log.warning("settle_failed", responses=len(responses), error=error.message)
                await self._clock.sleep(RETRY_SECONDS)

    async def _round(
        self, responses: Sequence[tuple[AgentSession, TaskResponse]]
    ) -> Sequence[tuple[AgentSession, TaskResponse]]:
        """One commit. Returns the responses whose tasks had changed meanwhile and must be looked at again."""
        found = await self._missing(responses)
        plans: dict[str, _Plan] = {}
        acks: dict[AgentSession, list[ResultAck]] = defaultdict(list)
        for session, response in responses:
            self._consider(session, response, found, plans, acks)
        changed = [plan for plan in plans.values() if plan.events]
        again: list[tuple[AgentSession, TaskResponse]] = []
        if changed:
            committed = await self._ledger.commit([_change(plan) for plan in changed])
            for plan, revision in zip(changed, committed.revisions, strict=True):
                if revision:
                    self._settled(plan, acks)
                else:
                    again.extend(plan.sources)
        for session, ready in acks.items():
            session.ack_results(ready)
        if again:
            await self._refresh({response.ref.task_id for _, response in again})
        return again

    async def _missing(self, responses: Sequence[tuple[AgentSession, TaskResponse]]) -> Mapping[str, Task]:
        """The tasks that are spoken of and are not active: from the database."""
        ids = {r.ref.task_id for _, r in responses if self._registry.get(r.ref.task_id) is None}
        return {task.id: task for task in await self._store.find(list(ids))} if ids else {}

    async def _refresh(self, task_ids: set[str]) -> None:
        """A guard has refused: what is shown may be older than what is stored."""
        self._registry.swap(put=await self._store.find(list(task_ids)))

    def _consider(
        self,
        session: AgentSession,
        response: TaskResponse,
        found: Mapping[str, Task],
        plans: dict[str, _Plan],
        acks: dict[AgentSession, list[ResultAck]],
    ) -> None:
        """Work one response into the plan of its task, or answer it at once."""
        ref, update = response
        plan = plans.get(ref.task_id)
        if plan is None:
            task = self._registry.get(ref.task_id) or found.get(ref.task_id)
            if task is None:
                self._refuse(session, response, AckDisposition.STALE, acks, "response_for_unknown_task")
                return
            plan = plans[ref.task_id] = _Plan(before=task, after=task)
        refusal = _refusal(plan.after, session, response)
        if refusal is not None:
            if _refusal(plan.before, session, response) is None and isinstance(update, Finished | Declined):
                plan.sources.append((session, response))  # said twice, and not durable yet: acknowledged with the plan
            else:
                self._refuse(session, response, refusal, acks, f"response_{refusal}")
        elif isinstance(update, Progress):
            self._progress(plan.after, update)
        elif self._work_in(plan, update):
            plan.sources.append((session, response))
            if isinstance(update, Declined):  # before the commit that lets the task wait again
                session.types.discard(plan.after.spec.type)
        elif isinstance(update, Declined):
            self._refuse(session, response, AckDisposition.STALE, acks, "declined_after_start")

    def _work_in(self, plan: _Plan, update: Started | Declined | Finished) -> bool:
        """Let a plan follow from an update. Returns whether anything does."""
        task, now = plan.after, self._clock.now()
        if isinstance(update, Finished):
            if task.attempt is not None and task.attempt.started_at is None:
                plan.events.append(EventName.TASK_STARTED)
            plan.after, plan.finished = settled(task, update, now=now), update
            plan.events.append(ENDED_EVENT[plan.after.status])
            return True
        begun = task.attempt is not None and task.attempt.started_at is not None
        if begun or task.status not in (TaskStatus.SENT, TaskStatus.CANCELLING):
            return False
        if isinstance(update, Started):
            plan.after = started(task, at=now - update.ago_ms, containment=update.containment)
            plan.events.append(EventName.TASK_STARTED)
            return True
        return self._decline(plan, task, now)

    def _decline(self, plan: _Plan, task: Task, now: int) -> bool:
        assert task.attempt is not None
        plan.superseded = Superseded(attempt=task.attempt, state="void", ended_at=now)
        if task.status is TaskStatus.CANCELLING:
            plan.superseded = None
            plan.after = stopped(task, now=now)
            plan.events.append(ENDED_EVENT[plan.after.status])
        else:
            plan.after = given_back(task)
            plan.events.append(EventName.TASK_PENDING)
        return True

    def _settled(self, plan: _Plan, acks: dict[AgentSession, list[ResultAck]]) -> None:
        """A plan is durable: acknowledge what asked for it."""
        for session, (ref, update) in plan.sources:
            self._tally.responses[type(update).__name__.lower()] += 1
            if isinstance(update, Declined):
                log.warning("task_declined", task_id=ref.task_id, agent_id=session.agent_id, why=update.message)
            if not isinstance(update, Started):
                acks[session].append(ResultAck(ref, AckDisposition.COMMITTED))

    def _refuse(
        self,
        session: AgentSession,
        response: TaskResponse,
        disposition: AckDisposition,
        acks: dict[AgentSession, list[ResultAck]],
        event: str,
    ) -> None:
        """A response that changes nothing is counted, told of and acknowledged, so that it is not sent for ever."""
        self._tally.responses[disposition.value] += 1
        ref = response.ref
        if disposition is AckDisposition.STALE:
            log.warning(event, task_id=ref.task_id, attempt=ref.attempt, agent_id=session.agent_id)
        if isinstance(response.update, Finished | Declined):
            acks[session].append(ResultAck(ref, disposition))

    def _progress(self, task: Task, progress: Progress) -> None:
        self._tally.responses["progress"] += 1
        self._registry.advance(task.id, progress)
        event = TaskEvent(
            0,
            EventName.TASK_PROGRESS,
            self._clock.now(),
            task.id,
            task.attempt.agent_id if task.attempt else "",
            task.status,
            task.reason,
            task.spec.priority,
            task.spec.type,
            task.spec.pool,
            task.grants,
            {"fraction": progress.fraction, "message": progress.message},
        )
        self._publish([event])


def _refusal(task: Task, session: AgentSession, response: TaskResponse) -> AckDisposition | None:
    """Why a response changes nothing about a task; None: it may."""
    attempt, ref = task.attempt, response.ref
    if attempt is None or (attempt.number, attempt.fence, attempt.agent_id) != (*ref[1:], session.agent_id):
        return AckDisposition.STALE
    return AckDisposition.DUPLICATE if task.is_terminal else None


def _change(plan: _Plan) -> Change:
    return Change(
        task=plan.after,
        expected=plan.before.revision,
        events=tuple(plan.events),
        finished=plan.finished,
        superseded=plan.superseded,
    )
