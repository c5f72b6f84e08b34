"""The limits as people see and set them, by name: of all tasks, of a pool, a type, an agent, a workspace, or of a key
that tasks name as a lock or a limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import structlog

from nodelink.errors import FieldError, InvalidTask
from nodelink_server.core.characters import NAME, is_key
from nodelink_server.core.deeds import Deed
from nodelink_server.core.errands import Errands
from nodelink_server.core.limits import RUNNING, Limits, key_of, name_of
from nodelink_server.core.placing_checks import AGENT_ID
from nodelink_server.core.ports import Clock, Store, Waiter, Waiters
from nodelink_server.core.registry import TaskRegistry
from nodelink_server.core.scheduler import Scheduler
from nodelink_server.core.states import GRANTED
from nodelink_server.core.waiters import MOST_COUNTED, MOST_WAITED_FOR, MOST_WAITERS, is_behind, waiter_of

MOST_LISTED = 1_000
MOST_HOLDERS = 100
MAX_LIMIT = 1_000_000
RIGHT_NAME = "running, pool:NAME, type:NAME, agent:ID, workspace:NAME or key:NAME"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LimitHolder:
    """A task that has a place. Without an agent: it is being given one, or waits for an approval."""

    task_id: str
    agent_id: str = ""
    since: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitView:
    """A limit as it stands. `most` None: nobody has set one; `settings_most`: what the server's settings allow.

    `taken`: how many places are; `holders`: the first of those who have them. `waiting`: the first of those who wait
    for one, in their order, and how many more do: at most `MOST_COUNTED` are counted.
    """

    name: str
    most: int | None
    settings_most: int | None
    taken: int
    holders: Sequence[LimitHolder]
    waiting: Sequence[Waiter] = ()
    waiting_more: int = 0


@dataclass(frozen=True, slots=True)
class LimitList:
    """Limits by name, those that are set first, as many as fit; `total`: how many there are."""

    limits: Sequence[LimitView]
    total: int


class LimitViews:
    """Shows limits, and sets them: durably first, then for all that comes."""

    def __init__(
        self,
        *,
        store: Store,
        limits: Limits,
        registry: TaskRegistry,
        errands: Errands,
        clock: Clock,
        max_running: int,
        scheduler: Scheduler,
    ) -> None:
        self._scheduler = scheduler
        self._store = store
        self._limits = limits
        self._registry = registry
        self._errands = errands
        self._clock = clock
        self._max_running = max_running

    async def listed(self) -> LimitList:
        """As `all`, with those who wait for the first `MOST_WAITED_FOR` that have any. Raises `StoreUnavailable`."""
        found = self.all()
        return LimitList(await self._with_waiting(found.limits), found.total)

    async def shown(self, name: str) -> LimitView:
        """As `get`, with those who wait. Raises `InvalidTask`, `StoreUnavailable`."""
        [view] = await self._with_waiting([self.get(name)])
        return view

    def all(self) -> LimitList:
        """Every limit that is set, and every key of which a place is taken."""
        held = {name_of(key): places for key, places in self._limits.held()}
        are_set = self._limits.all_set()
        names = [*sorted(are_set), *sorted(name for name in held if name not in are_set and not _is_gate(name))]
        return LimitList([self._view(name, held.get(name, {})) for name in names[:MOST_LISTED]], len(names))

    def get(self, name: str) -> LimitView:
        """One limit, whether anything is known of it or not. Raises `InvalidTask` for a name that is none."""
        check_name(name)
        key = key_of(name)
        if _is_gate(name) and self._limits.limit(key) is None:  # only what came while it was set would be there
            return self._view(name, {})
        return self._view(name, next((places for held, places in self._limits.held() if held == key), {}))

    async def set(self, name: str, most: int, *, by: str = "local") -> LimitView:
        """Let at most so many tasks be with agents at a time; 0: nothing more starts.

        Raises `InvalidTask`, `StoreUnavailable`.
        """
        check_name(name)
        if not 0 <= most <= MAX_LIMIT:
            raise InvalidTask(FieldError("most", f"{most} is not from 0 to {MAX_LIMIT:,}"))
        await self._errands.do(partial(self._set, name, most, by))
        return await self.shown(name)

    async def remove(self, name: str, *, by: str = "local") -> LimitView:
        """Let there be no such limit any more, if there was one. Raises `InvalidTask`, `StoreUnavailable`."""
        check_name(name)
        await self._errands.do(partial(self._set, name, None, by))
        return await self.shown(name)

    async def _set(self, name: str, most: int | None, by: str) -> None:
        now, before = self._clock.now(), self._limits.all_set().get(name)
        kind = "limit_removed" if most is None else "limit_set"
        await self._store.set_limit(name, most, now, Deed(kind, by, name, now, _told(before), _told(most)))
        self._limits.set(name, most)
        self._limits.adopt(task for task in self._registry if task.status in GRANTED)
        log.info("limit_set", name=name, most=most)

    async def _with_waiting(self, views: Sequence[LimitView]) -> list[LimitView]:
        """Limits with the first of those who wait for them: what is named by tasks is read, the rest is in memory."""
        gates = [view.name for view in views if _is_gate(view.name) and self._limits.is_shut(key_of(view.name))]
        named = [key_of(view.name) for view in views if not _is_gate(view.name)]
        keys = [key for key in named if self._limits.may_be_wanted(key)]
        read = await self._store.waiters(keys, MOST_WAITED_FOR, MOST_WAITERS, MOST_COUNTED) if keys else {}
        waiting = {key_of(name): self._behind(name) for name in gates[:MOST_WAITED_FOR]} | dict(read)
        found = [(view, waiting.get(key_of(view.name), Waiters())) for view in views]
        return [replace(view, waiting=waiters.first, waiting_more=waiters.more) for view, waiters in found]

    def _behind(self, name: str) -> Waiters:
        """Who waits for a limit that tasks do not name, of those in memory: the first are."""
        tasks = self._scheduler.first_waiting(partial(is_behind, name), MOST_WAITERS + MOST_COUNTED)
        return Waiters(list(map(waiter_of, tasks[:MOST_WAITERS])), len(tasks[MOST_WAITERS:]))

    def _view(self, name: str, places: Mapping[int, str]) -> LimitView:
        return LimitView(
            name=name,
            most=self._limits.limit(key_of(name)),
            settings_most=(self._max_running or None) if name == RUNNING else None,
            taken=len(places),
            holders=list(map(self._holder, islice(_ids(places), MOST_HOLDERS))),
        )

    def _holder(self, task_id: str) -> LimitHolder:
        task = self._registry.get(task_id)
        if task is None or task.attempt is None:
            return LimitHolder(task_id)
        return LimitHolder(task_id, task.attempt.agent_id, task.attempt.sent_at)


def check_name(name: str) -> None:
    """Refuse what is no name of a limit. Raises `InvalidTask`."""
    kind, colon, rest = name.partition(":")
    if kind in {"pool", "type", "workspace"}:
        is_right = NAME.fullmatch(rest) is not None
    elif kind == "agent":
        is_right = AGENT_ID.fullmatch(rest) is not None
    elif kind == "key":
        is_right = is_key(rest)
    else:
        is_right = name == RUNNING and not colon
    if not is_right:
        raise InvalidTask(FieldError("name", f"{name[:64]!r} is no limit; write {RIGHT_NAME}"))


def _told(most: int | None) -> Mapping[str, object] | None:
    return None if most is None else {"most": most}


def _is_gate(name: str) -> bool:
    """Whether places are counted only while a limit is set: tasks do not name it."""
    return name.partition(":")[0] in {RUNNING, "pool", "type", "agent"}


def _ids(places: Mapping[int, str]) -> Iterable[str]:
    """Those who have places, in the order of these; one that only the database knows of is left out."""
    return (task_id for _, task_id in sorted(places.items()) if task_id)
