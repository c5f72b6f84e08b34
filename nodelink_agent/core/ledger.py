"""What is written down, and what waits for it to be durable: starts behind their records, results behind theirs.

Records are numbered in the order in which they are handed out. What is done inline and may be done twice is not written
down at all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from nodelink.task import AttemptRef, Execution, TaskRequest, TaskResponse
from nodelink_agent.core.records import EndRecord, ForgetRecord, Record, StartRecord
from nodelink_agent.core.work import Work


class Ledger:
    """Numbers the records. `places`: by type, where the work is done; the types that are not in it are done inline."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = places
        self.known: set[AttemptRef] = set()
        """The attempts whose beginning was written down, and that are not forgotten."""
        self._starts: deque[tuple[int, AttemptRef]] = deque()
        self._ends: deque[tuple[int, TaskResponse]] = deque()
        self.count = 0
        """How many records were handed out."""

    def keeps(self, request: TaskRequest) -> bool:
        """Whether an attempt is written down before it begins."""
        return request.execution is not Execution.REPLAYABLE or request.spec.type in self._places

    @property
    def waiting_ends(self) -> int:
        """How many results wait for their records."""
        return len(self._ends)

    def begin(self, request: TaskRequest, work: Work, *, at: float) -> None:
        """Write down that an attempt is about to begin. It waits for that."""
        self.known.add(request.ref)
        self._add(StartRecord(request, self._places.get(request.spec.type, ""), at), work)
        self._starts.append((self.count, request.ref))

    def end(self, response: TaskResponse, work: Work) -> None:
        """Write down how an attempt ended; its result waits for that."""
        self._add(EndRecord(response), work)
        self._ends.append((self.count, response))

    def forget(self, ref: AttemptRef, work: Work) -> None:
        """An attempt needs not be known any more."""
        self.known.remove(ref)
        self._add(ForgetRecord(ref), work)

    def release(self, upto: int) -> tuple[list[AttemptRef], list[TaskResponse]]:
        """The starts and the results that wait for none but these records. They are told once."""
        starts, ends = [], []
        while self._starts and self._starts[0][0] <= upto:
            starts.append(self._starts.popleft()[1])
        while self._ends and self._ends[0][0] <= upto:
            ends.append(self._ends.popleft()[1])
        return starts, ends

    def _add(self, record: Record, work: Work) -> None:
        self.count += 1
        work.records.append(record)
