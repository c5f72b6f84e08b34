"""Pages of tasks, newest first.

Only keys are looked for, along an index in which the tasks that match one filter lie in order of their keys. Of
several filters the rarest leads, the others are checked; what is not in order of keys (times, the beginning of an id)
first bounds the keys by `spans.py`. Nothing is sorted, and nothing before the page is passed over.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, FromClause, Select, exists, func, select, text

from nodelink.task import TaskStatus
from nodelink_server.core.ports import Selection, TaskPage, TaskQuery
from nodelink_server.core.search import Search, search_of
from nodelink_server.store import queries, spans
from nodelink_server.store.pages import fitting
from nodelink_server.store.tables import UNCOMPLETED, task_labels, task_specs, tasks

NEWEST_KEY = 2**63 - 1
RARE = 1_000
"""A filter with fewer matches is not worth a comparison."""
BEHIND_ALL = "\U0010ffff"

Condition = ColumnElement[bool]
Check = Callable[[FromClause], Condition]
"""A condition on the table of tasks, under whatever name, or on the bounds of a span."""


class _Filter(NamedTuple):
    """That a column has a value. There is an index for it in which such tasks lie in order of their keys."""

    column: str
    value: str

    def check(self, table: FromClause) -> Condition:
        """The filter as a condition."""
        return table.c[self.column] == self.value


class _Label(NamedTuple):
    """That an entry of the metadata has a value."""

    name: str
    value: str

    def check(self, table: FromClause) -> Condition:
        """The label as a condition."""
        entry = task_labels.alias()
        return exists().where(entry.c.name == self.name, entry.c.value == self.value, entry.c.task_key == table.c.key)


class _Ids(NamedTuple):
    """That the id is one of some."""

    ids: tuple[str, ...]

    def check(self, table: FromClause) -> Condition:
        """The ids as a condition."""
        return table.c.id.in_(self.ids)


class _HasPlan(NamedTuple):
    """That it has a plan. There is an index of those."""

    def check(self, table: FromClause) -> Condition:
        """That as a condition."""
        return table.c.plan.is_not(None)


_Lead = _Filter | _Label | _Ids | _HasPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What tasks must be: within some keys, what all filters and labels say, and what the other checks say."""

    first: int
    before: int
    filters: tuple[_Lead, ...] = ()
    checks: tuple[Check, ...] = ()


def listed(connection: Connection, query: TaskQuery) -> TaskPage:
    """A page of tasks."""
    keys = _keys(connection, query)
    sizes = _payload_sizes(connection, keys)
    kept = keys[: min(query.page_size, fitting(sizes[key] for key in keys))]
    return TaskPage(queries.records(connection, kept), kept[-1] if len(kept) < len(keys) else 0)


def selected(connection: Connection, query: TaskQuery) -> Selection:
    """The tasks of a page as values."""
    keys = _keys(connection, query)
    kept = keys[: query.page_size]
    return Selection(queries.values(connection, kept), kept[-1] if len(kept) < len(keys) else 0)


def _payload_sizes(connection: Connection, keys: Sequence[int]) -> dict[int, int]:
    size = select(task_specs.c.task_key, func.length(task_specs.c.payload))
    found = (connection.execute(size.where(task_specs.c.task_key.in_(part))) for part in queries.parts(keys))
    return {key: length for rows in found for key, length in rows}


def _keys(connection: Connection, query: TaskQuery) -> list[int]:
    """The keys of a page, and one more if there are more. Of several alternatives, each gives a page."""
    limit = query.page_size + 1
    pages = [_page(connection, wanted, limit) for wanted in _alternatives(connection, query)]
    merged = heapq.merge(*pages, reverse=True)
    return list(islice((key for key, _ in groupby(merged)), limit))


def _alternatives(connection: Connection, query: TaskQuery) -> Iterator[_Wanted]:
    """A task of a page is one of these: of one of the statuses, and found by one of the meanings of the search."""
    common = _common(connection, query)
    for wanted in _meanings(connection, common, search_of(query.q)) if query.q else (common,):
        if wanted.first < wanted.before:
            yield from (_with_status(wanted, status) for status in sorted(query.statuses) or (None,))


