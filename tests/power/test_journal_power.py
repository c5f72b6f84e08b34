"""The power fails while the agent's journal is written: every record that was durable is there, and none is made up.

Each seed is some lives of an agent over one disk: each writes, compacts, has trouble with its disk, and ends by a power
cut, as a rule in the middle of a call. More seeds: NODELINK_POWER_CUTS=50000; others: NODELINK_POWER_SEED=1000000.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from itertools import combinations
from random import Random
from typing import NamedTuple

import pytest

from nodelink.task import AttemptRef, Execution, Finished, Gone, Outcome, TaskRequest, TaskResponse, TaskSpec
from nodelink_agent.core.records import EndRecord, ForgetRecord, Record, StartRecord
from nodelink_agent.journal.file import NAME, JournalFile
from nodelink_agent.journal.known import Known, known_of
from tests.power.durable_disk import DurableDisk, PowerCut

CUTS = int(os.environ.get("NODELINK_POWER_CUTS", "1000"))
SEED = int(os.environ.get("NODELINK_POWER_SEED", "1"))
LIVES = 4
MOST_CALLS = 40
RESERVE_BYTES = 512
LEAST_DEAD_BYTES = 256


class Name(NamedTuple):
    """What is compared of an attempt: what even a damaged start can still tell, and its end."""

    type: str
    execution: Execution
    place: str
    at: float
    response: TaskResponse | None


State = dict[AttemptRef, Name]


def state_of(known: Iterable[Known]) -> State:
    return {
        one.request.ref: Name(one.request.spec.type, one.request.execution, one.place, one.at, one.response)
        for one in known
    }


class Life:
    """An agent's life: what it wrote, and what may have been written."""

    def __init__(self, random: Random, durable: Sequence[Record], number: int) -> None:
        self._random = random
        self._attempts = number * 1_000
        self.durable = list(durable)
        self.perhaps: list[Record] = []
        """Given to the journal, and not acknowledged."""

    def run(self, journal: JournalFile) -> None:
        """Write until the power fails, or the agent has enough."""
        for _ in range(self._random.randint(1, 15)):
            records = self._records()
            self.perhaps += records
            for _ in range(3):  # as the journal's owner does: what could not be written is given again
                with contextlib.suppress(OSError):
                    journal.append(records)
                    self._acknowledged(records)
                    break
            else:
                return
            journal.take_reserve()

    def _acknowledged(self, records: Sequence[Record]) -> None:
        self.durable += records
        self.perhaps.clear()

    def _records(self) -> list[Record]:
        """A group of records, as it gathers while another one is being written."""
        records: list[Record] = []
        for _ in range(self._random.randint(1, 3)):
            records.append(self._record([*self.durable, *records]))
        return records

    def _record(self, before: Sequence[Record]) -> Record:
        known = known_of(before)
        running = [one for one in known if one.response is None]
        ended = [one for one in known if one.response is not None]
        draw = self._random.random()
        if draw < 0.3 and running:
            return self._end(self._random.choice(running).request.ref)
        if draw < 0.7 and ended:
            return ForgetRecord(self._random.choice(ended).request.ref)
        return self._start()

    def _start(self) -> StartRecord:
        self._attempts += 1
        ref = AttemptRef(f"t{self._attempts}", 1, self._attempts)
        execution = self._random.choice(list(Execution))
        metadata = {"note": "n" * self._random.randint(0, 600)}
        spec = TaskSpec(type="shell", metadata=metadata, execution=execution)
        place = self._random.choice(("", "spawner-1"))
        return StartRecord(TaskRequest(ref=ref, spec=spec, payload=b"", execution=execution), place, 1.5)

    def _end(self, ref: AttemptRef) -> EndRecord:
        if self._random.random() < 0.3:
            return EndRecord(TaskResponse(ref, Gone(message="nobody saw it")))
        output = b"x" * self._random.randint(0, 2_000)
        return EndRecord(TaskResponse(ref, Finished(outcome=Outcome.COMPLETED, output=output)))


def possible(durable: Sequence[Record], perhaps: Sequence[Record]) -> Iterable[State]:
    """What a journal may say: all that is durable, and any part of what may have been written."""
    for count in range(len(perhaps) + 1):
        for part in combinations(perhaps, count):
            yield state_of(known_of([*durable, *part]))


def opened(disk: DurableDisk, session: int) -> JournalFile:
    return JournalFile(disk, next_session=session, reserve_bytes=RESERVE_BYTES, least_dead_bytes=LEAST_DEAD_BYTES)


def live(seed: int, healthy: frozenset[str]) -> None:
    """Several lives, and what each found of the one before. The calls that are `healthy` never fail."""
    random = Random(seed)
    files: dict[str, bytes] = {}
    durable: list[Record] = []
    perhaps: list[Record] = []
    since = 1
    for number in range(1, LIVES + 1):
        disk = DurableDisk(random, files, cut_at=random.randint(1, MOST_CALLS), healthy=healthy)
        life = Life(random, durable, number)
        try:
            journal = opened(disk, session=number)
            found = state_of(journal.known)
            assert found in possible(durable, perhaps), f"seed {seed}, life {number}"
            assert since <= journal.remembers_since <= number, f"seed {seed}, life {number}"
            since = journal.remembers_since
            life.durable = durable = settled(durable, perhaps, found)
            perhaps = []
            disk.trouble = random.choice((0.0, 0.0, 0.2))
            life.run(journal)
        except PowerCut:
            pass
        durable, perhaps = life.durable, [*perhaps, *life.perhaps]
        files = disk.left()
    journal = opened(DurableDisk(random, files), session=LIVES + 1)
    assert state_of(journal.known) in possible(durable, perhaps), f"seed {seed}, at the end"


def settled(durable: Sequence[Record], perhaps: Sequence[Record], found: State) -> list[Record]:
    """The records that explain what was found."""
    for count in range(len(perhaps) + 1):
        for part in combinations(perhaps, count):
            if state_of(known_of([*durable, *part])) == found:
                return [*durable, *part]
    raise AssertionError("nothing explains it")


@pytest.mark.timeout(60 if CUTS <= 1000 else 36_000)
def test_a_power_cut_loses_no_record_that_was_durable_and_makes_none_up() -> None:
    for seed in range(SEED, SEED + CUTS // LIVES):
        live(seed, healthy=frozenset({"sync_directory"}))


def test_what_is_known_when_a_journal_is_opened_is_durable() -> None:
    """Its last process has died after it had written the end of an attempt, and before that was durable."""
    spec = TaskSpec(type="shell", execution=Execution.ONCE)
    request = TaskRequest(ref=AttemptRef("t1", 1, 1), spec=spec, payload=b"", execution=Execution.ONCE)
    start, end = StartRecord(request, "spawner-1", 1.5), EndRecord(TaskResponse(request.ref, Gone(message="gone")))
    whole = DurableDisk(Random(0))
    opened(whole, session=1).append([start, end])
    for seed in range(20):
        disk = DurableDisk(Random(seed))
        opened(disk, session=1).append([start])
        disk.append(NAME, (whole.read(NAME) or b"")[disk.size(NAME) :])
        known = opened(disk, session=2).known
        left = DurableDisk(Random(seed), disk.left())
        assert [one.response for one in known] == [end.response]
        assert state_of(opened(left, session=3).known) == state_of(known)


def test_a_directory_that_cannot_be_synced_does_no_harm_either() -> None:
    for seed in range(1, 1 + 1_000 // LIVES):
        live(seed, healthy=frozenset())
