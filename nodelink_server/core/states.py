"""Statuses and the moves between them, as data. Whatever is absent from the table is illegal.

The guards are in words here; the functions that make the moves (`core/task.py`) and their callers hold them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from types import MappingProxyType

from nodelink.errors import IllegalTransition
from nodelink.task import LIVE, TaskStatus

S = TaskStatus


class Verb(StrEnum):
    """What can be done to a task."""

    SCHEDULE = "schedule"
    BLOCK = "block"
    READY = "ready"
    GRANT = "grant"
    START = "start"
    EXTEND = "extend"
    GIVE_BACK = "give_back"
    GIVE_BACK_APPLY = "give_back_apply"
    COMPLETE = "complete"
    FAIL = "fail"
    RETRY = "retry"
    PLAN = "plan"
    APPROVE = "approve"
    REPLAY = "replay"
    DRAIN = "drain"
    EXHAUST = "exhaust"
    LOSE = "lose"
    DOUBT = "doubt"
    RECOVER = "recover"
    RESOLVE_COMPLETED = "resolve_completed"
    RESOLVE_FAILED = "resolve_failed"
    RERUN = "rerun"
    REVIVE = "revive"
    CANCEL = "cancel"
    STOP = "stop"
    CONFIRM_CANCEL = "confirm_cancel"
    CONFIRM_TIMEOUT = "confirm_timeout"
    EXPIRE = "expire"
    TIME_OUT = "time_out"
    SKIP = "skip"
    ABANDON = "abandon"
    PRIORITIZE = "prioritize"


WAITING = frozenset({S.CREATED, S.SCHEDULED, S.BLOCKED, S.PENDING, S.PLAN_COMPLETED, S.APPLY_PENDING})
GRANTED = frozenset({S.SENT, S.IN_PROGRESS, S.CANCELLING, S.UNKNOWN})
HOLDING = GRANTED | {S.PLAN_COMPLETED, S.APPLY_PENDING}
"""Where a task holds its lock."""
PLANNED = frozenset({S.PLAN_COMPLETED, S.APPLY_PENDING})
"""Where a task has a plan, and is with no agent."""
QUEUED = frozenset({S.PENDING, S.APPLY_PENDING})
"""Where a task is ready, and waits for an agent."""


_LOSS = "hello, agent: gone, expiry"
_CAN_EXTEND = "its agent keeps other limits, or only the time in all is another"


@dataclass(frozen=True, slots=True)
class Move:
    """One row of the table: by this verb, a task goes from any of these statuses to that one."""

    verb: Verb
    sources: frozenset[TaskStatus]
    target: TaskStatus
    by: str
    guard: str


def _move(verb: Verb, sources: Iterable[TaskStatus], target: TaskStatus, by: str, guard: str = "") -> Move:
    return Move(verb, frozenset(sources), target, by, guard)


TABLE: tuple[Move, ...] = (
    _move(Verb.SCHEDULE, {S.CREATED}, S.SCHEDULED, "submit", "a time that has not come"),
    _move(Verb.BLOCK, {S.CREATED}, S.BLOCKED, "submit", "something that it depends on has not settled"),
    _move(Verb.READY, {S.CREATED, S.SCHEDULED, S.BLOCKED}, S.PENDING, "submit, timers", "nothing to wait for but room"),
    _move(Verb.GRANT, {S.PENDING, S.APPLY_PENDING}, S.SENT, "scheduler", "a free slot, session current, places free"),
    _move(Verb.START, {S.SENT}, S.IN_PROGRESS, "agent: started", "current attempt and fence"),
    _move(Verb.EXTEND, {S.SENT}, S.SENT, "caller, agent: extended", _CAN_EXTEND),
    _move(Verb.EXTEND, {S.IN_PROGRESS}, S.IN_PROGRESS, "caller, agent: extended", _CAN_EXTEND),
    _move(Verb.GIVE_BACK, {S.SENT}, S.PENDING, "hello, decline", "proved never to have begun"),
    _move(Verb.GIVE_BACK_APPLY, {S.SENT}, S.APPLY_PENDING, "hello, decline", "an apply, proved never to have begun"),
    _move(Verb.COMPLETE, GRANTED, S.COMPLETED, "agent: result", "current attempt and fence"),
    _move(Verb.FAIL, GRANTED, S.FAILED, "agent: result", "current attempt and fence"),
    _move(Verb.RETRY, {S.SENT, S.IN_PROGRESS}, S.SCHEDULED, "processor", "failed or timed out, retry policy allows"),
    _move(Verb.PLAN, {S.IN_PROGRESS}, S.PLAN_COMPLETED, "agent: result", "the plan of a plan_and_apply"),
    _move(Verb.APPROVE, {S.PLAN_COMPLETED}, S.APPLY_PENDING, "approver", "names the plan's hash"),
    _move(Verb.REPLAY, {S.SENT, S.IN_PROGRESS}, S.PENDING, _LOSS, "replayable, infrastructure budget left"),
    _move(
        Verb.DRAIN,
        {S.SENT, S.IN_PROGRESS},
        S.PENDING,
        "agent: result",
        "replayable; stopped because its agent is drained, the tree is gone",
    ),
    _move(
        Verb.EXHAUST, {S.SENT, S.IN_PROGRESS}, S.FAILED, _LOSS, "replayable, budget used up or two agents died of it"
    ),
    _move(Verb.LOSE, {S.SENT, S.IN_PROGRESS, S.CANCELLING}, S.LOST, _LOSS, "once"),
    _move(Verb.DOUBT, {S.SENT, S.IN_PROGRESS, S.CANCELLING}, S.UNKNOWN, _LOSS, "exclusive"),
    _move(Verb.RECOVER, {S.UNKNOWN}, S.IN_PROGRESS, "hello, heartbeat", "lists the same attempt"),
    _move(Verb.RESOLVE_COMPLETED, {S.UNKNOWN}, S.COMPLETED, "a person", "audited, with a reason"),
    _move(Verb.RESOLVE_FAILED, {S.UNKNOWN}, S.FAILED, "a person", "audited, with a reason"),
    _move(Verb.RERUN, {S.UNKNOWN}, S.PENDING, "a person", "audited, with a reason; the attempt counts no more"),
    _move(Verb.REVIVE, {S.SENT, S.IN_PROGRESS}, S.PENDING, "a person", "loads a checkpoint as waiting; audited"),
    _move(Verb.CANCEL, WAITING, S.CANCELLED, "caller, approver", "with no agent; an approver rejects a plan"),
    _move(Verb.STOP, {S.SENT, S.IN_PROGRESS}, S.CANCELLING, "caller, timers", "granted"),
    _move(Verb.CONFIRM_CANCEL, {S.CANCELLING, S.UNKNOWN}, S.CANCELLED, "agent: result", "the tree is gone"),
    _move(Verb.CONFIRM_TIMEOUT, {S.CANCELLING, S.UNKNOWN}, S.TIMEOUT, "agent: result", "a timer's stop; tree gone"),
    _move(Verb.EXPIRE, WAITING, S.TIMEOUT, "timers: queue, total, approval", "not granted"),
    _move(Verb.TIME_OUT, {S.IN_PROGRESS}, S.TIMEOUT, "agent: run, heartbeat", "the tree is gone"),
    _move(
        Verb.SKIP,
        {S.CREATED, S.SCHEDULED, S.BLOCKED},
        S.SKIPPED,
        "submit, timers, dependency failed",
        "a place that it does not wait for is taken; policy says so",
    ),
    _move(Verb.ABANDON, LIVE, S.FAILED, "a person", "audited; the agent told to kill"),
    *(
        _move(Verb.PRIORITIZE, {status}, status, "a person", "audited; only its place among those that wait changes")
        for status in (S.CREATED, S.SCHEDULED, S.BLOCKED, S.PENDING)
    ),
)

_TARGETS: Mapping[tuple[TaskStatus, Verb], TaskStatus] = MappingProxyType(
    {(source, move.verb): move.target for move in TABLE for source in move.sources}
)


@cache
def target(status: TaskStatus, verb: Verb) -> TaskStatus:
    """Where a verb leads from a status. Raises `IllegalTransition` if the table does not know the move."""
    found = _TARGETS.get((status, verb))
    if found is None:
        raise IllegalTransition(f"{verb} from {status}")
    return found


def is_legal(status: TaskStatus, verb: Verb) -> bool:
    """Whether the table knows the move."""
    return (status, verb) in _TARGETS
