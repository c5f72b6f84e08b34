"""One batch on its way into the database, inside a transaction that its caller begins and ends.

The writes are guarded all at once: if a statement touches fewer rows than it should, or an id is taken, the work is
undone to a savepoint, the refused changes are found by reading, and the rest is written again. That is rare, so the
usual batch reads nothing back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, select, tuple_
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import IntegrityError

from nodelink_server.core.ports import AgentRecord, Batch, Change, Receipt, Replay
from nodelink_server.store import rows, sessions, spans, statistics
from nodelink_server.store.audit import audit_entries, audit_hash
from nodelink_server.store.blocks import CommittedEvents, encode_block
from nodelink_server.store.numbering import Counters, Numbering, Writes
from nodelink_server.store.queries import parts
from nodelink_server.store.statements import guarded_update, insert
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
_INSERT_EVENTS = insert("events", ("last_revision", "first_revision", "time", "block"))
_INSERT_AUDIT = insert("audit", ("sequence", "time", "previous", "hash", "entries"))
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
        replays = self._replays()
        self._connection.exec_driver_sql("SAVEPOINT batch")
        try:
            return self._write(frozenset(replays), replays)
        except (_GuardFailed, IntegrityError):
            self._connection.exec_driver_sql("ROLLBACK TO batch")
        return self._write(self._refused(replays), replays)

    def _write(self, refused: frozenset[int], replays: Mapping[int, Replay]) -> tuple[Receipt, Counters]:
        numbering = Numbering(self._batch, self._counters, refused)
        self._write_tasks(numbering.writes)
        spans.close(self._connection, last_key=self._counters.last_key, new_last_key=numbering.last_key)
        refused_agents = frozenset(index for index, agent in enumerate(self._batch.agents) if not self._keep(agent))
        self._write_sessions(refused_agents)
        made = CommittedEvents(numbering.told, self._batch.now)
        self._write_events(numbering, made)
        statistics.keep(self._connection, self._batch.statistics)
        counters = self._write_audit(numbering, refused_agents)
        kept = (self._batch.control_ms, counters.revision, counters.last_key, counters.commits, self._batch.now)
        self._connection.exec_driver_sql(_WRITE_META, kept)
        receipt = Receipt(
            revisions=numbering.revisions,
            keys=numbering.keys,
            events=made,
            replays=replays,
            refused_agents=refused_agents,
        )
        return receipt, counters

    def _write_tasks(self, writes: Writes) -> None:
        connection = self._connection
        for form, values in writes.tasks.items():
            _INSERT_TASKS[form].run(connection, values)
        for rare, values in writes.specs.items():
            _INSERT_SPECS[rare].run(connection, values)
        _INSERT_LABELS.run(connection, writes.labels)
        for change, ended in writes.superseded:
            self._leave_behind(change, ended)
        for statement, values in ((_ADVANCE, writes.advanced), (_REWRITE, writes.rewritten)):
            if statement.run(connection, values) != statement.rows_in(values):
                raise _GuardFailed
        for rare, values in writes.results.items():
            _INSERT_RESULTS[rare].run(connection, values)

    def _write_sessions(self, refused_agents: frozenset[int]) -> None:
        if self._batch.sessions:
            refused = {(self._batch.agents[index].id, self._batch.agents[index].session) for index in refused_agents}
            sessions.keep(self._connection, self._batch.sessions, refused)

    def _leave_behind(self, change: Change, ended: int) -> None:
        """Keep the attempt that a change leaves behind, with the steps that the task's row knows of it."""
        assert change.superseded is not None
        attempt = change.superseded.attempt
        steps = self._connection.execute(
            select(tasks.c.sent_revision, tasks.c.started_revision).where(
                tasks.c.key == change.task.key, tasks.c.revision == change.expected
            )
        ).one_or_none()
        if steps is None:
            raise _GuardFailed
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
                "state": change.superseded.state,
                "ended_at": change.superseded.ended_at,
                "sent_revision": steps.sent_revision,
                "started_revision": steps.started_revision if steps.started_revision > steps.sent_revision else 0,
                "ended_revision": ended,
            },
        )

    def _keep(self, agent: AgentRecord) -> bool:
        """Upsert an agent, unless a newer session of it is stored."""
        row = rows.agent_row(agent)
        statement = upsert(agents).values(row)
        guarded = statement.on_conflict_do_update(
            index_elements=[agents.c.id],
            set_={name: statement.excluded[name] for name in row if name != "id"},
            where=statement.excluded.session >= agents.c.session,
        )
        return self._connection.execute(guarded.returning(agents.c.id)).one_or_none() is not None

    def _write_events(self, numbering: Numbering, made: CommittedEvents) -> None:
        if made:
            now, first = self._batch.now, self._counters.revision + 1
            _INSERT_EVENTS.run(self._connection, [numbering.revision, first, now, encode_block(numbering.told, now)])

    def _write_audit(self, numbering: Numbering, refused_agents: frozenset[int]) -> Counters:
        """Add the commit's record to the chain, if it has done anything to a task or an agent."""
        before = self._counters
        kept = [agent for index, agent in enumerate(self._batch.agents) if index not in refused_agents]
        entries = audit_entries((what for what, _ in numbering.told if isinstance(what, Change)), kept)
        sequence, digest = before.audits, before.audit_hash
        if entries:
            encoded = json.dumps(entries, separators=(",", ":"))
            sequence += 1
            digest = audit_hash(previous=before.audit_hash, sequence=sequence, time=self._batch.now, entries=encoded)
            _INSERT_AUDIT.run(self._connection, [sequence, self._batch.now, before.audit_hash, digest, encoded])
        return Counters(
            revision=numbering.revision,
            last_key=numbering.last_key,
            commits=before.commits + 1,
            audits=sequence,
            audit_hash=digest,
        )

    def _replays(self) -> dict[int, Replay]:
        """New tasks whose idempotency key is taken, by an older task or by one before it in the batch."""
        named = {i: c.idempotency for i, c in enumerate(self._batch.changes) if c.idempotency is not None}
        if not named:
            return {}
        first = self._stored_keys({(entry.caller, entry.key) for entry in named.values()})
        replays: dict[int, Replay] = {}
        for index, entry in named.items():
            task_id = self._batch.changes[index].task.id
            accepted, digest = first.setdefault((entry.caller, entry.key), (task_id, entry.digest))
            if accepted != task_id:
                replays[index] = Replay(accepted, digest == entry.digest)
        return replays

    def _stored_keys(self, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], tuple[str, bytes]]:
        found = {}
        for part in parts(sorted(wanted)):
            name = tuple_(tasks.c.caller, tasks.c.idempotency_key)
            query = select(tasks.c.caller, tasks.c.idempotency_key, tasks.c.id, tasks.c.idempotency_digest)
            matching = query.where(name.in_(part), tasks.c.idempotency_key.is_not(None))
            for row in self._connection.execute(matching):
                found[row.caller, row.idempotency_key] = (row.id, row.idempotency_digest)
        return found

    def _refused(self, replays: Mapping[int, Replay]) -> frozenset[int]:
        """Which changes the guards refuse, found by reading. Of two changes of one task the first counts."""
        changes = self._batch.changes
        stored = self._stored_revisions([change.task.id for change in changes])
        refused = set(replays)
        for index, change in enumerate(changes):
            if index in refused:
                continue
            if stored.get(change.task.id, 0) == change.expected:
                stored[change.task.id] = -1
            else:
                refused.add(index)
        return frozenset(refused)

    def _stored_revisions(self, task_ids: Sequence[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        for part in parts(task_ids):
            query = select(tasks.c.id, tasks.c.revision).where(tasks.c.id.in_(part))
            found.update((row.id, row.revision) for row in self._connection.execute(query))
        return found
