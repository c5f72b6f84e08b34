"""The single loop that settles what comes through the response channel.

Order that must hold: settle, commit, then acknowledge. A final response is never dropped: while the database is away
the loop tries again, the channel fills, agents get no more credit, and their outboxes keep what they have.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

import structlog

from nodelink.errors import StoreError
from nodelink.plan import PLANNED
from nodelink.task import (
    TERMINAL,
    Accepted,
    AckDisposition,
    AttemptRef,
    Declined,
    Execution,
    Extended,
    Finished,
    Gone,
    Outcome,
    Progress,
    Reason,
    ResultAck,
    Started,
    TaskResponse,
    TaskStatus,
    Update,
)
from nodelink_server.core.attempt import Superseded
from nodelink_server.core.changes import changed
from nodelink_server.core.channel import ResponseChannel
from nodelink_server.core.ledger import Ledger
from nodelink_server.core.losses import ENDED_EVENT, Losses, failed_by_drain, is_current, is_drained, never_began
from nodelink_server.core.plans import Plans, checked_plan, is_planned, with_plan, without_bytes, without_plan
from nodelink_server.core.ports import Change, Clock, EventName, Evidence, Store, TaskEvent
from nodelink_server.core.registry import TaskRegistry
from nodelink_server.core.retries import Retries
from nodelink_server.core.session import AgentSession
from nodelink_server.core.states import GRANTED
from nodelink_server.core.tally import Tally
from nodelink_server.core.task import Task, settled, started
from nodelink_server.core.task_record import LateResult, Remark

MOST_PER_ROUND = 256  # as in a frame; nothing else is done meanwhile
RETRY_SECONDS = 0.5

log = structlog.get_logger(__name__)

Final = Finished | Declined | Gone
"""What an agent says until it is acknowledged."""

_NAMES: Mapping[type[Update], str] = {kind: kind.__name__.lower() for kind in get_args(Update)}
"""What kinds of responses are called in the metrics."""

_ENDED_BY_PEOPLE = frozenset({Reason.ABANDONED, Reason.RESOLVED})


@dataclass(slots=True)
class _Plan:
    """What the responses of one round make of one task."""

    before: Task
    after: Task
    now: int
    events: list[EventName] = field(default_factory=list)
    finished: Finished | None = None
    superseded: Superseded | None = None
    remark: Remark | None = None
    sources: list[tuple[AgentSession, TaskResponse]] = field(default_factory=list)

    def follow(self, change: Change) -> None:
        """Let what follows by a rule from the task as it stands be what is planned."""
        self.after = change.task
        self.events.extend(change.events)
        self.superseded = change.superseded
        self.remark = change.remark


@dataclass(slots=True)
class _Round:
    """What one round of responses comes to."""

    now: int
    found: Mapping[str, Task]
    without_bytes: Collection[AttemptRef] = ()
    """Attempts that tell of a plan which is not there."""
    plans: dict[str, _Plan] = field(default_factory=dict)
    acks: dict[AgentSession, list[ResultAck]] = field(default_factory=lambda: defaultdict(list))
    accepted: dict[AgentSession, list[AttemptRef]] = field(default_factory=lambda: defaultdict(list))
    evidence: list[Evidence] = field(default_factory=list)
    later: list[tuple[AgentSession, TaskResponse]] = field(default_factory=list)
    """What can be looked at only when what came before it is durable."""


class ResponseProcessor:
    """Turns responses into the next values of their tasks, in batches.

    `accepted` is called with the offers that a session has accepted, `declined` with one that it has declined (and
    returns its task, if it was open), `ended` with each final word that is durable. `is_overdue` tells of an agent
    whether it was to be empty by now.
    """

    def __init__(
        self,
        *,
        channel: ResponseChannel,
        ledger: Ledger,
        store: Store,
        registry: TaskRegistry,
        clock: Clock,
        tally: Tally,
        losses: Losses,
        retries: Retries,
        plans: Plans,
        extended: Callable[[Task, Extended], tuple[Task, Remark] | None],
        publish: Callable[[Sequence[TaskEvent]], None],
        accepted: Callable[[AgentSession, Sequence[AttemptRef]], None],
        declined: Callable[[AgentSession, AttemptRef], Task | None],
        ended: Callable[[AgentSession, Final], None],
        is_overdue: Callable[[str], bool],
    ) -> None:
        self._channel = channel
        self._ledger = ledger
        self._store = store
        self._registry = registry
        self._clock = clock
        self._tally = tally
        self._publish = publish
        self._losses = losses
        self._retries = retries
        self._plans = plans
        self._extended = extended
        self._accepted = accepted
        self._declined = declined
        self._ended = ended
        self._is_overdue = is_overdue
        self.rounds = 0
        """How often frames were taken and settled."""

    def nudge(self) -> None:
        """Have it turn once, through its channel."""
        self._channel.nudge()

    async def run(self) -> None:
        """Settle what comes, for ever."""
        while True:
            frames = await self._channel.take(MOST_PER_ROUND)
            await self._settle([(frame.session, response) for frame in frames for response in frame.responses])
            self._channel.settle(frames)
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
        without = await without_bytes(self._store.blobs, (response for _, response in responses))
        round = _Round(self._clock.now(), await self._missing(responses), without)
        for session, response in responses:
            self._consider(session, response, round)
        for session, refs in round.accepted.items():  # whose grants can be in the same commit
            self._accepted(session, refs)
        again = [*await self._commit(round), *round.later]
        for session, ready in round.acks.items():
            session.ack_results(ready)
        if again:
            await self._refresh({response.ref.task_id for _, response in again})
        return again

    async def _commit(self, round: _Round) -> Sequence[tuple[AgentSession, TaskResponse]]:
        """Make a round durable. Returns the responses whose changes were refused."""
        planned = [plan for plan in round.plans.values() if plan.events or plan.remark is not None]
        if not planned and not round.evidence:
            return ()
        committed = await self._ledger.commit([_change(plan) for plan in planned], evidence=round.evidence)
        self._tally.late_results += len(round.evidence)
        again: list[tuple[AgentSession, TaskResponse]] = []
        for plan, revision in zip(planned, committed.revisions, strict=True):
            if revision:
                self._settled(plan, round.acks)
            else:
                again.extend(plan.sources)
        return again

    async def _missing(self, responses: Sequence[tuple[AgentSession, TaskResponse]]) -> Mapping[str, Task]:
        """The tasks that are spoken of and are not active: from the database. Some may leave memory meanwhile."""
        found: dict[str, Task] = {}
        asked: set[str] = set()
        while True:
            ids = {r.ref.task_id for _, r in responses if self._registry.get(r.ref.task_id) is None} - asked
            if not ids:
                return found
            asked |= ids
            found.update((task.id, task) for task in await self._store.find(list(ids)))

    async def _refresh(self, task_ids: set[str]) -> None:
        """A guard has refused: what is shown may be older than what is stored. What memory has let go of stays away."""
        put = []
        for task in await self._store.find(list(task_ids)):
            shown = self._registry.get(task.id)
            if task.status in GRANTED if shown is None else shown.revision < task.revision:
                put.append(task)
        self._registry.swap(put=put)

    def _consider(self, session: AgentSession, response: TaskResponse, round: _Round) -> None:
        """Work one response into the plan of its task, or answer it at once."""
        ref, update = response
        if isinstance(update, Accepted):
            self._tally.responses["accepted"] += 1
            round.accepted[session].append(ref)
            return
        if isinstance(update, Declined) and self._offer_declined(session, ref, update, round):
            return
        plan = round.plans.get(ref.task_id)
        if plan is None:
            task = self._registry.get(ref.task_id) or round.found.get(ref.task_id)
            if task is None:
                self._refuse(session, response, AckDisposition.STALE, round, "response_for_unknown_task")
                return
            plan = round.plans[ref.task_id] = _Plan(task, task, round.now)
        if isinstance(update, Finished) and _refusal(plan.after, session, response) is None:  # as nearly all are
            self._work_in(plan, update, has_bytes=ref not in round.without_bytes)
            plan.sources.append((session, response))
        else:
            self._consider_plan(session, response, plan, round)

    def _consider_plan(self, session: AgentSession, response: TaskResponse, plan: _Plan, round: _Round) -> None:
        update = response.update
        if isinstance(update, Gone) and (plan.events or plan.remark is not None):
            round.later.append((session, response))  # the attempt is left behind, with the steps that it took
            return
        refusal = _refusal(plan.after, session, response)
        if refusal is not None:
            if _refusal(plan.before, session, response) is None and isinstance(update, Final):
                plan.sources.append((session, response))  # said twice, and not durable yet: acknowledged with the plan
                return
            if refusal is AckDisposition.STALE:
                _keep_evidence(session, response, plan.before, round.now, round)
            self._refuse(session, response, refusal, round, f"response_{refusal}")
        elif isinstance(update, Progress):
            self._progress(plan.after, update)
        elif isinstance(update, Extended):
            self._extend(session, response, plan, round)
        elif isinstance(update, Started | Final) and self._work_in(plan, update):
            plan.sources.append((session, response))
            if isinstance(update, Declined) and not update.just_this:  # before the task waits again
                session.types.discard(plan.after.spec.type)
        elif isinstance(update, Final):
            self._answer_without_change(session, response, plan, round)

    def _extend(self, session: AgentSession, response: TaskResponse, plan: _Plan, round: _Round) -> None:
        """Work has given itself other limits. Each such word is kept with the task, and only one fits into a commit."""
        if plan.remark is not None:
            round.later.append((session, response))
            return
        assert isinstance(response.update, Extended)
        outcome = self._extended(plan.after, response.update)
        if outcome is not None:
            plan.after, plan.remark = outcome
            plan.sources.append((session, response))

    def _answer_without_change(self, session: AgentSession, response: TaskResponse, plan: _Plan, round: _Round) -> None:
        """A final word from which nothing follows: a task in doubt stays in doubt; what has begun is not declined."""
        if isinstance(response.update, Gone):
            _keep_evidence(session, response, plan.before, round.now, round)
            round.acks[session].append(ResultAck(response.ref, AckDisposition.COMMITTED))
        else:
            self._refuse(session, response, AckDisposition.STALE, round, "declined_after_start")

    def _offer_declined(self, session: AgentSession, ref: AttemptRef, update: Declined, round: _Round) -> bool:
        """Whether this declines an open offer. Then nothing was committed, and its task waits again."""
        task = self._registry.get(ref.task_id)
        if task is not None and not update.just_this and not is_current(task, ref, session.agent_id):
            session.types.discard(task.spec.type)  # before the task waits again
        task = self._declined(session, ref)
        if task is None:
            return False
        self._tally.responses["declined"] += 1
        log.warning("task_declined", task_id=ref.task_id, agent_id=session.agent_id, why=update.message)
        round.acks[session].append(ResultAck(ref, AckDisposition.COMMITTED))
        self._ended(session, update)
        return True

    def _work_in(self, plan: _Plan, update: Started | Final, *, has_bytes: bool = True) -> bool:
        """Let a plan follow from an update. Returns whether anything does."""
        task, now = plan.after, plan.now
        begun = task.attempt is not None and task.attempt.started_at is not None
        if isinstance(update, Finished):
            if not begun:
                plan.events.append(EventName.TASK_STARTED)
            self._finish(plan, update, now, has_bytes=has_bytes)
            return True
        if isinstance(update, Gone):
            return _follow(plan, self._losses.lost(task, why=update.message, now=now, died=update.agent_died))
        if begun:
            return False
        if isinstance(update, Declined):
            return _follow(plan, never_began(task, now=now))
        plan.after = started(task, at=now - update.ago_ms, containment=update.containment)
        plan.events.append(EventName.TASK_STARTED)
        return True

    def _finish(self, plan: _Plan, finished: Finished, now: int, *, has_bytes: bool) -> None:
        """An attempt has ended: so has its task, or it is to be tried again."""
        task, plan.finished = plan.after, finished
        if finished.outcome is Outcome.CANCELLED and is_drained(task, finished, self._is_overdue):
            if task.phase_execution is Execution.REPLAYABLE:
                plan.follow(self._losses.drained(task, finished, now=now))
                return
            plan.finished = finished = failed_by_drain(finished)
        if finished.plan is not None or task.spec.type in PLANNED:
            finished = checked_plan(task, finished, has_bytes=has_bytes)
            plan.finished = without_plan(finished)
            if is_planned(task, finished):
                plan.follow(self._plans.made(task, finished, now=now))
                return
        after = with_plan(settled(task, finished, now=now), finished)
        again = self._retries.after(task, after, finished, now=now)
        if again is None:
            plan.after = after
            plan.events.append(ENDED_EVENT[after.status])
        else:
            plan.after, plan.superseded = again
            plan.events.append(EventName.TASK_RETRYING)

    def _settled(self, plan: _Plan, acks: dict[AgentSession, list[ResultAck]]) -> None:
        """A plan is durable: acknowledge what asked for it."""
        if plan.after.status is TaskStatus.SCHEDULED:
            self._tally.retries[self._tally.kind(plan.after.spec.type, plan.after.spec.pool)] += 1
        for session, (ref, update) in plan.sources:
            self._tally.responses[_NAMES[type(update)]] += 1
            if isinstance(update, Declined | Gone):
                what = "task_declined" if isinstance(update, Declined) else "attempt_gone"
                log.warning(what, task_id=ref.task_id, agent_id=session.agent_id, why=update.message)
            if isinstance(update, Final):
                acks[session].append(ResultAck(ref, AckDisposition.COMMITTED))
                self._ended(session, update)

    def _refuse(
        self, session: AgentSession, response: TaskResponse, disposition: AckDisposition, round: _Round, event: str
    ) -> None:
        """A response that changes nothing is counted, told of and acknowledged, so that it is not sent for ever."""
        self._tally.responses[disposition.value] += 1
        ref = response.ref
        if disposition is AckDisposition.STALE:
            log.warning(event, task_id=ref.task_id, attempt=ref.attempt, agent_id=session.agent_id)
        if isinstance(response.update, Final):
            round.acks[session].append(ResultAck(ref, disposition))

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


def _follow(plan: _Plan, change: Change | None) -> bool:
    if change is not None:
        plan.follow(change)
    return change is not None


def _refusal(task: Task, session: AgentSession, response: TaskResponse) -> AckDisposition | None:
    """Why a response changes nothing about a task; None: it may."""
    attempt, (_, number, fence) = task.attempt, response.ref
    if attempt is None or attempt.fence != fence or attempt.number != number or attempt.agent_id != session.agent_id:
        return AckDisposition.STALE
    if task.status not in TERMINAL:
        return None
    # What was ended without its agent's word stays so; what the agent has to tell all the same is kept beside it.
    ended_without_word = task.may_have_run or task.reason in _ENDED_BY_PEOPLE
    return AckDisposition.STALE if ended_without_word else AckDisposition.DUPLICATE


def _keep_evidence(session: AgentSession, response: TaskResponse, task: Task, now: int, round: _Round) -> None:
    """Keep, for people, what is told of an attempt that counts no more."""
    ref, update = response
    if isinstance(update, Finished):
        message = update.error.message if update.error is not None else ""
        late = LateResult(ref.attempt, ref.fence, session.agent_id, now, update.outcome, update.exit_code, message)
    elif isinstance(update, Gone):
        late = LateResult(ref.attempt, ref.fence, session.agent_id, now, "gone", None, update.message)
    else:
        return
    round.evidence.append(Evidence(task.key, late))


def _change(plan: _Plan) -> Change:
    return changed(
        plan.before,
        plan.after,
        *plan.events,
        finished=plan.finished,
        superseded=plan.superseded,
        remark=plan.remark,
    )
