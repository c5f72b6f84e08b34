"""How tasks come in: checked, placed, made durable, answered.

A task for which a slot is free is granted in its own commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from nodelink.errors import CallerError, IdempotencyConflict, NoAgent, Overloaded, StoreError, TaskNotFinished
from nodelink.task import TERMINAL, Execution, Submission
from nodelink.values import evolve
from nodelink_server.core.grants import Grants
from nodelink_server.core.ledger import Committed, Ledger
from nodelink_server.core.observer import Submitting
from nodelink_server.core.ports import Change, Clock, EventName, IdempotencyKey, Replay, Store
from nodelink_server.core.ranking import Ranking
from nodelink_server.core.scheduler import Scheduler, shape_of
from nodelink_server.core.session import AgentSession
from nodelink_server.core.tally import Tally
from nodelink_server.core.task import Task, TaskRecord, ready, scheduled
from nodelink_server.core.validation import digest, validate

_GRANTED = (EventName.TASK_CREATED, EventName.TASK_SENT)
_PENDING = (EventName.TASK_CREATED, EventName.TASK_PENDING)
_SCHEDULED = (EventName.TASK_CREATED, EventName.TASK_SCHEDULED)


class Accepted(NamedTuple):
    """A task that is durable. `replayed`: it had been accepted before, under the same idempotency key."""

    task: Task
    replayed: bool


class _Placed(NamedTuple):
    """A change that is about to be committed, and the session whose slot is reserved for it."""

    change: Change
    session: AgentSession | None


def repetition(record: TaskRecord, *, idempotency_key: str | None, traceparent: str) -> Submission:
    """A finished task as it is handed in once more, due at once. Raises `TaskNotFinished`."""
    task = record.task
    if not task.is_terminal:
        raise TaskNotFinished(f"the task has not finished yet: it is {task.status}")
    return Submission(
        spec=evolve(task.spec, scheduled_at=None, delay_ms=None),
        payload=record.payload,
        idempotency_key=idempotency_key,
        traceparent=traceparent,
        retry_of=task.id,
    )


class Submissions:
    """Turns what callers hand in into tasks."""

    def __init__(
        self,
        *,
        store: Store,
        ledger: Ledger,
        scheduler: Scheduler,
        grants: Grants,
        ranking: Ranking,
        clock: Clock,
        new_id: Callable[[], str],
        types: Mapping[str, Execution],
        tally: Tally,
        submitting: Submitting | None = None,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._scheduler = scheduler
        self._grants = grants
        self._ranking = ranking
        self._clock = clock
        self._new_id = new_id
        self._types = types
        self._tally = tally
        self._submitting = submitting

    async def check_live(self, counts: Mapping[tuple[str, str], int], most: int, more: int) -> None:
        """Raise `Overloaded` if there are too many live tasks already."""
        live = sum(count for (status, _), count in counts.items() if status not in TERMINAL)
        if live + more > most:
            raise Overloaded(f"there are {live} live tasks; at most {most} are allowed", retry_after=5.0)

    async def submit(self, submissions: Sequence[Submission], *, caller: str) -> list[Accepted | CallerError]:
        """One outcome each, in order. Raises `StoreUnavailable` or `Overloaded` if nothing was accepted."""
        if self._submitting is None:
            return await self._submit(submissions, caller)
        with self._submitting(submissions) as kept:
            return await self._submit(kept, caller)

    async def _submit(self, submissions: Sequence[Submission], caller: str) -> list[Accepted | CallerError]:
        self._ledger.check_room()
        outcomes: list[Accepted | CallerError | _Placed] = []
        for submission in submissions:
            try:
                execution = validate(submission, self._types)
                outcomes.append(self._place(submission, execution, caller))
            except CallerError as refusal:
                outcomes.append(refusal)
        placed = [outcome for outcome in outcomes if isinstance(outcome, _Placed)]
        if placed:
            answers = await self._commit(placed)
            return [next(answers) if isinstance(o, _Placed) else o for o in outcomes]
        return [outcome for outcome in outcomes if not isinstance(outcome, _Placed)]

    def _place(self, submission: Submission, execution: Execution, caller: str) -> _Placed:
        """A new task's first value, and the session that is to run it if one has room now."""
        spec, now = submission.spec, self._clock.now()
        task = Task(
            id=self._new_id(),
            spec=spec,
            execution=execution,
            created_at=now,
            caller=caller,
            payload=submission.payload,
            traceparent=submission.traceparent,
            retry_of=submission.retry_of,
        )
        key = self._key(submission, caller)
        due_at = spec.scheduled_at if spec.delay_ms is None else now + spec.delay_ms
        if due_at is not None and due_at > now:
            change = Change(task=scheduled(task, due_at=due_at), expected=0, events=_SCHEDULED, idempotency=key)
            return _Placed(change, None)
        rank, deadline = self._ranking.of(spec)
        session = self._scheduler.choose(shape_of(task))
        if session is not None:
            granted = self._grants.at_once(session, task, rank=rank, queue_deadline=deadline)
            return _Placed(Change(task=granted, expected=0, events=_GRANTED, idempotency=key), session)
        if spec.queue_timeout_ms == 0:
            raise NoAgent(retry_after=1.0)
        task = ready(task, rank=rank, now=now, queue_deadline=deadline)
        self._scheduler.arriving(shape_of(task), 1)
        return _Placed(Change(task=task, expected=0, events=_PENDING, idempotency=key), None)

    def _key(self, submission: Submission, caller: str) -> IdempotencyKey | None:
        if submission.idempotency_key is None:
            return None
        return IdempotencyKey(caller=caller, key=submission.idempotency_key, digest=digest(submission))

    async def _commit(self, placed: Sequence[_Placed]) -> Iterator[Accepted | CallerError]:
        """Make placed tasks durable.

        Slots and places that come to nothing are given back even if the caller has gone.
        """
        committed = await self._ledger.commit(
            [one.change for one in placed], first=lambda outcome: self._release(placed, outcome)
        )
        before = await self._accepted_before(committed.replays)
        answers: list[Accepted | CallerError] = []
        for index, one in enumerate(placed):
            replay = committed.replays.get(index)
            if replay is None:
                task = one.change.task
                kind = self._tally.kind(task.spec.type, task.spec.pool)
                self._tally.submitted[kind] += 1
                if task.retry_of:
                    self._tally.retries[kind] += 1
                answers.append(Accepted(task, replayed=False))
            elif replay.same and replay.task_id in before:
                answers.append(Accepted(before[replay.task_id], replayed=True))
            else:
                answers.append(IdempotencyConflict())
        return iter(answers)

    def _release(self, placed: Sequence[_Placed], outcome: Committed | StoreError) -> None:
        """What was reserved for tasks that were not accepted is free again."""
        for index, one in enumerate(placed):
            if one.session is None:
                if one.change.events is _PENDING:
                    self._scheduler.arriving(shape_of(one.change.task), -1)
            elif isinstance(outcome, StoreError) or not outcome.revisions[index]:
                one.session.release(1)
            else:
                self._tally.assignments["on_submit"] += 1

    async def _accepted_before(self, replays: Mapping[int, Replay]) -> Mapping[str, Task]:
        if not replays:
            return {}
        found = await self._store.find([replay.task_id for replay in replays.values()])
        return {task.id: task for task in found}
