"""One thing done to many tasks: they are stopped, run again, or given another priority.

Tasks are looked at newest first, a page at a time, and each page is one commit. A task that has changed meanwhile is
looked at once more, and left alone if it does not match any longer.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum

import structlog

from nodelink.errors import CallerError, FieldError, InvalidTask, Overloaded, StoreError, TooLarge
from nodelink.task import DEFAULT_GRACE_MS, LIVE, PRIORITIES, Submission, TaskStatus
from nodelink_server.core.changes import cancelled_by_caller, changed
from nodelink_server.core.ledger import Ledger
from nodelink_server.core.losses import remark_on
from nodelink_server.core.ports import Change, Clock, Store, TaskQuery
from nodelink_server.core.ranking import Ranking
from nodelink_server.core.search import search_of
from nodelink_server.core.submissions import Accepted, repetition
from nodelink_server.core.task import Task, prioritized
from nodelink_server.core.task_record import RemarkKind
from nodelink_server.core.validation import MAX_GRACE_MS, MAX_METADATA, MAX_REASON_CHARS

MOST_TASKS = 100_000
"""So many tasks are looked at in one call."""
MOST_SECONDS = 5.0
"""For so long one call goes on; then it says where to go on."""
MOST_PER_COMMIT = 1_000
MOST_IDS = 1_000
"""So many tasks may be named, and so many are named in an answer."""
TRIES = 20

log = structlog.get_logger(__name__)


class BulkAction(StrEnum):
    """What is done. The names are public."""

    CANCEL = "cancel"
    RETRY = "retry"
    SET_PRIORITY = "set_priority"


_WAITING = frozenset({TaskStatus.CREATED, TaskStatus.SCHEDULED, TaskStatus.BLOCKED, TaskStatus.PENDING})
APPLICABLE: Mapping[BulkAction, frozenset[TaskStatus]] = {
    BulkAction.CANCEL: LIVE,
    BulkAction.RETRY: frozenset({TaskStatus.FAILED, TaskStatus.TIMEOUT, TaskStatus.LOST}),
    BulkAction.SET_PRIORITY: _WAITING,
}
"""Which tasks are meant if nobody says of which status, and none is named."""

FINISHED = "already finished"
UNFINISHED = "not finished yet"
STOPPING = "already being stopped"
AT_WORK = "already with an agent"
STARTING = "about to start"
SAME = "already of this priority"
CHANGED = "changed meanwhile"


Submit = Callable[[Sequence[Submission]], Awaitable[list[Accepted | CallerError]]]
"""How new tasks are handed in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkOrder:
    """What is to be done to which tasks. `query`: every given filter must match, and at least one is needed.

    `grace_ms` is about cancels, `priority` about set_priority. `dry_run`: only tell what would be done.
    """

    query: TaskQuery
    action: BulkAction
    reason: str = ""
    grace_ms: int | None = None
    priority: int | None = None
    dry_run: bool = False


@dataclass(slots=True)
class BulkOutcome:
    """What was done. `matched` is `done` and all that was `skipped`, by why. `ids`: the first to which it was done.

    `next_key`: where to go on (`TaskQuery.before_key`); 0: there is no more.
    """

    matched: int = 0
    done: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    ids: list[str] = field(default_factory=list)
    next_key: int = 0
    replayed: bool = False
    """Whether it is what an earlier call did, under the same key."""

    def add(self, task_id: str) -> None:
        """It was done to a task."""
        self.done += 1
        if len(self.ids) < MOST_IDS:
            self.ids.append(task_id)


