"""What the next commit of the database of tasks counts on from, and what is audited by the commit that does it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection

from nodelink.failpoints import hit
from nodelink_server.core.deeds import Deed
from nodelink_server.store import audit
from nodelink_server.store.numbering import Counters
from nodelink_server.store.writer import Work, Writer

_T = TypeVar("_T")


class Chain:
    """The numbers of the last commit. `counters` are touched by the writer's thread alone."""

    def __init__(self, writer: Writer, counters: Counters) -> None:
        self._writer = writer
        self.counters = counters

    def count_on(self, outcome: tuple[object, Counters]) -> None:
        """Count on from what a commit has come to. Runs in the writer's thread."""
        self.counters = outcome[1]

    async def write(
        self,
        do: Callable[[Connection], _T],
        is_there: Callable[[Connection, _T], bool],
        *,
        deed: Deed | None,
        is_done: Callable[[_T], bool],
        place: str = "",
    ) -> _T:
        """Do something, and record the deed in the same transaction, if what came of it says that it is done.

        `is_there` is asked, as of a `Work`, only if nothing was recorded. `place` names the failpoints of the commit.
        """

        def audited(connection: Connection) -> tuple[_T, Counters]:
            result, after = do(connection), self.counters
            if deed is not None and is_done(result):
                after = audit.record(connection, audit.audit_entries((), (), [deed]), deed.at, after)
            if place:
                hit(f"server.{place}.before_commit")
            return result, after

        def is_committed(connection: Connection, outcome: tuple[_T, Counters]) -> bool:
            result, after = outcome
            if after is self.counters:
                return is_there(connection, result)
            return audit.is_recorded(connection, after)  # else the next record would be bound to one that is not last

        result, _ = await self._writer.write(Work(audited, is_committed, self.count_on))
        if place:
            hit(f"server.{place}.after_commit")
        return result
