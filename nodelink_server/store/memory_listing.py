"""Pages of the tasks of a `Disk`: by looking at all of them, which is easy to believe in."""

from __future__ import annotations

from nodelink_server.core.ports import Selection, TaskPage, TaskQuery
from nodelink_server.core.search import Search, search_of
from nodelink_server.core.task import Task
from nodelink_server.core.task_record import TaskRecord
from nodelink_server.store.disk import Disk, Row
from nodelink_server.store.pages import fitting


def selected(disk: Disk, query: TaskQuery) -> Selection:
    """The tasks of a page as values."""
    found = [row.task for row in _found(disk, query)]
    kept = found[: query.page_size]
    return Selection(kept, kept[-1].key if len(kept) < len(found) else 0)


def listed(disk: Disk, query: TaskQuery) -> TaskPage:
    """A page of tasks, newest first."""
    found = _found(disk, query)
    kept = found[: min(query.page_size, fitting(len(row.payload) for row in found))]
    page = [TaskRecord(task=row.task, payload=row.payload, updated_at=row.updated_at) for row in kept]
    return TaskPage(page, kept[-1].task.key if len(kept) < len(found) else 0)


def _found(disk: Disk, query: TaskQuery) -> list[Row]:
    """What matches, newest first."""
    before, search = query.before_key or disk.last_key + 1, search_of(query.q) if query.q else None
    return [
        row
        for key, row in sorted(disk.rows.items(), reverse=True)
        if key < before and _matches(row.task, query) and (search is None or _is_meant(row.task, search))
    ]


def _is_meant(task: Task, search: Search) -> bool:
    return (
        bool(search.id_prefix and task.id.startswith(search.id_prefix))
        or search.type == task.spec.type
        or (search.label is not None and search.label in task.spec.metadata.items())
    )


def _matches(task: Task, query: TaskQuery) -> bool:
    attempt = task.attempt
    return (
        (not query.statuses or task.status in query.statuses)
        and query.type in {None, task.spec.type}
        and query.pool in {None, task.spec.pool}
        and query.workspace in {None, task.spec.workspace}
        and (query.agent_id is None or (attempt is not None and attempt.agent_id == query.agent_id))
        and query.labels <= task.spec.metadata.items()
        and (query.created_after is None or task.created_at >= query.created_after)
        and (query.created_before is None or task.created_at < query.created_before)
        and (not query.ids or task.id in query.ids)
        and (not query.has_plan or task.has_plan)
    )
