"""Within what bounds the times and ids of tasks lie, for each run of so many keys.

Keys follow the order of arrival, so that a time or the beginning of an id leads to few spans, and stays right if the
clock has gone back. A span is written down when the first key behind it is given: a commit hardly ever pays for it.
The last one still grows, and is looked at when somebody asks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, FromClause, Select, Subquery, delete, func, literal, select, union_all
from sqlalchemy.dialects.sqlite import insert

from nodelink_server.store.tables import KEYS_IN_SPAN, meta, task_spans, tasks

Condition = Callable[[FromClause], ColumnElement[bool]]
"""A condition on the bounds of a span."""


class Keys(NamedTuple):
    """The keys from the first up to before another."""

    first: int
    before: int


def close(connection: Connection, *, last_key: int, new_last_key: int) -> None:
    """Write down the spans whose last keys lie between two keys, once their tasks are there."""
    for span in range(last_key // KEYS_IN_SPAN, new_last_key // KEYS_IN_SPAN):
        bounds = connection.execute(_bounds_of(span)).one()
        if bounds.earliest is not None:
            connection.execute(insert(task_spans).prefix_with("OR REPLACE").values(bounds._asdict()))


def matching(connection: Connection, *conditions: Condition) -> Keys | None:
    """The keys from the first span that meets all conditions to the last; None: no span does."""
    spans = _all_spans(connection)
    query = select(func.min(spans.c.span), func.max(spans.c.span)).where(
        *(condition(spans) for condition in conditions)
    )
    first, last = connection.execute(query).one()
    return None if first is None else Keys(first * KEYS_IN_SPAN, (last + 1) * KEYS_IN_SPAN)


def forget(connection: Connection) -> int:
    """Delete the spans whose keys are older than those of all tasks; how many."""
    first = select(tasks.c.key).where(tasks.c.key > 0).order_by(tasks.c.key).limit(1)
    oldest = connection.execute(first).scalar_one_or_none()
    if oldest is None:
        return 0
    return connection.execute(delete(task_spans).where(task_spans.c.span < oldest // KEYS_IN_SPAN)).rowcount


def _all_spans(connection: Connection) -> Subquery:
    """Those that are written down, and the one that still grows."""
    growing = connection.execute(select(meta.c.last_key)).scalar_one() // KEYS_IN_SPAN
    return union_all(select(task_spans).where(task_spans.c.span < growing), _bounds_of(growing)).subquery("spans")


def _bounds_of(span: int) -> Select[int, Any, Any, Any, Any]:
    """One row: NULLs if there are no tasks."""
    first = span * KEYS_IN_SPAN
    return select(
        literal(span).label("span"),
        func.min(tasks.c.created_at).label("earliest"),
        func.max(tasks.c.created_at).label("latest"),
        func.min(tasks.c.id).label("first_id"),
        func.max(tasks.c.id).label("last_id"),
    ).where(tasks.c.key >= first, tasks.c.key < first + KEYS_IN_SPAN)
