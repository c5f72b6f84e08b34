"""The one way by which anything becomes durable.

One commit at a time, and everything that gathered meanwhile rides in the next.

Order that must hold: commit, then show (the registry), then answer whoever asked, then publish.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import structlog

from nodelink.errors import Overloaded, StoreError, StoreUnavailable
from nodelink_server.core.accounts import Accounts
from nodelink_server.core.blob_ports import Kept
from nodelink_server.core.clock import ControlTime
from nodelink_server.core.deeds import Deed
from nodelink_server.core.pauses import PauseStep
from nodelink_server.core.ports import (
    AgentRecord,
    AgentSessionRecord,
    Batch,
    Change,
    Clock,
    Evidence,
    Keeping,
    Notice,
    Receipt,
    Replay,
    Store,
    TaskEvent,
)
from nodelink_server.core.tally import Tally
from nodelink_server.core.task import stamp

MOST_PER_COMMIT = 2_000
MOST_GATHERED = 100_000

log = structlog.get_logger(__name__)


class Committed(NamedTuple):
    """What became of one entry: for each of its changes the revision, 0 where the guard refused it."""

    revisions: Sequence[int]
    replays: dict[int, Replay]
    refused_agents: frozenset[int]
    locked: frozenset[int] = frozenset()
    clashes: Mapping[int, str] = {}
    """Of those whose unique key is another's, the id of the live task that has it."""
    kept: Sequence[Kept] = ()
    """For each of its keepings what became of it."""

    def behind(self, first: int) -> Committed:
        """What became of the changes behind so many."""
        if not first:
            return self
        replays = {index - first: replay for index, replay in self.replays.items() if index >= first}
        clashes = {index - first: owner for index, owner in self.clashes.items() if index >= first}
        locked = frozenset(index - first for index in self.locked if index >= first)
        return Committed(self.revisions[first:], replays, self.refused_agents, locked, clashes, self.kept)


Done = Callable[[Committed | StoreError], None]


class Entry(NamedTuple):
    """What one caller wants to be committed together, and whom to tell."""

    changes: Sequence[Change]
    agents: Sequence[AgentRecord]
    notices: Sequence[Notice]
    sessions: Sequence[AgentSessionRecord]
    evidence: Sequence[Evidence]
    deeds: Sequence[Deed]
    done: Done | None
    pauses: Sequence[PauseStep] = ()
    revived: str = ""
    keepings: Sequence[Keeping] = ()

    @property
    def weight(self) -> int:
        """How many operations it stands for."""
        beside = len(self.notices) + len(self.sessions) + len(self.evidence) + len(self.keepings)
        return len(self.changes) + len(self.agents) + beside


