"""The agent's journal over real files. Whatever is done to them, it makes nothing up, and loses only what was hit."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nodelink.task import AttemptRef, Execution, Finished, Outcome, TaskRequest, TaskResponse, TaskSpec
from nodelink_agent.core.records import EndRecord, ForgetRecord, Record, StartRecord
from nodelink_agent.journal.codec import encoded
from nodelink_agent.journal.disk import Disk
from nodelink_agent.journal.file import DAMAGED, NAME, JournalFile
from nodelink_agent.journal.known import Known, known_of
from tests.machines.effort import effort

RESERVE_BYTES = 4_096
LEAST_DEAD_BYTES = 512
SHARED_MEMORY = Path("/dev/shm")
State = dict[AttemptRef, TaskResponse | None]


class JournalMachine(RuleBasedStateMachine):
    """One agent's journal, through many of its lives."""

    def __init__(self) -> None:
        super().__init__()
        self._directory = Path(tempfile.mkdtemp(dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None))
        self._session = 0
        self._made = 0
        self._records: list[Record] = []
        self._since = 1
        self._damaged = 0
        self._journal: JournalFile
        self._begin()

    def teardown(self) -> None:
        """Remove the files."""
        self._journal.close()
        shutil.rmtree(self._directory)

    # -- what happens -------------------------------------------------------------------------------------------------

    @rule(count=st.integers(1, 4), size=st.integers(0, 400))
    def begin_work(self, count: int, size: int) -> None:
        """Attempts begin."""
        self._append([self._start(size) for _ in range(count)])

    @precondition(lambda self: self._with(ended=False))
    @rule(which=st.integers(0, 100), size=st.integers(0, 900))
    def end_work(self, which: int, size: int) -> None:
        """An attempt ends."""
        running = self._with(ended=False)
        finished = Finished(outcome=Outcome.COMPLETED, output=b"x" * size)
        self._append([EndRecord(TaskResponse(running[which % len(running)], finished))])

    @precondition(lambda self: self._with(ended=True))
    @rule()
    def forget(self) -> None:
        """All that has ended is acknowledged."""
        self._append([ForgetRecord(ref) for ref in self._with(ended=True)])

    @rule()
    def open_again(self) -> None:
        """The agent is started anew."""
        self._journal.close()
        self._begin()

    @rule(garbage=st.binary(min_size=1, max_size=40))
    def tear_the_end(self, garbage: bytes) -> None:
        """A write was cut short: what stands behind the last record is no record."""
        self._journal.close()
        torn = encoded(self._start(100))[:-1]
        with (self._directory / NAME).open("ab") as file:
            file.write(torn[: len(garbage)] if garbage[0] % 2 else bytes(garbage[0] % 32))
        self._begin()

    @precondition(lambda self: self._records)
    @rule(place=st.integers(0, 1 << 20), mask=st.integers(1, 255))
    def damage(self, place: int, mask: int) -> None:
        """The storage changes a byte of what was written."""
        self._journal.close()
        file = self._directory / NAME
        data = bytearray(file.read_bytes())
        data[place % len(data)] ^= mask
        file.write_bytes(data)
        self._session += 1
        before = _state(known_of(self._records))
        self._journal = self._opened()
        self._check_damage(bytes(data), before, _state(self._journal.known))

    @invariant()
    def nothing_is_counted_wrong(self) -> None:
        """The file is as long as its owner believes."""
        assert (self._directory / NAME).stat().st_size == self._journal._size

    # -- how ----------------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Open it, undamaged or with a torn end."""
        self._session += 1
        self._journal = self._opened()
        assert _state(self._journal.known) == _state(known_of(self._records))
        assert self._since <= self._journal.remembers_since <= self._session
        self._since = self._journal.remembers_since

    def _opened(self) -> JournalFile:
        return JournalFile(
            Disk(self._directory),
            next_session=self._session,
            reserve_bytes=RESERVE_BYTES,
            least_dead_bytes=LEAST_DEAD_BYTES,
        )

    def _check_damage(self, data: bytes, before: State, found: State) -> None:
        """One record was hit: one attempt may be known less well. Nothing else is different."""
        different = [ref for ref in {*before, *found} if before.get(ref, ...) != found.get(ref, ...)]
        assert len(different) <= 1
        written = [record.response for record in self._records if isinstance(record, EndRecord)]
        assert all(response is None or response in written for response in found.values())
        aside = [path for path in self._directory.iterdir() if path.name.startswith(DAMAGED)]
        if len(aside) > self._damaged:  # it was moved aside, as it was
            self._damaged += 1
            assert data in [path.read_bytes() for path in aside]
            assert self._journal.remembers_since == self._session
        assert len(aside) == self._damaged
        assert self._since <= self._journal.remembers_since <= self._session
        self._since = self._journal.remembers_since
        self._records = _records_of(self._journal.known)

    def _append(self, records: list[Record]) -> None:
        self._journal.append(records)
        self._records += records

    def _start(self, size: int) -> StartRecord:
        self._made += 1
        ref = AttemptRef(f"t{self._made}", 1, self._made)
        spec = TaskSpec(type="shell", metadata={"note": "n" * size}, execution=Execution.ONCE)
        return StartRecord(TaskRequest(ref=ref, spec=spec, payload=b"", execution=Execution.ONCE), "spawner", 1.5)

    def _with(self, *, ended: bool) -> list[AttemptRef]:
        state = _state(known_of(self._records))
        return [ref for ref, response in state.items() if (response is not None) == ended]


def _state(known: Sequence[Known]) -> State:
    return {one.request.ref: one.response for one in known}


def _records_of(known: Sequence[Known]) -> list[Record]:
    """Records that say what is known."""
    records: list[Record] = []
    for one in known:
        records.append(StartRecord(one.request, one.place, one.at))
        if one.response is not None:
            records.append(EndRecord(one.response))
    return records


TestJournal = JournalMachine.TestCase
TestJournal.settings = effort(100, 50)
