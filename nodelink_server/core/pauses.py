"""What is paused: everything, a pool, or a type of task. Nothing new starts there; what runs goes on.

Memory leads the database when a pause begins and follows it when one ends: so no grant is ever committed between the
two commits, and whoever reads the events in order sees none either.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from nodelink.errors import FieldError, InvalidTask
from nodelink_server.core.characters import NAME

SCHEDULER = "scheduler"
"""The scope of what pauses everything. The others are named like limits: `pool:NAME`, `type:NAME`."""
MOST_PAUSES = 1_000
_KINDS = ("pool", "type")
_NAMED_SO = "must be 1 to 63 letters, digits, '.', '_' or '-', and begin with a letter or digit"


class Pause(NamedTuple):
    """Nothing starts in a scope, since a moment of the wall clock: who said so, and why."""

    scope: str
    since: int
    by: str = ""
    reason: str = ""

    @property
    def words(self) -> str:
        """What is paused, and why, for people."""
        kind, _, name = self.scope.partition(":")
        what = f"{kind} {name!r} is paused" if name else "the scheduler is paused"
        return f"{what} ({self.reason})" if self.reason else what


class PauseStep(NamedTuple):
    """A scope is paused from now on, or (`pause` None) no more: by whom, and why."""

    scope: str
    pause: Pause | None
    by: str = ""
    reason: str = ""


def scope_of(*, pool: str = "", type: str = "") -> str:
    """The scope that is meant by a pool, a type, or neither. Raises `InvalidTask` for both, or a name that is none."""
    if pool and type:
        raise InvalidTask(FieldError("type", "give a pool or a type, not both: pause the one and then the other"))
    for kind, name in (("pool", pool), ("type", type)):
        if name and not NAME.fullmatch(name):
            raise InvalidTask(FieldError(kind, _NAMED_SO))
    if pool:
        return f"pool:{pool}"
    return f"type:{type}" if type else SCHEDULER


def parts_of(scope: str) -> Mapping[str, str]:
    """The pool or the type that a scope means, by its kind; of everything: nothing."""
    kind, _, name = scope.partition(":")
    return {kind: name} if kind in _KINDS else {}


class Pauses:
    """The pauses in force. Lives on the loop."""

    def __init__(self) -> None:
        self._in_force: dict[str, Pause] = {}

    def restore(self, pauses: Iterable[Pause]) -> None:
        """Know what is paused."""
        self._in_force = {pause.scope: pause for pause in pauses}

    def begin(self, pause: Pause) -> None:
        """Let nothing start in a scope."""
        self._in_force[pause.scope] = pause

    def end(self, scope: str) -> None:
        """Let things start in a scope again, if nothing else keeps them."""
        self._in_force.pop(scope, None)

    def get(self, scope: str) -> Pause | None:
        """The pause of exactly this scope."""
        return self._in_force.get(scope)

    def over(self, pool: str, type: str) -> Pause | None:
        """What keeps tasks of a type from starting in a pool; None: nothing does."""
        return next(iter(self.all_over(pool, type)), None) if self._in_force else None

    def all_over(self, pool: str, type: str) -> Sequence[Pause]:
        """All that keeps tasks of a type from starting in a pool."""
        scopes = (SCHEDULER, f"pool:{pool}", f"type:{type}")
        return [self._in_force[scope] for scope in scopes if scope in self._in_force]

    def all(self) -> Sequence[Pause]:
        """Every pause, that of the scheduler first, then by name."""
        return tuple(sorted(self._in_force.values(), key=lambda pause: (pause.scope != SCHEDULER, pause.scope)))
