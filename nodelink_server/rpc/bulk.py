"""One thing done to many tasks: what is asked, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping

from nodelink.errors import FieldError, InvalidTask
from nodelink.task import TaskStatus
from nodelink.v1 import task_pb2
from nodelink.wire import STATUS_FROM_PB
from nodelink_server.core.bulk import BulkAction, BulkOrder, BulkOutcome
from nodelink_server.core.ports import TaskQuery
from nodelink_server.rpc.requests import duration_ms, moment_ms, place_of, token_of

_ACTIONS: Mapping[int, BulkAction] = {
    task_pb2.BULK_ACTION_CANCEL: BulkAction.CANCEL,
    task_pb2.BULK_ACTION_RETRY: BulkAction.RETRY,
    task_pb2.BULK_ACTION_SET_PRIORITY: BulkAction.SET_PRIORITY,
}


def order_of(request: task_pb2.BulkTasksRequest) -> BulkOrder:
    """What a request asks for. Raises `InvalidTask`."""
    return BulkOrder(
        query=_query_of(request.filter, request.page_token),
        action=_action_of(request.action),
        reason=request.reason,
        grace_ms=duration_ms(request.grace, "grace") if request.HasField("grace") else None,
        priority=request.priority or None,
        dry_run=request.dry_run,
    )


def put_outcome(response: task_pb2.BulkTasksResponse, outcome: BulkOutcome) -> None:
    """Write what was done."""
    response.matched = outcome.matched
    response.done = outcome.done
    response.skipped.update(outcome.skipped)
    response.ids.extend(outcome.ids)
    response.more = bool(outcome.next_key)
    response.replayed = outcome.replayed
    response.next_page_token = token_of(outcome.next_key) if outcome.next_key else ""


def _query_of(wanted: task_pb2.BulkFilter, page_token: str) -> TaskQuery:
    after, before = "created_after", "created_before"
    return TaskQuery(
        before_key=place_of(page_token),
        statuses=frozenset(map(_status_of, wanted.statuses)),
        type=wanted.type or None,
        pool=wanted.pool or None,
        workspace=wanted.workspace or None,
        agent_id=wanted.agent_id or None,
        created_after=moment_ms(wanted.created_after, f"filter.{after}") if wanted.HasField(after) else None,
        created_before=moment_ms(wanted.created_before, f"filter.{before}") if wanted.HasField(before) else None,
        labels=frozenset(wanted.labels.items()),
        q=wanted.q,
        ids=frozenset(wanted.ids),
    )


def _status_of(number: int) -> TaskStatus:
    status = STATUS_FROM_PB.get(number)
    if status is None:
        raise InvalidTask(FieldError("filter.statuses", f"{number} is not known"))
    return status


def _action_of(number: int) -> BulkAction:
    """What is to be done. It must be said."""
    action = _ACTIONS.get(number)
    if action is None:
        wrong = f"{number} is not known" if number else "must be given"
        raise InvalidTask(FieldError("action", f"{wrong}; use one of {', '.join(BulkAction)}"))
    return action
