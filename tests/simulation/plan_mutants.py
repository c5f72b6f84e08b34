"""Servers that break a rule of plans and applies: what is applied, when, and beside whom."""

from __future__ import annotations

from typing import Any

from nodelink.task import TaskStatus
from nodelink.values import evolve
from nodelink_server.core.approvals import Named
from nodelink_server.core.losses import remark_on
from nodelink_server.core.plans import approved
from nodelink_server.core.ports import EventName
from nodelink_server.core.task_record import RemarkKind
from tests.simulation.doing import digest_of
from tests.support.overriding import override


def applies_what_nobody_has_approved(manager: Any) -> None:
    """A plan is applied as soon as it is made."""
    plans = manager.rooms.processor._plans
    made = plans.made

    def hasty(task: Any, finished: Any, *, now: int) -> Any:
        change = made(task, finished, now=now)
        if change.task.status is not TaskStatus.PLAN_COMPLETED:
            return change
        after = approved(change.task, by="nobody", now=now, queue_deadline=None)
        remark = remark_on(after, RemarkKind.APPROVED, now)
        return evolve(change, task=after, events=(*change.events, EventName.TASK_APPLY_PENDING), remark=remark)

    plans.made = hasty


def takes_any_approval(manager: Any) -> None:
    """It is not looked at which plan is approved."""
    approvals = manager.rooms.approvals
    decide = approvals._approved

    def careless(task: Any, named: Named, message: str, by: str) -> Any:
        named = Named(task.plan.plan.sha256) if task.plan is not None else named
        return decide(task, named, message, by)

    approvals._approved = careless


def hands_out_another_plan(manager: Any) -> None:
    """An agent is given another plan than the one that was approved."""

    def mistaken(session: Any) -> None:
        deliver = session.deliver

        def other(request: Any) -> None:
            if request.plan is not None:
                request = evolve(request, plan=request.plan._replace(sha256=digest_of("another")))
            deliver(request)

        override(session, deliver=other)

    _spoil_sessions(manager, mistaken)


def applies_beside_others(manager: Any) -> None:
    """An apply is given to an agent that does something else."""

    def crowded(session: Any) -> None:
        override(session, _has_room_for_plans=lambda shape: True)
        session.use._slots = 1

    _spoil_sessions(manager, crowded)


def makes_as_many_plans_as_there_are_slots(manager: Any) -> None:
    """It is not looked at how many plans an agent makes at a time."""

    def eager(session: Any) -> None:
        session.use.plan_limit = session.slots

    _spoil_sessions(manager, eager)


def frees_the_workspace_when_a_plan_is_made(manager: Any) -> None:
    """Between its plan and its apply, others may have a task's places."""
    plans = manager.rooms.processor._plans
    made = plans.made

    def forgetful(task: Any, finished: Any, *, now: int) -> Any:
        change = made(task, finished, now=now)
        if change.task.plan is None or change.task.attempt is not None:
            return change
        after = evolve(change.task, plan=change.task.plan._replace(holds=()))
        return evolve(change, task=after, frees=task.attempt.holds)

    plans.made = forgetful


def lets_plans_wait_for_ever(manager: Any) -> None:
    """An approval never comes too late."""
    manager.rooms.timers._unapproved = lambda task: None


def _spoil_sessions(manager: Any, spoil: Any) -> None:
    open_session = manager.agents._open

    def spoiled(hello: Any, record: Any) -> Any:
        session = open_session(hello, record)
        spoil(session)
        return session

    manager.agents._open = spoiled