class Ledger:
    """Gathers changes, commits them in groups, and tells what follows from each commit in its order."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        control: ControlTime,
        tally: Tally,
        accounts: Accounts,
        follow: Callable[[Sequence[Change]], None],
        publish: Callable[[Sequence[TaskEvent]], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._control = control
        self._tally = tally
        self._accounts = accounts
        self._follow = follow
        self._publish = publish
        self._gathered: deque[Entry] = deque()
        self._weight = 0
        self._wake = asyncio.Event()
        self.rounds = 0
        """How many commits have been tried."""
        self.failing: str = ""
        """Why the last commit failed; empty: it did not."""
        self.failing_since = 0
        """Since when commits fail, in milliseconds since the epoch."""

    @property
    def queue_depth(self) -> int:
        """How many operations wait for the next commit."""
        return self._weight

    def nudge(self) -> None:
        """Have something committed, if only the control time."""
        if not self._gathered:
            self.post()

    def check_room(self) -> None:
        """Raise `Overloaded` if too much is waiting already: for callers from outside, who can come again."""
        if self._weight >= MOST_GATHERED:
            raise Overloaded(retry_after=1.0)

    def post(
        self,
        changes: Sequence[Change] = (),
        *,
        agents: Sequence[AgentRecord] = (),
        notices: Sequence[Notice] = (),
        sessions: Sequence[AgentSessionRecord] = (),
        evidence: Sequence[Evidence] = (),
        deeds: Sequence[Deed] = (),
        pauses: Sequence[PauseStep] = (),
        keepings: Sequence[Keeping] = (),
        revived: str = "",
        done: Done | None = None,
    ) -> None:
        """Have something committed, and `done` called on the loop with what became of it."""
        entry = Entry(changes, agents, notices, sessions, evidence, deeds, done, pauses, revived, keepings)
        self._gathered.append(entry)
        self._weight += entry.weight
        self._wake.set()

    async def commit(
        self,
        changes: Sequence[Change] = (),
        *,
        agents: Sequence[AgentRecord] = (),
        notices: Sequence[Notice] = (),
        sessions: Sequence[AgentSessionRecord] = (),
        evidence: Sequence[Evidence] = (),
        deeds: Sequence[Deed] = (),
        pauses: Sequence[PauseStep] = (),
        keepings: Sequence[Keeping] = (),
        revived: str = "",
        first: Done | None = None,
    ) -> Committed:
        """Have something committed. Raises `StoreUnavailable`. Cancelled: it is committed all the same.

        `first` is called with what became of it before the caller goes on, and also if the caller has been cancelled.
        """
        future: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()

        def done(outcome: Committed | StoreError) -> None:
            if first is not None:
                first(outcome)
            if future.cancelled():
                return
            if isinstance(outcome, StoreError):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

        self.post(
            changes,
            agents=agents,
            notices=notices,
            sessions=sessions,
            evidence=evidence,
            deeds=deeds,
            pauses=pauses,
            keepings=keepings,
            revived=revived,
            done=done,
        )
        return await future

    async def run(self) -> None:
        """Commit what gathers, for ever."""
        while True:
            await self._wake.wait()
            entries = self._take()
            try:
                await self._commit(entries)
            except asyncio.CancelledError:
                self._fail(entries, StoreUnavailable("the server is stopping"))
                raise
            self.rounds += 1
            # Whoever has just heard of it may have more, and has to be in time: it would wait for a whole commit else.
            await self._clock.sleep(0)

    def close(self) -> None:
        """Answer everybody who still waits: it is not durable."""
        self._fail(self._take_all(), StoreUnavailable("the server is stopping"))

    def _take(self) -> list[Entry]:
        entries: list[Entry] = []
        weight = 0
        while self._gathered and (not entries or weight + self._gathered[0].weight <= MOST_PER_COMMIT):
            entry = self._gathered.popleft()
            weight += entry.weight
            entries.append(entry)
        self._weight -= weight
        if not self._gathered:
            self._wake.clear()
        return entries

    def _take_all(self) -> list[Entry]:
        entries = list(self._gathered)
        self._gathered.clear()
        self._weight = 0
        return entries

    async def _commit(self, entries: list[Entry]) -> None:
        batch = self._batch_of(entries)
        began = self._clock.monotonic()
        try:
            receipt = await self._store.apply(batch)
        except StoreError as error:
            self.failing_since = self.failing_since if self.failing else batch.now
            self.failing = error.message
            log.error("commit_failed", changes=len(batch.changes), error=error.message)
            self._accounts.not_written()
            self._fail(entries, error)
            return
        self._tally.commit_seconds.observe(self._clock.monotonic() - began)
        self._tally.commit_rows.observe(len(batch.changes))
        self.failing = ""
        self._control.committed()
        self._accounts.written()
        self._settle(entries, batch.changes, receipt)

    def _batch_of(self, entries: list[Entry]) -> Batch:
        if len(entries) == 1:  # mostly, and once a second there is nothing in it
            entry = entries[0]
            return Batch(
                now=self._clock.now(),
                control_ms=self._control.now(),
                changes=entry.changes,
                agents=entry.agents,
                notices=entry.notices,
                sessions=entry.sessions,
                statistics=self._accounts.take(),
                evidence=entry.evidence,
                deeds=entry.deeds,
                pauses=entry.pauses,
                keepings=entry.keepings,
                revived=entry.revived,
            )
        return Batch(
            now=self._clock.now(),
            control_ms=self._control.now(),
            changes=[change for entry in entries for change in entry.changes],
            agents=[agent for entry in entries for agent in entry.agents],
            notices=[notice for entry in entries for notice in entry.notices],
            sessions=[session for entry in entries for session in entry.sessions],
            statistics=self._accounts.take(),
            evidence=[late for entry in entries for late in entry.evidence],
            deeds=[deed for entry in entries for deed in entry.deeds],
            pauses=[step for entry in entries for step in entry.pauses],
            keepings=[keeping for entry in entries for keeping in entry.keepings],
            revived=next((entry.revived for entry in entries if entry.revived), ""),
        )

    def _settle(self, entries: list[Entry], changes: Sequence[Change], receipt: Receipt) -> None:
        accepted: list[Change] = []
        for change, revision, key in zip(changes, receipt.revisions, receipt.keys, strict=True):
            if revision:
                stamp(change.task, key=key, revision=revision)
                accepted.append(change)
        self._follow(accepted)
        if len(entries) == 1:
            if entries[0].done is not None:
                entries[0].done(_whole(receipt))
            self._publish(receipt.events)
            return
        kept = iter(receipt.kept)
        first_change = first_agent = 0
        for entry in entries:
            behind, agents_behind = first_change + len(entry.changes), first_agent + len(entry.agents)
            own = list(islice(kept, len(entry.keepings))) if entry.keepings else ()
            if entry.done is not None:
                committed = _slice(receipt, first_change, behind, first_agent, agents_behind)
                entry.done(committed._replace(kept=own) if own else committed)
            first_change, first_agent = behind, agents_behind
        self._publish(receipt.events)

    def _fail(self, entries: list[Entry], error: StoreError) -> None:
        for entry in entries:
            if entry.done is not None:
                entry.done(error)


def _whole(receipt: Receipt) -> Committed:
    replays = dict(receipt.replays)
    return Committed(receipt.revisions, replays, receipt.refused_agents, receipt.locked, receipt.clashes, receipt.kept)


def _slice(receipt: Receipt, first: int, behind: int, first_agent: int, agents_behind: int) -> Committed:
    replays = {i - first: r for i, r in receipt.replays.items() if first <= i < behind} if receipt.replays else {}
    refused = frozenset(i - first_agent for i in receipt.refused_agents if first_agent <= i < agents_behind)
    locked = frozenset(i - first for i in receipt.locked if first <= i < behind)
    clashes = {i - first: owner for i, owner in receipt.clashes.items() if first <= i < behind}
    return Committed(receipt.revisions[first:behind], replays, refused, locked, clashes)
