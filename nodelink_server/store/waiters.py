"""Who waits and names a key, first those who are first in line. As many are looked at as are shown or counted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, select, text

from nodelink_server.core.ports import Place, Waiter, Waiters
from nodelink_server.store.queries import keyed_by, parts
from nodelink_server.store.tables import tasks


class _Looked(NamedTuple):
    """The keys of tasks among which the first are, and how many there are; None: more than are counted."""

    candidates: frozenset[int]
    total: int | None


# Of many keys, those that somebody waits for, with one look into each index.
_WAITED_FOR = text(
    "SELECT value FROM json_each(:keys) WHERE EXISTS (SELECT 1 FROM task_keys WHERE task_keys.key = value)"
    " OR EXISTS (SELECT 1 FROM tasks WHERE status = 'pending' AND lock <> '' AND lock = value) LIMIT :most"
)


def waiters(connection: Connection, keys: Sequence[str], most_keys: int, few: int, most: int) -> dict[str, Waiters]:
    """Of the first keys that pending tasks name, the first few of those tasks, and how many more: at most so many."""
    named = connection.execute(_WAITED_FOR, {"keys": json.dumps(keys), "most": most_keys}).scalars()
    looked = {key: _look(connection, key, few, most) for key in named}
    shown = _shown(connection, {task for one in looked.values() for task in one.candidates})
    return {key: _waiters(one, shown, few, most) for key, one in looked.items()}


def _look(connection: Connection, key: str, few: int, most: int) -> _Looked:
    enough, found = few + most, set[int]()
    for keyed in keyed_by(key):
        some = keyed.query.with_only_columns(keyed.key).limit(enough + 1)
        found.update(row[0] for row in connection.execute(some))
    if len(found) <= enough:
        return _Looked(frozenset(found), len(found))
    firsts = {
        task
        for keyed in keyed_by(key)
        for shape in keyed.shapes(connection)
        for task in keyed.first(connection, shape, {}, few)
    }
    return _Looked(frozenset(firsts), None)


def _shown(connection: Connection, wanted: Iterable[int]) -> Mapping[int, tuple[Place, Waiter]]:
    """Tasks with their places in line."""
    columns = select(tasks.c.key, tasks.c.rank, tasks.c.id, tasks.c.priority, tasks.c.ready_at, tasks.c.created_at)
    queries = (columns.where(tasks.c.key.in_(part)) for part in parts(sorted(wanted)))
    return {
        row.key: (Place(row.rank, row.key), Waiter(row.id, row.priority, row.ready_at or row.created_at))
        for query in queries
        for row in connection.execute(query)
    }


def _waiters(looked: _Looked, shown: Mapping[int, tuple[Place, Waiter]], few: int, most: int) -> Waiters:
    in_line = sorted(shown[task] for task in looked.candidates)
    first = tuple(waiter for _, waiter in in_line[:few])
    return Waiters(first, most if looked.total is None else looked.total - len(first))
