"""How tasks come in: checked, placed, made durable, answered.

A task for which a slot is free is granted in its own commit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from nodelink.errors import (
    CallerError,
    IdempotencyConflict,
    NoAgent,
    Overloaded,
    StoreError,
    TaskNotFinished,
    UniqueKeyTaken,
)
from nodelink.task import TERMINAL, OnConflict, Submission
from nodelink.values import evolve
from nodelink_server.core.asked import AskedSpecs
from nodelink_server.core.grants import Grants
from nodelink_server.core.ledger import Committed, Ledger
from nodelink_server.core.limits import Limits
from nodelink_server.core.needs import shape_of
from nodelink_server.core.observer import Submitting
from nodelink_server.core.ports import Change, Clock, EventName, IdempotencyKey, Shape, Store
from nodelink_server.core.ranking import Ranking, Standing
from nodelink_server.core.scheduler import Scheduler
from nodelink_server.core.session import AgentSession
from nodelink_server.core.superseding import replaced
from nodelink_server.core.tally import Tally
from nodelink_server.core.task import Task, ready, scheduled, skipped
from nodelink_server.core.task_record import TaskRecord
from nodelink_server.core.validation import digest

TRIES = 20

_GRANTED = (EventName.TASK_CREATED, EventName.TASK_SENT)
_PENDING = (EventName.TASK_CREATED, EventName.TASK_PENDING)
_SKIPPED = (EventName.TASK_CREATED, EventName.TASK_SKIPPED)
_SCHEDULED = (EventName.TASK_CREATED, EventName.TASK_SCHEDULED)


class Accepted(NamedTuple):
    """A task that is durable. `replayed`: it had been accepted before, under the same idempotency key, or is the live
    one with the same unique key that was asked for.
    """

    task: Task
    replayed: bool


_NOWHERE = Standing(0)


class _New(NamedTuple):
    """A valid task that is not placed yet. `due_at` None: at once."""

    task: Task
    key: IdempotencyKey | None
    due_at: int | None
    shape: Shape

    @property
    def is_later(self) -> bool:
        """Whether it waits for a time that is still to come."""
        return self.due_at is not None and self.due_at > self.task.created_at


class _Wish(NamedTuple):
    """A new task that is to be placed, and the change by which another makes way for it in the same commit."""

    new: _New
    instead: Change | None = None


class _Clash(NamedTuple):
    """A new task did not come in: the live task `owner` has its unique key. Empty: a place was another's."""

    owner: str


