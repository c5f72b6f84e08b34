"""The table of statuses against the published one, written down once more here, for every status and every verb."""

from __future__ import annotations

from itertools import product

import pytest

from nodelink.errors import IllegalTransition
from nodelink.task import LIVE, TERMINAL, TaskStatus
from nodelink_server.core.states import GRANTED, TABLE, WAITING, Verb, is_legal, target

S, V = TaskStatus, Verb

LEGAL: dict[TaskStatus, dict[Verb, TaskStatus]] = {
    S.CREATED: {
        V.SCHEDULE: S.SCHEDULED,
        V.BLOCK: S.BLOCKED,
        V.READY: S.PENDING,
        V.CANCEL: S.CANCELLED,
        V.EXPIRE: S.TIMEOUT,
        V.SKIP: S.SKIPPED,
        V.ABANDON: S.FAILED,
        V.PRIORITIZE: S.CREATED,
    },
    S.SCHEDULED: {
        V.READY: S.PENDING,
        V.CANCEL: S.CANCELLED,
        V.EXPIRE: S.TIMEOUT,
        V.SKIP: S.SKIPPED,
        V.ABANDON: S.FAILED,
        V.PRIORITIZE: S.SCHEDULED,
    },
    S.BLOCKED: {
        V.READY: S.PENDING,
        V.CANCEL: S.CANCELLED,
        V.EXPIRE: S.TIMEOUT,
        V.SKIP: S.SKIPPED,
        V.ABANDON: S.FAILED,
        V.PRIORITIZE: S.BLOCKED,
    },
    S.PENDING: {
        V.GRANT: S.SENT,
        V.CANCEL: S.CANCELLED,
        V.EXPIRE: S.TIMEOUT,
        V.ABANDON: S.FAILED,
        V.PRIORITIZE: S.PENDING,
    },
    S.SENT: {
        V.REVIVE: S.PENDING,
        V.START: S.IN_PROGRESS,
        V.EXTEND: S.SENT,
        V.GIVE_BACK: S.PENDING,
        V.GIVE_BACK_APPLY: S.APPLY_PENDING,
        V.COMPLETE: S.COMPLETED,
        V.FAIL: S.FAILED,
        V.RETRY: S.SCHEDULED,
        V.REPLAY: S.PENDING,
        V.DRAIN: S.PENDING,
        V.EXHAUST: S.FAILED,
        V.LOSE: S.LOST,
        V.DOUBT: S.UNKNOWN,
        V.STOP: S.CANCELLING,
        V.ABANDON: S.FAILED,
    },
    S.IN_PROGRESS: {
        V.REVIVE: S.PENDING,
        V.EXTEND: S.IN_PROGRESS,
        V.COMPLETE: S.COMPLETED,
        V.FAIL: S.FAILED,
        V.RETRY: S.SCHEDULED,
        V.PLAN: S.PLAN_COMPLETED,
        V.REPLAY: S.PENDING,
        V.DRAIN: S.PENDING,
        V.EXHAUST: S.FAILED,
        V.LOSE: S.LOST,
        V.DOUBT: S.UNKNOWN,
        V.STOP: S.CANCELLING,
        V.TIME_OUT: S.TIMEOUT,
        V.ABANDON: S.FAILED,
    },
    S.CANCELLING: {
        V.COMPLETE: S.COMPLETED,
        V.FAIL: S.FAILED,
        V.LOSE: S.LOST,
        V.DOUBT: S.UNKNOWN,
        V.CONFIRM_CANCEL: S.CANCELLED,
        V.CONFIRM_TIMEOUT: S.TIMEOUT,
        V.ABANDON: S.FAILED,
    },
    S.PLAN_COMPLETED: {
        V.APPROVE: S.APPLY_PENDING,
        V.CANCEL: S.CANCELLED,
        V.EXPIRE: S.TIMEOUT,
        V.ABANDON: S.FAILED,
    },
    S.APPLY_PENDING: {V.GRANT: S.SENT, V.CANCEL: S.CANCELLED, V.EXPIRE: S.TIMEOUT, V.ABANDON: S.FAILED},
    S.UNKNOWN: {
        V.COMPLETE: S.COMPLETED,
        V.FAIL: S.FAILED,
        V.RECOVER: S.IN_PROGRESS,
        V.RESOLVE_COMPLETED: S.COMPLETED,
        V.RESOLVE_FAILED: S.FAILED,
        V.RERUN: S.PENDING,
        V.CONFIRM_CANCEL: S.CANCELLED,
        V.CONFIRM_TIMEOUT: S.TIMEOUT,
        V.ABANDON: S.FAILED,
    },
}


@pytest.mark.parametrize("status, verb", list(product(TaskStatus, Verb)))
def test_a_verb_leads_where_the_published_table_says_and_nowhere_else(status: TaskStatus, verb: Verb) -> None:
    expected = LEGAL.get(status, {}).get(verb)

    assert is_legal(status, verb) is (expected is not None)
    if expected is not None:
        assert target(status, verb) is expected
    else:
        with pytest.raises(IllegalTransition, match=f"{verb} from {status}"):
            target(status, verb)


def test_nothing_leads_out_of_an_end() -> None:
    assert not any(move.sources & TERMINAL for move in TABLE)


def test_every_live_status_is_waiting_or_granted() -> None:
    assert WAITING | GRANTED == LIVE
    assert not WAITING & GRANTED


def test_no_status_and_verb_stand_in_two_rows() -> None:
    pairs = [(source, move.verb) for move in TABLE for source in move.sources]

    assert len(pairs) == len(set(pairs))


def test_every_row_says_who_makes_the_move() -> None:
    assert all(move.by for move in TABLE)
