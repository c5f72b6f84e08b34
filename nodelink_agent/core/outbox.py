"""What the agent has to say about attempts, until it is said, and for results: until it is acknowledged.

Of progress only the latest is kept. A frame is filled in the order accepted, started, progress, wishes, results, so
that nothing about an attempt ever comes after its result. Only a start may wait, and only while there is nothing else
to say of its attempt.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from nodelink.task import Accepted, AttemptRef, Declined, Finished, Gone, Progress, TaskResponse
from nodelink_agent.core.starts import Starts
from nodelink_agent.core.wishes import Wishes

ITEM_BYTES = 128
"""What an item takes in a frame, its output and its words apart. An estimate on the high side."""


class Outbox:
    """Responses on their way. Sends only as many frames as the response credit of the session allows."""

    def __init__(self) -> None:
        self._accepted: dict[AttemptRef, None] = {}
        self.starts = Starts()
        """That work has begun."""
        self._progress: dict[AttemptRef, Progress] = {}
        self.wishes = Wishes()
        """What running work has said of its own limits."""
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
        return not (self._unsent or self._unacknowledged or self._says_more or self.starts.are_left)

    @property
    def _says_more(self) -> bool:
        """Whether anything but a result is to be said now."""
        return bool(self._accepted or self.starts.are_due or self._progress or self.wishes.are_to_be_said)

    def new_session(self) -> None:
        """Begin again: all that is not acknowledged is to be sent, in the order of old. There is no credit yet.

        That offers were accepted is not said again: the hello lists them.
        """
        self._accepted.clear()
        self.starts.hurry_all()
        self.wishes.new_session()
        unsent = self._unsent
        self._unsent = OrderedDict(self._unacknowledged)
        self._unsent.update(unsent)
        self._unacknowledged = {}
        self._frames_left = self._frames_sent = 0

    def allow(self, frames: int) -> None:
        """At most so many frames may be sent in this session. Less than before changes nothing."""
        self._frames_left = max(self._frames_left, frames - self._frames_sent)

    def accepted(self, ref: AttemptRef) -> None:
        """To be said once: an offer is accepted."""
        self._accepted[ref] = None

    def progress(self, ref: AttemptRef, progress: Progress) -> None:
        """To be said: how far it is, instead of anything of the kind not yet said."""
        self._progress[ref] = progress
        self.starts.hurry(ref)

    def results(self, responses: Iterable[TaskResponse]) -> None:
        """To be said until it is acknowledged: how attempts ended."""
        for response in responses:
            self._unsent[response.ref] = response
            self.starts.hurry(response.ref)
            self.wishes.forget(response.ref)
        if self._progress:
            for ref in self._progress.keys() & self._unsent.keys():
                del self._progress[ref]

    def acknowledge(self, ref: AttemptRef) -> TaskResponse | None:
        """A result need not be said again: it. None: there was none."""
        return self._unacknowledged.pop(ref, None) or self._unsent.pop(ref, None)

    def unaccept(self, ref: AttemptRef) -> None:
        """An offer is not accepted after all."""
        self._accepted.pop(ref, None)

    def forget(self, ref: AttemptRef) -> None:
        """Nothing about this attempt is to be said any more."""
        self._accepted.pop(ref, None)
        self.starts.forget(ref)
        self._progress.pop(ref, None)
        self.wishes.forget(ref)
        self.acknowledge(ref)

    def take(self, *, now: float, max_items: int, max_bytes: int) -> tuple[list[TaskResponse], int]:
        """What the next frame says, and about how many bytes that is; nothing while there is no credit.

        A single item larger than `max_bytes` has a frame of its own.
        """
        self.starts.fall_due(now)
        if not self._frames_left or not (self._unsent or self._says_more):
            return [], 0
        taken = self._take_accepted(max_items)
        taken += self.starts.take(max_items - len(taken), now=now)
        taken += self._take_progress(max_items - len(taken))
        taken += self.wishes.take(max_items - len(taken), now=now)
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

    def _take_accepted(self, count: int) -> list[TaskResponse]:
        refs = list(self._accepted)[:count]
        for ref in refs:
            del self._accepted[ref]
        return [TaskResponse(ref, Accepted()) for ref in refs]

    def _take_progress(self, count: int) -> list[TaskResponse]:
        return [TaskResponse(ref, self._progress.pop(ref)) for ref in list(self._progress)[:count]]


def response_bytes(response: TaskResponse) -> int:
    """About how many bytes a result takes in a frame, on the high side."""
    match response.update:
        case Finished() as finished:
            words = len(finished.error.message) * 4 if finished.error else 0
            return ITEM_BYTES + len(finished.output) + words
        case Declined() | Gone() as unfinished:
            return ITEM_BYTES + len(unfinished.message) * 4
        case _:
            return ITEM_BYTES