class _Placed(NamedTuple):
    """A change that is about to be committed, and the session whose slot is reserved for it."""

    change: Change
    session: AgentSession | None
    is_arriving: bool = False
    """It waits for room, and nobody may overtake it while it is being committed."""
    is_promised: bool = False
    """It is committed as waiting, and given to the session then."""
    instead: Change | None = None
    """What is committed before it: another makes way."""


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
        limits: Limits,
        ranking: Ranking,
        asked: AskedSpecs,
        clock: Clock,
        new_id: Callable[[], str],
        tally: Tally,
        submitting: Submitting | None = None,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._scheduler = scheduler
        self._grants = grants
        self._limits = limits
        self._ranking = ranking
        self._asked = asked
        self._clock = clock
        self._new_id = new_id
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
        now = self._clock.now()
        made = [self._made(submission, caller, now) for submission in submissions]
        outcomes: dict[int, Accepted | CallerError] = {}
        outcomes.update((index, new) for index, new in enumerate(made) if isinstance(new, CallerError))
        wishes: Mapping[int, _Wish] = {i: _Wish(new) for i, new in enumerate(made) if not isinstance(new, CallerError)}
        for _ in range(TRIES + len(wishes)):  # of those of one batch that want a key, each round lets one have it
            if wishes:
                wishes = await self._round(wishes, outcomes)
        outcomes |= {index: UniqueKeyTaken("the unique key changes hands too fast; try again") for index in wishes}
        return [outcomes[index] for index in range(len(made))]

    async def _round(
        self, wishes: Mapping[int, _Wish], outcomes: dict[int, Accepted | CallerError]
    ) -> Mapping[int, _Wish]:
        """One commit. Returns what is to be tried again; all others have an outcome."""
        try:
            found = await self._try(wishes)
            outcomes |= {index: one for index, one in found.items() if not isinstance(one, _Clash)}
            clashes = [(index, wishes[index].new, one) for index, one in found.items() if isinstance(one, _Clash)]
            return await self._decided(clashes, outcomes) if clashes else {}
        except StoreError as error:
            if not any(isinstance(one, Accepted) for one in outcomes.values()):
                raise
            refused = [index for index in wishes if index not in outcomes]
            outcomes |= {index: Overloaded(error.message, retry_after=error.retry_after) for index in refused}
            return {}

    async def _try(self, wishes: Mapping[int, _Wish]) -> dict[int, Accepted | CallerError | _Clash]:
        """Place new tasks, and make durable what is placed; what is to make way for them first."""
        placed = dict(zip(wishes, self._place_all(list(wishes.values())), strict=True))
        to_commit = {index: one for index, one in placed.items() if isinstance(one, _Placed)}
        answers = await self._commit(list(to_commit.values())) if to_commit else []
        refused = {index: one for index, one in placed.items() if not isinstance(one, _Placed)}
        return {**refused, **dict(zip(to_commit, answers, strict=True))}

    async def _decided(
        self, clashes: Sequence[tuple[int, _New, _Clash]], outcomes: dict[int, Accepted | CallerError]
    ) -> dict[int, _Wish]:
        """What is to be tried again of tasks whose unique key, or place, is another's; the others have an outcome."""
        wishes = {}
        owners = await self._stored([clash.owner for _, _, clash in clashes if clash.owner])
        for index, new, clash in clashes:
            task, owner = new.task, owners.get(clash.owner)
            if clash.owner and task.spec.on_conflict is OnConflict.FAIL:
                outcomes[index] = UniqueKeyTaken(f"task {clash.owner} has the unique key {task.spec.unique_key!r}")
            elif owner is None or owner.unique_key != task.spec.unique_key:  # it has ended meanwhile, or was replaced
                wishes[index] = _Wish(new)
            elif task.spec.on_conflict is OnConflict.USE_EXISTING:
                outcomes[index] = Accepted(owner, replayed=True)
            else:
                wishes[index] = _Wish(new, replaced(owner, by=task, key=new.key, now=self._clock.now()))
        return wishes

    def _made(self, submission: Submission, caller: str, now: int) -> _New | CallerError:
        """A new task, if it is a valid one."""
        try:
            _, spec, execution, shape = self._asked.of(submission)
        except CallerError as refusal:
            return refusal
        due_at = spec.scheduled_at if spec.delay_ms is None else now + spec.delay_ms
        wait_ms = 0 if due_at is None else max(0, due_at - now)
        task = Task(
            id=self._new_id(),
            spec=spec,
            execution=execution,
            created_at=now,
            caller=caller,
            payload=submission.payload,
            traceparent=submission.traceparent,
            retry_of=submission.retry_of,
            total_deadline=self._ranking.total_deadline(spec, wait_ms),
        )
        return _New(task, self._key(submission, caller), due_at, shape)

    def _place_all(self, wishes: Sequence[_Wish]) -> list[_Placed | CallerError]:
        """Place new tasks, the first in line first: those that come together have waited equally long."""
        outcomes: list[_Placed | CallerError] = [NoAgent()] * len(wishes)
        now = self._clock.now()
        for stands, index, wish in self._in_line(wishes):
            outcomes[index] = self._place(wish, stands, now)
        return outcomes

    def _in_line(self, wishes: Sequence[_Wish]) -> Sequence[tuple[Standing, int, _Wish]]:
        """How new tasks stand that are ready, in their order. Those that are alike stand alike."""
        alike: dict[int, Standing] = {}
        line = []
        for index, wish in sorted(enumerate(wishes), key=_least_important_last):
            spec, stands = wish.new.task.spec, _NOWHERE
            if not wish.new.is_later:
                known = alike.get(id(spec))
                stands = self._ranking.of(spec) if known is None else known
                if not spec.fairness_key:
                    alike[id(spec)] = stands
            line.append((stands, index, wish))
        return sorted(line, key=_by_rank)

    def _place(self, wish: _Wish, standing: Standing, now: int) -> _Placed | CallerError:
        """A new task's first value, and the session that is to run it if one has room now."""
        (task, key, due_at, shape), instead = wish
        if due_at is not None and wish.new.is_later:
            change = Change(task=scheduled(task, due_at=due_at), expected=0, events=_SCHEDULED, idempotency=key)
            return _Placed(change, None, instead=instead)
        if self._limits.is_to_be_skipped(task):
            change = Change(task=skipped(task, now=task.created_at), expected=0, events=_SKIPPED, idempotency=key)
            return _Placed(change, None)
        session = self._scheduler.choose(task, shape)
        is_reserved = session is not None and self._limits.reserve(task, session.agent_id)
        if session is not None and is_reserved and instead is None and self._grants.is_at_once(session, task):
            return _Placed(self._granted(session, task, standing, key, now), session)
        waiting = Change(
            task=ready(task, now=task.created_at, **standing._asdict()),
            expected=0,
            events=_PENDING,
            idempotency=key,
        )
        if is_reserved:
            self._scheduler.promise(task.id)
            return _Placed(waiting, session, is_promised=True, instead=instead)
        if session is not None:
            session.release([task])
        if task.spec.queue_timeout_ms == 0:
            return NoAgent(retry_after=1.0)
        is_arriving = session is None
        if is_arriving:
            self._scheduler.arriving(shape, 1)
        return _Placed(waiting, None, is_arriving=is_arriving, instead=instead)

    def _granted(
        self, session: AgentSession, task: Task, standing: Standing, key: IdempotencyKey | None, now: int
    ) -> Change:
        reserved = self._limits.reservation(task.id)
        return Change(
            task=self._grants.at_once(session, task, standing, reserved.holds, now),
            expected=0,
            events=_GRANTED,
            idempotency=key,
            takes=reserved.holds,
            uses=reserved.uses,
        )

    def _key(self, submission: Submission, caller: str) -> IdempotencyKey | None:
        if submission.idempotency_key is None:
            return None
        return IdempotencyKey(caller=caller, key=submission.idempotency_key, digest=digest(submission))

    async def _commit(self, placed: Sequence[_Placed]) -> list[Accepted | CallerError | _Clash]:
        """Make placed tasks durable.

        Slots and places that come to nothing are given back even if the caller has gone.
        """
        instead = [one.instead for one in placed if one.instead is not None]
        committed = await self._ledger.commit(
            [*instead, *(one.change for one in placed)],
            first=lambda outcome: self._release(placed, outcome, behind=len(instead)),
        )
        committed = committed.behind(len(instead))
        before = await self._stored([replay.task_id for replay in committed.replays.values()])
        answers: list[Accepted | CallerError | _Clash] = []
        for index, one in enumerate(placed):
            replay = committed.replays.get(index)
            if replay is None and not committed.revisions[index]:
                answers.append(_Clash(committed.clashes.get(index, "")))
            elif replay is None:
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
        return answers

    def _release(self, placed: Sequence[_Placed], outcome: Committed | StoreError, *, behind: int) -> None:
        """What was reserved for tasks that were not accepted is free again. `behind`: so many other changes."""
        outcome = outcome if isinstance(outcome, StoreError) else outcome.behind(behind)
        for index, one in enumerate(placed):
            if one.session is None:
                if one.is_arriving:
                    self._scheduler.arriving(shape_of(one.change.task), -1)
            elif isinstance(outcome, StoreError) or not outcome.revisions[index]:
                one.session.release([one.change.task])
                if not isinstance(outcome, StoreError) and index in outcome.locked:
                    self._limits.refused(one.change.task)
                else:
                    self._limits.give_back(one.change.task.id)
                if one.is_promised:
                    self._scheduler.granted(one.change.task.id)
            elif one.is_promised:
                self._grants.give(one.session, [one.change.task])
            else:
                self._tally.assignments["on_submit"] += 1
                self._limits.granted(one.change.task.id)

    async def _stored(self, task_ids: Sequence[str]) -> Mapping[str, Task]:
        return {task.id: task for task in await self._store.find(task_ids)} if task_ids else {}


def _least_important_last(wish: tuple[int, _Wish]) -> int:
    return -wish[1].new.task.spec.priority


def _by_rank(stands: tuple[Standing, int, _Wish]) -> tuple[int, int]:
    return stands[0].rank, stands[1]
