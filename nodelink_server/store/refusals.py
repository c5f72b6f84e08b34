"""Which changes of a batch are refused, and why. Found by reading, so only when something is refused at all.

What the changes of a batch do follows from their order: a place that one frees, a later one can take.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, select, tuple_

from nodelink_server.core.attempt import Hold
from nodelink_server.core.ports import Change, Replay
from nodelink_server.store import rates, unique
from nodelink_server.store.holds import holders
from nodelink_server.store.queries import parts
from nodelink_server.store.tables import tasks

_TAKEN = -1
"""In place of a revision: the batch has changed this task already."""


@dataclass(frozen=True, slots=True)
class Refusals:
    """The refused changes, by index; and of these, those that were accepted before, those that found no place, and
    those whose unique key is another's.
    """

    all: frozenset[int] = frozenset()
    replays: Mapping[int, Replay] = field(default_factory=dict)
    locked: frozenset[int] = frozenset()
    clashes: Mapping[int, str] = field(default_factory=dict)


def replayed(connection: Connection, changes: Sequence[Change]) -> Refusals:
    """New tasks whose idempotency key is taken, by an older task or by one before it in the batch."""
    if all(change.idempotency is None for change in changes):
        return Refusals()
    names = _Names(connection, changes)
    replays = {index: replay for index, change in enumerate(changes) if (replay := names.claim(change))}
    return Refusals(all=frozenset(replays), replays=replays)


def refusals(connection: Connection, changes: Sequence[Change]) -> Refusals:
    """All that is refused, as if one change came after the other."""
    names = _Names(connection, changes)
    revisions = _revisions(connection, [change.task.id for change in changes])
    held = holders(connection, sorted({hold.key for change in changes for hold in (*change.takes, *change.frees)}))
    used = rates.taken(connection, sorted({use.key for change in changes for use in change.uses}))
    owners = unique.owners(connection, sorted({change.claims for change in changes if change.claims}))
    replays: dict[int, Replay] = {}
    stale: set[int] = set()
    locked: set[int] = set()
    clashes: dict[int, str] = {}
    for index, change in enumerate(changes):
        task_id = change.task.id
        if replay := names.find(change):
            replays[index] = replay
        elif revisions.get(task_id, 0) != change.expected:
            stale.add(index)
        elif change.claims in owners:
            clashes[index] = owners[change.claims]
        elif not _has_places(change, held) or not _is_in_time(change, used):
            locked.add(index)
        else:
            revisions[task_id] = _TAKEN
            names.claim(change)
            _hand_on(held, change)
            _hand_on_key(owners, change)
            used.update((Hold(use.key, use.place), use.until) for use in change.uses)
    return Refusals(frozenset({*stale, *replays, *locked, *clashes}), replays, frozenset(locked), clashes)


def _has_places(change: Change, held: Mapping[Hold, str]) -> bool:
    """Whether all that a change takes is free or its own."""
    return all(held.get(hold, change.task.id) == change.task.id for hold in change.takes)


def _is_in_time(change: Change, used: Mapping[Hold, int]) -> bool:
    """Whether every place under a rate that a change takes is free by then."""
    return all(used.get(Hold(use.key, use.place), use.since) <= use.since for use in change.uses)


def _hand_on(held: dict[Hold, str], change: Change) -> None:
    """Free what a change frees, and take what it takes."""
    for hold in change.frees:
        if held.get(hold) == change.task.id:
            del held[hold]
    for hold in change.takes:
        held[hold] = change.task.id


def _hand_on_key(owners: dict[str, str], change: Change) -> None:
    """Let a change yield the unique key that its task has, and claim one."""
    if owners.get(change.yields) == change.task.id:
        del owners[change.yields]
    if change.claims:
        owners[change.claims] = change.task.id


class _Names:
    """Whose the idempotency keys of a batch are."""

    def __init__(self, connection: Connection, changes: Sequence[Change]) -> None:
        named = {(one.caller, one.key) for change in changes if (one := change.idempotency) is not None}
        self._first = _stored_names(connection, sorted(named))

    def find(self, change: Change) -> Replay | None:
        """The other task that has the key that a change names."""
        named = change.idempotency
        if named is None or (first := self._first.get((named.caller, named.key))) is None:
            return None
        task_id, digest = first
        return Replay(task_id, digest == named.digest) if task_id != change.task.id else None

    def claim(self, change: Change) -> Replay | None:
        """Give a new task its key, unless another has it."""
        if change.idempotency is not None and change.expected == 0:
            named = change.idempotency
            self._first.setdefault((named.caller, named.key), (change.task.id, named.digest))
        return self.find(change)


def _stored_names(
    connection: Connection, wanted: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], tuple[str, bytes]]:
    found = {}
    for part in parts(wanted):
        name = tuple_(tasks.c.caller, tasks.c.idempotency_key)
        query = select(tasks.c.caller, tasks.c.idempotency_key, tasks.c.id, tasks.c.idempotency_digest)
        for row in connection.execute(query.where(name.in_(part), tasks.c.idempotency_key.is_not(None))):
            found[row.caller, row.idempotency_key] = (row.id, row.idempotency_digest)
    return found


def _revisions(connection: Connection, task_ids: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for part in parts(task_ids):
        query = select(tasks.c.id, tasks.c.revision).where(tasks.c.id.in_(part))
        found.update((row.id, row.revision) for row in connection.execute(query))
    return found
