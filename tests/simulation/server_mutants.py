"""Servers that break one rule of the protocol each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from nodelink.task import (
    AckDisposition,
    AttemptRef,
    Execution,
    Finished,
    HeldState,
    ResultAck,
    TaskResponse,
)
from nodelink.values import evolve
from nodelink_server.core.handshake import Hello
from nodelink_server.core.losses import never_began
from nodelink_server.core.ports import AgentRecord, Batch, Change, EventName, Receipt
from nodelink_server.core.session import AgentSession
from nodelink_server.core.task import Task, started
from tests.support.overriding import override

# -- the server: results ----------------------------------------------------------------------------------------------


def acknowledges_before_the_commit(manager: Any) -> None:
    """A crash between the two loses a result."""
    settle = manager.rooms.processor._settle

    async def eager(responses: Sequence[tuple[AgentSession, TaskResponse]]) -> None:
        for session, response in responses:
            if isinstance(response.update, Finished):
                session.ack_results([ResultAck(response.ref, AckDisposition.COMMITTED)])
                session.say_owed()
        await settle(responses)

    manager.rooms.processor._settle = eager


def believes_stale_results(manager: Any) -> None:
    """Whatever an agent says of a task is taken for its current attempt."""
    consider = manager.rooms.processor._consider

    def gullible(session: Any, response: TaskResponse, round: Any) -> None:
        task = manager.registry.get(response.ref.task_id) or round.found.get(response.ref.task_id)
        if task is not None and task.attempt is not None:
            response = response._replace(ref=task.ref)
            session = manager.agents.session(task.attempt.agent_id) or session
        consider(session, response, round)

    manager.rooms.processor._consider = gullible


def writes_without_a_guard(manager: Any) -> None:
    """A change is applied to whatever is stored, though it was made from an older value."""
    apply, disk = manager._store.apply, manager._store._disk

    def forced(change: Change) -> Change:
        row = disk.rows.get(disk.keys.get(change.task.id, 0))
        return replace(change, expected=row.task.revision) if row is not None and change.expected else change

    async def unguarded(batch: Batch) -> Receipt:
        receipt: Receipt = await apply(replace(batch, changes=[forced(change) for change in batch.changes]))
        return receipt

    manager._store.apply = unguarded


# -- the server: grants -----------------------------------------------------------------------------------------------


def speaks_before_the_grant_is_durable(manager: Any) -> None:
    """A task is handed over while its grant is still being committed."""
    grants, told = manager.rooms.grants, set()
    change_of, deliver = grants._granted, grants.deliver

    def hasty(session: AgentSession, task: Task, fence: int) -> Change:
        change: Change = change_of(session, task, fence)
        if task.payload is not None and change.task.ref not in grants._starting:
            told.add(change.task.ref)
            session.deliver(grants._request(session, change.task))
        return change

    def once(session: AgentSession | None, task: Task) -> None:
        if task.ref not in told:
            deliver(session, task)

    grants._granted, grants.deliver = hasty, once


def starts_what_was_accepted_before_the_commit(manager: Any) -> None:
    """An accepted offer is started while its grant is still being committed."""
    grants = manager.rooms.grants
    grant = grants._grant_accepted

    def hasty(session: AgentSession, offered: Sequence[tuple[AttemptRef, Task]]) -> None:
        for ref, task in offered:
            session.start(grants.start_of(session, grants._granted(session, task, ref.fence).task))
        grant(session, offered)

    grants._grant_accepted = hasty


def exceeds_the_task_credit(manager: Any) -> None:
    """One more task than the agent has room for."""
    open_session = manager.agents._open

    def generous(hello: Hello, record: AgentRecord) -> AgentSession:
        session: Any = open_session(hello, record)
        session._credit = 1
        given = session.credit_given

        def credit_given(credit: int) -> None:
            given(credit)
            session._credit = credit + 1

        override(session, credit_given=credit_given)
        opened: AgentSession = session
        return opened

    manager.agents._open = generous


def leaks_slots(manager: Any) -> None:
    """A slot that was promised in vain is not given back."""
    open_session = manager.agents._open

    def leaky(hello: Hello, record: AgentRecord) -> AgentSession:
        session: Any = open_session(hello, record)
        override(session, release=lambda count: None)
        opened: AgentSession = session
        return opened

    manager.agents._open = leaky


# -- the server: hellos -----------------------------------------------------------------------------------------------


def ignores_what_a_hello_lacks(manager: Any) -> None:
    """A granted task that its agent does not have stays granted."""
    manager.rooms.reconciler._missing = lambda session, task: None


def runs_once_tasks_again(manager: Any) -> None:
    """A lost attempt of class once waits again, like a replayable one."""
    losses = manager.rooms.reconciler._losses
    lost = losses.lost

    def careless(task: Task, **why: Any) -> Change | None:
        forged = evolve(task, execution=Execution.REPLAYABLE) if task.execution is Execution.ONCE else task
        change: Change | None = lost(forged, **why)
        if change is None or forged is task:
            return change
        return replace(change, task=evolve(change.task, execution=Execution.ONCE))

    losses.lost = careless


def trusts_every_memory(manager: Any) -> None:
    """An agent that restarted is believed when it says that something never began."""
    manager.rooms.reconciler._missing = lambda session, task: never_began(task, now=0)


def lets_old_hellos_win(manager: Any) -> None:
    """The session's number does not matter: who comes last is the agent."""
    agents = manager.agents
    connect = agents.connect

    async def confused(hello: Hello) -> AgentSession:
        known = agents._known.get(hello.agent_id)
        number = max(hello.session, known.session + 1 if known else 1)
        session: AgentSession = await connect(replace(hello, session=number))
        return session

    agents.connect = confused


def takes_the_ended_for_started(manager: Any) -> None:
    """An attempt that has ended is said to have started, though it may have been declined."""
    change = manager.rooms.reconciler._change

    def rash(session: Any, states: Mapping[AttemptRef, HeldState], task: Task) -> Change | None:
        found: Change | None = change(session, states, task)
        if found is None and task.status == "sent" and states.get(task.ref) is HeldState.ENDED:
            return Change(task=started(task, at=0), expected=task.revision, events=(EventName.TASK_STARTED,))
        return found

    manager.rooms.reconciler._change = rash


def forgets_grants_at_a_restart(manager: Any) -> None:
    """What earlier starts have granted is not believed to be with its agent."""
    restore = manager.restore

    async def forgetful() -> None:
        await restore()
        for held in manager.rooms.leases._heard.values():
            held.clear()

    manager.restore = forgetful