class Bulk:
    """Carries out what is asked for many tasks. `is_promised`: whether a waiting task is somebody's already."""

    def __init__(
        self, *, store: Store, ledger: Ledger, ranking: Ranking, clock: Clock, is_promised: Callable[[str], bool]
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._ranking = ranking
        self._clock = clock
        self._is_promised = is_promised

    async def run(self, order: BulkOrder, *, submit: Submit, by: str, key: str = "") -> BulkOutcome:
        """Do it, as far as one call goes. Raises `InvalidTask`; and what kept the first page from being done.

        `key`: a call that was cut short, and comes again under the same, runs no task again twice.
        """
        check_order(order)
        outcome, until = BulkOutcome(), self._clock.monotonic() + MOST_SECONDS
        query = _narrowed(order)
        while True:
            before, matched = query.before_key, outcome.matched
            try:
                next_key = await self._page(order, query, outcome, submit, by, key)
            except (StoreError, Overloaded):
                if not matched:
                    raise
                outcome.next_key = before
                break
            outcome.next_key = next_key
            if not next_key or outcome.matched >= MOST_TASKS or self._clock.monotonic() >= until:
                break
            query = replace(query, before_key=next_key)
        log.info("bulk", action=order.action, matched=outcome.matched, done=outcome.done, dry_run=order.dry_run)
        return outcome

    async def _page(
        self, order: BulkOrder, query: TaskQuery, outcome: BulkOutcome, submit: Submit, by: str, key: str
    ) -> int:
        """Do it to the next page. Returns where the one behind it begins; 0: there is none."""
        self._ledger.check_room()
        if order.action is BulkAction.RETRY:
            return await self._retry(order, query, outcome, submit, key)
        page = await self._store.select(query)
        skipped, done = await self._change(order, query, page.tasks, by)
        outcome.matched += len(page.tasks)
        outcome.skipped += skipped
        for task_id in done:
            outcome.add(task_id)
        return page.next_key

    # -- running again ------------------------------------------------------------------------------------------------

    async def _retry(self, order: BulkOrder, query: TaskQuery, outcome: BulkOutcome, submit: Submit, key: str) -> int:
        page = await self._store.list(query)
        ended = [record for record in page if record.task.is_terminal]
        again = [repetition(one, idempotency_key=_key_of(one.task, key), traceparent="") for one in ended]
        if order.dry_run or not again:
            made: list[str | CallerError] = [record.task.id for record in ended]
        else:
            outcomes = await submit(again)
            made = [one.task.id if isinstance(one, Accepted) else one for one in outcomes]
        outcome.matched += len(page)
        outcome.skipped[UNFINISHED] += len(page) - len(ended)
        for one in made:
            if isinstance(one, str):
                outcome.add(one)
            else:
                outcome.skipped[f"refused: {one.code}"] += 1
        outcome.skipped += Counter()  # forgets what it was not
        return page.next_key

    # -- stopping, other priorities -----------------------------------------------------------------------------------

    async def _change(
        self, order: BulkOrder, query: TaskQuery, tasks: Sequence[Task], by: str
    ) -> tuple[Counter[str], list[str]]:
        """Change tasks in one commit, and those that have changed meanwhile in another. Returns what came of it."""
        skipped: Counter[str] = Counter()
        done: list[str] = []
        for _ in range(TRIES):
            changes: list[Change] = []
            for task in tasks:
                made = self._made(order, task, by)
                if isinstance(made, Change):
                    changes.append(made)
                else:
                    skipped[made] += 1
            if order.dry_run:
                return skipped, [change.task.id for change in changes]
            if not changes:
                return skipped, done
            committed = await self._ledger.commit(changes)
            done += [c.task.id for c, revision in zip(changes, committed.revisions, strict=True) if revision]
            refused = [c.task.id for c, revision in zip(changes, committed.revisions, strict=True) if not revision]
            tasks = [task for task in await self._store.find(refused) if _matches(task, query)] if refused else ()
            skipped[CHANGED] += len(refused) - len(tasks)
        skipped[CHANGED] += len(tasks)
        return skipped + Counter(), done

    def _made(self, order: BulkOrder, task: Task, by: str) -> Change | str:
        """What is to become of a task, or why it is left alone."""
        if task.is_terminal:
            return FINISHED
        if order.action is BulkAction.CANCEL:
            return self._cancelled(order, task)
        return self._prioritized(order, task, by)

    def _cancelled(self, order: BulkOrder, task: Task) -> Change | str:
        if task.stop is not None:
            return STOPPING
        grace_ms = DEFAULT_GRACE_MS if order.grace_ms is None else order.grace_ms
        return cancelled_by_caller(task, message=order.reason, grace_ms=grace_ms, now=self._clock.now())

    def _prioritized(self, order: BulkOrder, task: Task, by: str) -> Change | str:
        priority, before = order.priority, task.spec.priority
        assert priority is not None
        if task.status not in _WAITING:
            return AT_WORK
        if priority == before:
            return SAME
        if self._is_promised(task.id):
            return STARTING
        text = f"from {before} to {priority}{f': {order.reason}' if order.reason else ''}"
        remark = remark_on(task, RemarkKind.REPRIORITIZED, self._clock.now(), text=text, by=by)
        rank = self._ranking.rank_at(task, priority) if task.status is TaskStatus.PENDING else task.rank
        return changed(task, prioritized(task, priority=priority, rank=rank), remark=remark._replace(priority=before))


def digest_of(order: BulkOrder) -> bytes:
    """What was asked, in 32 bytes: equal for equal orders."""
    return hashlib.sha256(json.dumps(asdict(order), sort_keys=True, default=sorted).encode()).digest()


def text_of(outcome: BulkOutcome) -> str:
    """An outcome, to be kept."""
    return json.dumps({field.name: getattr(outcome, field.name) for field in fields(outcome)})


def outcome_of(text: str, *, replayed: bool) -> BulkOutcome:
    """An outcome that was kept."""
    kept = json.loads(text)
    return BulkOutcome(**{**kept, "skipped": Counter(kept["skipped"]), "replayed": replayed})


def _key_of(task: Task, key: str) -> str | None:
    """The key under which a task is run again for a call that has one. No caller would think of it."""
    return f"bulk {hashlib.sha256(key.encode()).hexdigest()} {task.id}" if key else None


def check_order(order: BulkOrder) -> None:
    """Refuse an order that says not enough, too much, or what cannot be. Raises `InvalidTask`, naming the fields."""
    query, action = order.query, order.action
    if len(query.ids) > MOST_IDS:
        raise TooLarge(FieldError("filter.ids", f"names {len(query.ids):,} tasks; at most {MOST_IDS:,} are allowed"))
    errors = []
    if _says_nothing(query):
        names = "status, type, pool, workspace, agent_id, label, created_after, created_before, q or ids"
        errors.append(FieldError("filter", f"must say which tasks: give at least one of {names}"))
    if len(query.labels) > MAX_METADATA:
        errors.append(FieldError("filter.label", f"a task has at most {MAX_METADATA}"))
    errors += _action_errors(order, action)
    if errors:
        raise InvalidTask(*errors)
    if query.q:
        _check_search(query.q)


def _check_search(q: str) -> None:
    try:
        search_of(q)
    except InvalidTask as error:
        raise InvalidTask(*(FieldError(f"filter.{wrong.field}", wrong.message) for wrong in error.errors)) from error


def _says_nothing(query: TaskQuery) -> bool:
    return query == TaskQuery(page_size=query.page_size, before_key=query.before_key)


def _action_errors(order: BulkOrder, action: BulkAction) -> list[FieldError]:
    errors = []
    if action is BulkAction.RETRY and order.reason:
        errors.append(FieldError("reason", "is not for a retry"))
    elif len(order.reason) > MAX_REASON_CHARS:
        errors.append(FieldError("reason", f"must have at most {MAX_REASON_CHARS:,} characters"))
    if order.grace_ms is not None and action is not BulkAction.CANCEL:
        errors.append(FieldError("grace", "is only for a cancel"))
    elif order.grace_ms is not None and not 0 <= order.grace_ms <= MAX_GRACE_MS:
        errors.append(FieldError("grace", "must be at least 0s and at most 1h"))
    if order.priority is not None and action is not BulkAction.SET_PRIORITY:
        errors.append(FieldError("priority", "is only for set_priority"))
    elif action is BulkAction.SET_PRIORITY and not _is_priority(order.priority):
        errors.append(FieldError("priority", "must be given, from 1 to 100"))
    return errors


def _is_priority(priority: int | None) -> bool:
    return priority is not None and 1 <= priority <= max(PRIORITIES.values())


def _narrowed(order: BulkOrder) -> TaskQuery:
    """What is looked for: unless statuses are given, or tasks named, only what the action can be done to."""
    query = replace(order.query, page_size=MOST_PER_COMMIT)
    return query if query.statuses or query.ids else replace(query, statuses=APPLICABLE[order.action])


def _matches(task: Task, query: TaskQuery) -> bool:
    """Whether a task that has changed still matches, by what can change of it."""
    agent_id = task.attempt.agent_id if task.attempt is not None else ""
    return (not query.statuses or task.status in query.statuses) and query.agent_id in {None, agent_id}
