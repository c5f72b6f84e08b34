"""What the agent has to say about attempts, until it is said, and for results: until it is acknowledged.

Of progress only the latest is kept. A frame is filled in the order started, progress, results, so that nothing about an
attempt ever comes after its result.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from nodelink.task import AttemptRef, Declined, Finished, Progress, Started, TaskResponse

ITEM_BYTES = 128
"""What an item takes in a frame, its output and its words apart. An estimate on the high side."""


class Outbox:
    """Responses on their way. Sends only as many frames as the response credit of the session allows."""

    def __init__(self) -> None:
        self._started: dict[AttemptRef, tuple[float, str]] = {}
        self._progress: dict[AttemptRef, Progress] = {}
        self._unsent: OrderedDict[AttemptRef, TaskResponse] = OrderedDict()
        self._unacknowledged: dict[AttemptRef, TaskResponse] = {}
        self._frames_left = 0
        self._frames_sent = 0

    @property
    def unsent_results(self) -> int:
        """How many results have not been handed to the stream of this session."""
        return len(self._unsent)

    @property
    def is_empty(self) -> bool:
        """Whether everything has been said, and every result acknowledged."""
        return not (self._unsent or self._unacknowledged or self._started or self._progress)

    def new_session(self) -> None:
        """Begin again: all that is not acknowledged is to be sent, in the order of old. There is no credit yet."""
        unsent = self._unsent
        self._unsent = OrderedDict(self._unacknowledged)
        self._unsent.update(unsent)
        self._unacknowledged = {}
        self._frames_left = self._frames_sent = 0

    def allow(self, frames: int) -> None:
        """At most so many frames may be sent in this session. Less than before changes nothing."""
        self._frames_left = max(self._frames_left, frames - self._frames_sent)

    def started(self, ref: AttemptRef, *, at: float, containment: str) -> None:
        """To be said: work has started, at this moment of the caller's clock."""
        self._started[ref] = (at, containment)

    def progress(self, ref: AttemptRef, progress: Progress) -> None:
        """To be said: how far it is, instead of anything of the kind not yet said."""
        self._progress[ref] = progress

    def results(self, responses: Iterable[TaskResponse]) -> None:
        """To be said until it is acknowledged: how attempts ended."""
        for response in responses:
            self._unsent[response.ref] = response
        if self._progress:
            for ref in self._progress.keys() & self._unsent.keys():
                del self._progress[ref]

    def acknowledge(self, ref: AttemptRef) -> bool:
        """A result need not be said again. False: there was none."""
        if self._unacknowledged.pop(ref, None) is not None:
            return True
        return self._unsent.pop(ref, None) is not None

    def forget(self, ref: AttemptRef) -> None:
        """Nothing about this attempt is to be said any more."""
        self._started.pop(ref, None)
        self._progress.pop(ref, None)
        self.acknowledge(ref)

    def take(self, *, now: float, max_items: int, max_bytes: int) -> tuple[list[TaskResponse], int]:
        """What the next frame says, and about how many bytes that is; nothing while there is no credit.

        A single item larger than `max_bytes` has a frame of its own.
        """
        if not self._frames_left or not (self._unsent or self._started or self._progress):
            return [], 0
        taken = self._take_started(now, max_items)
        taken += self._take_progress(max_items - len(taken))
        size = ITEM_BYTES * len(taken)
        while self._unsent and len(taken) < max_items:
            response = next(iter(self._unsent.values()))
            size += response_bytes(response)
            if taken and size > max_bytes:
                size -= response_bytes(response)
                break
            ref, _ = self._unsent.popitem(last=False)
            self._unacknowledged[ref] = response
            taken.append(response)
        self._frames_left -= 1
        self._frames_sent += 1
        return taken, size

    def _take_started(self, now: float, count: int) -> list[TaskResponse]:
        taken = []
        for ref in list(self._started)[:count]:
            at, containment = self._started.pop(ref)
            ago_ms = max(round((now - at) * 1000), 0)
            taken.append(TaskResponse(ref, Started(ago_ms=ago_ms, containment=containment)))
        return taken

    def _take_progress(self, count: int) -> list[TaskResponse]:
        return [TaskResponse(ref, self._progress.pop(ref)) for ref in list(self._progress)[:count]]


def response_bytes(response: TaskResponse) -> int:
    """About how many bytes a result takes in a frame, on the high side."""
    match response.update:
        case Finished() as finished:
            words = len(finished.error.message) * 4 if finished.error else 0
            return ITEM_BYTES + len(finished.output) + words
        case Declined() as declined:
            return ITEM_BYTES + len(declined.message) * 4
        case _:
            return ITEM_BYTES
