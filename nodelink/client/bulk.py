"""One thing done to many tasks: what is asked for, call by call, and what all the calls came to. Pure."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TypedDict

from nodelink.client.asking import Duration, duration_ms_of, priority_of
from nodelink.client.checks import text_of, texts_of
from nodelink.client.nouns import BulkResult, TaskFilter
from nodelink.client.requests import list_request
from nodelink.errors import FieldError, InvalidTask
from nodelink.v1 import task_pb2
from nodelink.wire import put_ms

MOST_IDS = 1_000
"""So many ids of tasks are told of."""

MOST_KEY_CHARS = 255
"""The longest idempotency key that a server takes."""

ACTIONS: Mapping[str, task_pb2.BulkAction] = {
    "cancel": task_pb2.BULK_ACTION_CANCEL,
    "retry": task_pb2.BULK_ACTION_RETRY,
    "set_priority": task_pb2.BULK_ACTION_SET_PRIORITY,
}
"""What can be done, by its public name."""


class BulkOptions(TypedDict, total=False):
    """How it is done: which tasks are meant by their ids, why, and what only one of the actions knows."""

    ids: Iterable[str] | None
    reason: str
    grace: Duration | None
    priority: int | str | None
    dry_run: bool
    idempotency_key: str | None


class Bulk:
    """Asks, until there are no tasks left to look at."""

    def __init__(
        self,
        action: str,
        wanted: TaskFilter | None,
        *,
        ids: Iterable[str] | None = None,
        reason: str = "",
        grace: Duration | None = None,
        priority: int | str | None = None,
        dry_run: bool = False,
        idempotency_key: str | None = None,
        new_key: Callable[[], str],
    ) -> None:
        """`new_key` makes one if none is given: an answer that is lost on the way is asked for again.

        Raises `InvalidTask` for an action that is none, and for what cannot be sent.
        """
        if action not in ACTIONS:
            raise InvalidTask(FieldError("action", f"{action!r:.100} is not known; use one of {', '.join(ACTIONS)}"))
        self.request = task_pb2.BulkTasksRequest(
            action=ACTIONS[action],
            filter=_filter_of(wanted or TaskFilter(), ids),
            reason=text_of("reason", reason),
            priority=0 if priority is None else priority_of(priority),
            dry_run=dry_run,
        )
        grace_ms = duration_ms_of("grace", grace)
        if grace_ms is not None:
            put_ms(self.request.grace, grace_ms)
        self.result = BulkResult()
        self._key = text_of("idempotency_key", idempotency_key or new_key())
        self._calls = 0
        self._name_call()

    def take(self, answer: task_pb2.BulkTasksResponse) -> bool:
        """Note what one call came to. Returns whether there is more to do."""
        before = self.result
        self.result = BulkResult(
            matched=before.matched + answer.matched,
            done=before.done + answer.done,
            skipped=dict(Counter(before.skipped) + Counter(answer.skipped)),
            ids=(*before.ids, *answer.ids)[:MOST_IDS],
        )
        self.request.page_token = answer.next_page_token
        self._name_call()
        return answer.more

    def _name_call(self) -> None:
        """Each call is a request of its own, and has a key of its own: `KEY#N`, by a digest where that is too long."""
        key = f"{self._key}#{self._calls}" if self._calls else self._key
        if self._calls and len(key) > MOST_KEY_CHARS:
            key = f"{hashlib.sha256(self._key.encode()).hexdigest()}#{self._calls}"
        self.request.idempotency_key = key
        self._calls += 1


def _filter_of(wanted: TaskFilter, ids: Iterable[str] | None) -> task_pb2.BulkFilter:
    """The filter as it is sent. Raises `InvalidTask`, also for ids that are none: it would be done to all others."""
    named = () if ids is None else texts_of("ids", ids)
    if ids is not None and not named:
        raise InvalidTask(FieldError("ids", "must name at least one task"))
    listed = list_request(wanted, left=None, page_token="")
    message = task_pb2.BulkFilter(
        statuses=listed.statuses,
        type=listed.type,
        pool=listed.pool,
        workspace=listed.workspace,
        agent_id=listed.agent_id,
        labels=listed.labels,
        q=listed.q,
        ids=named,
    )
    for name in ("created_after", "created_before"):
        if listed.HasField(name):
            getattr(message, name).CopyFrom(getattr(listed, name))
    return message