def _common(connection: Connection, query: TaskQuery) -> _Wanted:
    """What every task of a page must be."""
    wanted = _Wanted(first=0, before=query.before_key or NEWEST_KEY, filters=tuple(_filters(query)))
    after, before = query.created_after, query.created_before
    bounds: list[Check] = []
    if after is not None:
        bounds.append(lambda span: span.c.latest >= after)
        wanted = _with_check(wanted, lambda table: table.c.created_at >= after)
    if before is not None:
        bounds.append(lambda span: span.c.earliest < before)
        wanted = _with_check(wanted, lambda table: table.c.created_at < before)
    return _bounded(connection, wanted, *bounds) if bounds else wanted


def _filters(query: TaskQuery) -> Iterator[_Lead]:
    if query.ids:
        yield _Ids(tuple(sorted(query.ids)))
    if query.has_plan:
        yield _HasPlan()
    for column in ("type", "pool", "workspace", "agent_id"):
        value = getattr(query, column)
        if value is not None:
            yield _Filter(column, value)
    for name, value in sorted(query.labels):
        yield _Label(name, value)


def _with_filter(wanted: _Wanted, more: _Lead) -> _Wanted:
    return replace(wanted, filters=(*wanted.filters, more))


def _with_check(wanted: _Wanted, check: Check) -> _Wanted:
    return replace(wanted, checks=(*wanted.checks, check))


def _with_status(wanted: _Wanted, status: TaskStatus | None) -> _Wanted:
    """Of one status: by the index, unless it is that of nearly all tasks."""
    if status is None:
        return wanted
    of_status = _Filter("status", str(status))
    if status is TaskStatus.COMPLETED:
        return _with_check(wanted, of_status.check)
    return _with_filter(wanted, of_status)


def _meanings(connection: Connection, wanted: _Wanted, search: Search) -> Iterator[_Wanted]:
    """What a search can mean."""
    if search.label is not None:
        yield _with_filter(wanted, _Label(*search.label))
    if search.type:
        yield _with_filter(wanted, _Filter("type", search.type))
    if search.id_prefix:
        first, last = search.id_prefix, search.id_prefix + BEHIND_ALL
        found = _bounded(connection, wanted, lambda span: span.c.last_id >= first, lambda span: span.c.first_id < last)
        yield _with_check(found, lambda table: func.substr(table.c.id, 1, len(first)) == first)


def _bounded(connection: Connection, wanted: _Wanted, *bounds: Check) -> _Wanted:
    """Only within the spans whose bounds allow it."""
    keys = spans.matching(connection, *bounds)
    if keys is None:
        return replace(wanted, before=0)
    return replace(wanted, first=max(wanted.first, keys.first), before=min(wanted.before, keys.before))


def _page(connection: Connection, wanted: _Wanted, limit: int) -> Sequence[int]:
    """The greatest keys of what is wanted, in descending order: those of the rarest filter, checked for the rest."""
    lead = _rarest(connection, wanted)
    query, key = _led(wanted, lead)
    checks = [*(one.check for one in wanted.filters if one is not lead), *wanted.checks]
    if lead is None:
        query = query.where(*(check(tasks) for check in checks))
    elif checks:
        task = tasks.alias()
        query = query.where(exists().where(task.c.key == key, *(check(task) for check in checks)))
    return connection.execute(query.order_by(key.desc()).limit(limit)).scalars().all()


def _rarest(connection: Connection, wanted: _Wanted) -> _Lead | None:
    """The filter that the fewest tasks pass, as far as it is worth knowing; None: there is no filter."""
    if len(wanted.filters) < 2:
        return wanted.filters[0] if wanted.filters else None
    return min(wanted.filters, key=lambda one: _size(connection, wanted, one))


def _size(connection: Connection, wanted: _Wanted, lead: _Lead) -> int:
    some = _led(wanted, lead)[0].limit(RARE).subquery("some")
    return connection.execute(select(func.count()).select_from(some)).scalar_one()


def _led(wanted: _Wanted, lead: _Lead | None) -> tuple[Select[Any], ColumnElement[int]]:
    """The keys that pass one filter, or all, and the column they are in."""
    key: ColumnElement[int] = task_labels.c.task_key if isinstance(lead, _Label) else tasks.c.key
    query = select(key).where(key >= wanted.first, key < wanted.before)
    match lead:
        case _Label(name, value):
            query = query.where(task_labels.c.name == name, task_labels.c.value == value)
        case _Filter("status", status):
            query = query.where(text(f"tasks.status = '{status}'"), text(f"tasks.{UNCOMPLETED}"))
        case _Filter("workspace", _):
            query = query.where(lead.check(tasks), tasks.c.workspace != "")
        case _Filter() | _Ids() | _HasPlan():
            query = query.where(lead.check(tasks))
    return query, key
