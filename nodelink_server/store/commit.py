"""One batch on its way into the database, inside a transaction that its caller begins and ends.

The writes are guarded all at once: if a statement touches fewer rows than it should, or an id is taken, the work is
undone to a savepoint, the refused changes are found by reading, and the rest is written again. That is rare, so the
usual batch reads nothing back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, select
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import IntegrityError

from nodelink_server.core.blob_ports import Kept
from nodelink_server.core.ports import AgentRecord, Batch, Change, Keeping, Receipt
from nodelink_server.store import (
    audit,
    blob_rows,
    driver,
    holds,
    keys,
    pauses,
    rates,
    rows,
    sessions,
    spans,
    statistics,
    unique,
)
from nodelink_server.store.blocks import CommittedEvents, encode_block
from nodelink_server.store.history import past_by
from nodelink_server.store.numbering import Counters, Numbering, Writes
from nodelink_server.store.records import steps_in
from nodelink_server.store.refusals import Refusals, refusals, replayed
from nodelink_server.store.statements import RowsStatement, Values, guarded_update, insert
from nodelink_server.store.tables import agents, attempts, tasks

_INSERT_TASKS = {
    (False, False): insert("tasks", rows.BASE_COLUMNS),
    (False, True): insert("tasks", rows.BASE_COLUMNS, rows.RARE_COLUMNS),
    (True, False): insert("tasks", rows.BASE_COLUMNS, rows.ATTEMPT_COLUMNS),
    (True, True): insert("tasks", rows.BASE_COLUMNS, rows.ATTEMPT_COLUMNS, rows.RARE_COLUMNS),
}
_INSERT_SPECS = {
    False: insert("task_specs", rows.SPEC_COLUMNS),
    True: insert("task_specs", rows.SPEC_COLUMNS, rows.SPEC_RARE_COLUMNS),
}
_INSERT_LABELS = insert("task_labels", rows.LABEL_COLUMNS)
_INSERT_RESULTS = {
    False: insert("task_results", rows.RESULT_COLUMNS, verb="INSERT OR REPLACE"),
    True: insert("task_results", rows.RESULT_COLUMNS, rows.RESULT_RARE_COLUMNS, verb="INSERT OR REPLACE"),
}
_ADVANCE = guarded_update("tasks", rows.ADVANCE_COLUMNS, rows.ADVANCE_STEPS)
_REWRITE = guarded_update("tasks", rows.STATE_COLUMNS, rows.STEP_COLUMNS)
_INSERT_REMARKS = insert("task_remarks", rows.REMARK_COLUMNS)
_KEEP_LATE = RowsStatement(
    f"INSERT INTO late_results ({', '.join(rows.LATE_COLUMNS)}) SELECT late.* FROM (VALUES",  # noqa: S608
    width=len(rows.LATE_COLUMNS),
    after=(
        ") AS late WHERE EXISTS (SELECT 1 FROM tasks WHERE tasks.key = late.column1)"
        " AND NOT EXISTS (SELECT 1 FROM attempts WHERE task_key = late.column1 AND number = late.column2"
        " AND failure IS NOT NULL) ON CONFLICT DO NOTHING"
    ),
)
_INSERT_EVENTS = insert("events", ("last_revision", "first_revision", "time", "block"))
_LEFT_BEHIND = select(
    *(tasks.c[column] for column in (*rows.STEP_COLUMNS, "stop_reason", "stop_message", "stop_asked_at", "ready_at"))
)
_NEW_AGENT = upsert(agents)
# Made once: contacts of thousands of agents are written every minute.
_KEEP_AGENT = _NEW_AGENT.on_conflict_do_update(
    index_elements=[agents.c.id],
    set_={column.name: _NEW_AGENT.excluded[column.name] for column in agents.c if column.name != "id"},
    where=_NEW_AGENT.excluded.session >= agents.c.session,
).returning(agents.c.id)
_WRITE_META = "UPDATE meta SET control_ms = ?, revision = ?, last_key = ?, commits = ?, committed_at = ?"


class _GuardFailed(Exception):
    """A statement touched fewer rows than it should have."""


class Commit:
    """Writes one batch, and says what became of it and what to count on from if the transaction is committed."""

    def __init__(self, connection: Connection, batch: Batch, counters: Counters) -> None:
        self._connection = connection
        self._batch = batch
        self._counters = counters

    def run(self) -> tuple[Receipt, Counters]:
        """Write the batch."""
        replays = replayed(self._connection, self._batch.changes)
        driver.execute(self._connection, "SAVEPOINT batch")
        try:
            return self._write(replays)
        except (_GuardFailed, IntegrityError):
            driver.execute(self._connection, "ROLLBACK TO batch")
        return self._write(refusals(self._connection, self._batch.changes), is_sure=True)

    def _write(self, refused: Refusals, *, is_sure: bool = False) -> tuple[Receipt, Counters]:
        """Write what is not refused. `is_sure`: all that can be refused is."""
        numbering = Numbering(self._batch, self._counters, refused.all)
        if numbering.claims_too_early and not is_sure:
            raise _GuardFailed
        self._write_tasks(numbering.writes)
        self._write_beside(numbering.writes)
        spans.close(self._connection, last_key=self._counters.last_key, new_last_key=numbering.last_key)
        refused_agents = frozenset(index for index, agent in enumerate(self._batch.agents) if not self._keep(agent))
        self._write_sessions(refused_agents)
        kept = [self._stand_for(keeping, numbering) for keeping in self._batch.keepings]
        made = CommittedEvents(numbering.told, self._batch.now)
        self._write_events(numbering, made)
        statistics.keep(self._connection, self._batch.statistics)
        pauses.keep(self._connection, self._batch.pauses)
        if self._batch.revived:
            pauses.revived(self._connection, self._batch.revived)
        counters = self._write_audit(numbering, refused_agents, kept)
        numbers = (self._batch.control_ms, counters.revision, counters.last_key, counters.commits, self._batch.now)
        driver.execute(self._connection, _WRITE_META, numbers)
        receipt = Receipt(
            revisions=numbering.revisions,
            keys=numbering.keys,
            events=made,
            replays=refused.replays,
            refused_agents=refused_agents,
            locked=refused.locked,
            clashes=refused.clashes,
            kept=kept,
        )
        return receipt, counters

    def _write_tasks(self, writes: Writes) -> None:
        connection = self._connection
        for form, values in writes.tasks.items():
            _INSERT_TASKS[form].run(connection, values)
        for rare, values in writes.specs.items():
            _INSERT_SPECS[rare].run(connection, values)
        _INSERT_LABELS.run(connection, writes.labels)
        for change, first in writes.superseded:
            self._leave_behind(change, first)
        for statement, values in ((_ADVANCE, writes.advanced), (_REWRITE, writes.rewritten)):
            if statement.run(connection, values) != statement.rows_in(values):
                raise _GuardFailed
        for rare, values in writes.results.items():
            _INSERT_RESULTS[rare].run(connection, values)

    def _write_beside(self, writes: Writes) -> None:
        """Write what few batches have: places, rates, keys, unique keys, remarks, late results."""
        holds.free(self._connection, writes.frees)
        if not holds.take(self._connection, writes.takes) or not rates.use(self._connection, writes.uses):
            raise _GuardFailed
        keys.leave(self._connection, writes.unkeyed)
        keys.enter(self._connection, writes.keyed)
        unique.give_up(self._connection, writes.given_up)
        unique.claim(self._connection, writes.claims)
        _INSERT_REMARKS.run(self._connection, writes.remarks)
        late: Values = list(rows.late_rows(self._batch.evidence))
        _KEEP_LATE.run(self._connection, late)

    def _stand_for(self, keeping: Keeping, numbering: Numbering) -> Kept:
        """Let a blob stand for something, if it may, and have that told."""
        kept = blob_rows.stand_for(self._connection, keeping.wish, numbering.revision + 1)
        if kept is Kept.KEPT:
            numbering.tell(keeping.notice)
        return kept

    def _write_sessions(self, refused_agents: frozenset[int]) -> None:
        if self._batch.sessions:
            refused = {(self._batch.agents[index].id, self._batch.agents[index].session) for index in refused_agents}
            sessions.keep(self._connection, self._batch.sessions, refused)

    def _leave_behind(self, change: Change, first: int) -> None:
        """Keep the attempt that a change leaves behind, with the steps and the stop that the task's row knows of it."""
        assert change.superseded is not None
        attempt = change.superseded.attempt
        row = self._connection.execute(
            _LEFT_BEHIND.where(tasks.c.key == change.task.key, tasks.c.revision == change.expected)
        ).one_or_none()
        if row is None:
            raise _GuardFailed
        past = past_by(change, first, steps=steps_in(row), stop=None, ready_at=row.ready_at)
        self._connection.execute(
            attempts.insert(),
            {
                "task_key": change.task.key,
                "number": attempt.number,
                "fence": attempt.fence,
                "agent_id": attempt.agent_id,
                "session": attempt.session,
                "sent_at": attempt.sent_at,
                "started_at": attempt.started_at,
                "containment": attempt.containment,
                "lease_ms": attempt.lease_ms,
                "stop_reason": row.stop_reason,
                "stop_message": row.stop_message,
                "stop_asked_at": row.stop_asked_at,
                "state": change.superseded.state,
                "ended_at": change.superseded.ended_at,
                "sent_revision": past.sent,
                "started_revision": past.started,
                "cancelling_revision": past.cancelling,
                "ended_revision": past.ended,
                "ready_at": past.ready_at,
                "ready_revision": past.ready,
                "failure": rows.failure_text(change.superseded.failure),
                "plan": rows.plan_text(change.superseded.plan),
            },
        )

    def _keep(self, agent: AgentRecord) -> bool:
        """Upsert an agent, unless a newer session of it is stored."""
        return self._connection.execute(_KEEP_AGENT, rows.agent_row(agent)).one_or_none() is not None

    def _write_events(self, numbering: Numbering, made: CommittedEvents) -> None:
        if made:
            now, first = self._batch.now, self._counters.revision + 1
            _INSERT_EVENTS.run(self._connection, [numbering.revision, first, now, encode_block(numbering.told, now)])

    def _write_audit(self, numbering: Numbering, refused_agents: frozenset[int], kept: Sequence[Kept]) -> Counters:
        """Add the commit's record to the chain, if it has done anything."""
        batch, refused = self._batch, {f"agent:{self._batch.agents[index].id}" for index in refused_agents}
        kept_agents = [agent for index, agent in enumerate(batch.agents) if index not in refused_agents]
        deeds = [deed for deed in batch.deeds if deed.about not in refused]
        deeds += (keeping.deed for keeping, one in zip(batch.keepings, kept, strict=True) if one is Kept.KEPT)
        changes = (what for what, _ in numbering.told if isinstance(what, Change))
        entries = audit.audit_entries(changes, kept_agents, deeds, batch.pauses, batch.revived)
        after = audit.record(self._connection, entries, batch.now, self._counters)
        return replace(
            after, revision=numbering.revision, last_key=numbering.last_key, commits=self._counters.commits + 1
        )
