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
    LogChunk,
    ResultAck,
    TaskRequest,
    TaskResponse,
)
from nodelink_server.core.agents import Hello
from nodelink_server.core.grants import never_began
from nodelink_server.core.ports import Batch, Change, EventName, LogRow, Receipt
from nodelink_server.core.session import AgentSession
from nodelink_server.core.task import Task, started

# -- the server: results ----------------------------------------------------------------------------------------------


def acknowledges_before_the_commit(manager: Any) -> None:
    """A crash between the two loses a result."""
    settle = manager.rooms.processor._settle

    async def eager(responses: Sequence[tuple[AgentSession, TaskResponse]]) -> None:
        for session, response in responses:
            if isinstance(response.update, Finished):
                session.ack_results([ResultAck(response.ref, AckDisposition.COMMITTED)])
        await settle(responses)

    manager.rooms.processor._settle = eager


def believes_stale_results(manager: Any) -> None:
    """Whatever an agent says of a task is taken for its current attempt."""
    consider = manager.rooms.processor._consider

    def gullible(session: Any, response: TaskResponse, found: Mapping[str, Task], plans: Any, acks: Any) -> None:
        task = manager.registry.get(response.ref.task_id) or found.get(response.ref.task_id)
        if task is not None and task.attempt is not None:
            response = response._replace(ref=task.ref)
            session = manager.agents.session(task.attempt.agent_id) or session
        consider(session, response, found, plans, acks)

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
    to, deliver = grants.to, grants.deliver

    def hasty(session: AgentSession, task: Task) -> Task:
        after: Task = to(session, task)
        request = TaskRequest(ref=after.ref, spec=task.spec, payload=task.payload or b"", execution=task.execution)
        told.add(after.ref)
        session.deliver(request)
        return after

    def once(session: AgentSession | None, task: Task) -> None:
        if task.ref not in told:
            deliver(session, task)

    grants.to, grants.deliver = hasty, once


def exceeds_the_task_credit(manager: Any) -> None:
    """One more task than the agent has room for."""
    open_session = manager.agents._open

    def generous(hello: Hello) -> AgentSession:
        session: Any = open_session(hello)
        session._credit = 1
        given = session.credit_given

        def credit_given(credit: int) -> None:
            given(credit)
            session._credit = credit + 1

        session.credit_given = credit_given
        opened: AgentSession = session
        return opened

    manager.agents._open = generous


def leaks_slots(manager: Any) -> None:
    """A slot that was promised in vain is not given back."""
    open_session = manager.agents._open

    def leaky(hello: Hello) -> AgentSession:
        session: Any = open_session(hello)
        session.release = lambda count: None
        opened: AgentSession = session
        return opened

    manager.agents._open = leaky


def forgets_grants_made_in_vain(manager: Any) -> None:
    """What never reached its agent is not taken back."""
    manager.rooms.grants.take_back = lambda refs: None
    manager.agents._take_back = lambda refs: None


# -- the server: hellos -----------------------------------------------------------------------------------------------


def ignores_what_a_hello_lacks(manager: Any) -> None:
    """A granted task that its agent does not have stays granted."""
    manager.rooms.reconciler._missing = lambda session, task: None


def runs_once_tasks_again(manager: Any) -> None:
    """A lost attempt of class once waits again, like a replayable one."""
    missing = manager.rooms.reconciler._missing

    def careless(session: AgentSession, task: Task) -> Change | None:
        change: Change | None = missing(session, replace(task, execution=Execution.REPLAYABLE))
        return change

    manager.rooms.reconciler._missing = careless


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


def trusts_hellos_that_were_overtaken(manager: Any) -> None:
    """A hello is believed about grants that are newer than itself."""
    change = manager.rooms.reconciler._change

    def unguarded(session: Any, states: Mapping[AttemptRef, HeldState], task: Task) -> Change | None:
        number, session.number = session.number, 1 << 60
        try:
            found: Change | None = change(session, states, task)
            return found
        finally:
            session.number = number

    manager.rooms.reconciler._change = unguarded


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
        manager.agents._granted.clear()

    manager.restore = forgetful


# -- the server: queues, keys, events, output, memory -----------------------------------------------------------------


def refills_over_what_came_meanwhile(manager: Any) -> None:
    """A task that came while a queue was read from the database is passed over."""
    scheduler = manager.scheduler
    front_of, refill = scheduler._front, scheduler._refill

    async def blind(shape: Any, front: Any) -> None:
        end = type(front).end_refill

        def end_refill(fetched: Any) -> int:
            front._first_kept_out = None
            return int(end(front, fetched))

        front.end_refill = end_refill
        await refill(shape, front)

    scheduler._front, scheduler._refill = front_of, blind


def ignores_idempotency_keys(manager: Any) -> None:
    """A request that is repeated is a new task."""
    manager.rooms.submissions._key = lambda submission, caller: None


def forgets_what_resuming_listeners_missed(manager: Any) -> None:
    """Whoever comes back hears only what is new."""
    bus = manager.events
    watch = bus.watch
    bus.watch = lambda filter, after: watch(filter, after=None if after is None else bus.newest)


def appends_output_as_it_comes(manager: Any) -> None:
    """Output that was sent twice is stored twice."""
    row_of = manager.logs._row

    def careless(session: AgentSession, chunk: LogChunk) -> LogRow | None:
        intake = manager.logs._intakes.get(chunk.ref)
        if intake is not None:
            chunk = chunk._replace(offset=intake.ends[chunk.stream])
        row: LogRow | None = row_of(session, chunk)
        return row

    manager.logs._row = careless


def never_cleans_up(manager: Any) -> None:
    """Finished tasks stay in memory."""
    manager.rooms.cleanup.forget_old = lambda: None
