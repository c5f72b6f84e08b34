"""Submissions on their way over one stream, and what became of them. Pure: it neither sends nor waits.

A promise is settled once: by the outcome that the server has made durable, or by the reason why there is none. When a
stream breaks, what it has not answered goes first on the next one, under the same keys: the server knows it again, so
nothing is lost and nothing doubled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from nodelink.client.nouns import SubmitOutcome
from nodelink.client.reading import outcome_of
from nodelink.client.requests import check_size, submit_request
from nodelink.errors import NodelinkError, ProtocolViolation
from nodelink.task import Submission
from nodelink.v1 import task_pb2

MOST_IN_FRAME = 1_000
FRAME_BYTES = 1 << 20
"""About how large a frame may get before the next one begins."""

MOST_REFUSALS = 1_000
"""How many refusals are remembered until somebody looks at them."""


class Promise:
    """One submission and, once it is known, what became of it. `looked_at`: somebody has seen its refusal."""

    __slots__ = ("looked_at", "outcome", "request", "size", "type", "waiter")

    def __init__(self, request: task_pb2.SubmitTaskRequest) -> None:
        self.request: task_pb2.SubmitTaskRequest | None = request
        self.type = request.spec.type
        self.size = request.ByteSize()
        self.outcome: SubmitOutcome | None = None
        self.looked_at = False
        self.waiter: Any = None
        """For whoever carries it: what to tell when it is settled."""

    def seen(self) -> SubmitOutcome | None:
        """Its outcome, None if it is not settled. Raises the refusal."""
        if self.outcome is not None and self.outcome.refusal is not None:
            self.looked_at = True
            raise self.outcome.refusal
        return self.outcome

    def __repr__(self) -> str:
        """How it stands, in words."""
        if self.outcome is None:
            return f"{self.type}, not accepted yet"
        if self.outcome.refusal is not None:
            return f"{self.type}, refused: {self.outcome.refusal}"
        return self.outcome.task_id


def promise_of(submission: Submission, new_key: Callable[[], str]) -> Promise:
    """A promise for a submission, under its own key or a new one. Raises `TooLarge`, and TypeError for wrong types."""
    promise = Promise(submit_request(submission, new_key))
    check_size(promise.size)
    return promise


def frame_of(number: int, promises: Sequence[Promise]) -> task_pb2.StreamSubmitTasksRequest:
    """A frame of the stream; the first promise has this number."""
    requests = [promise.request for promise in promises if promise.request is not None]
    return task_pb2.StreamSubmitTasksRequest(first_number=number, requests=requests)


class KeyMaker:
    """Makes idempotency keys that nobody else makes: chance, and a number."""

    def __init__(self, chance: str) -> None:
        self._chance = chance
        self._numbers = count(1)

    def __call__(self) -> str:
        """A new key. Threads may share one."""
        return f"{self._chance}-{next(self._numbers):x}"


class Outgoing:
    """What waits, what is under way, and how much more the server lets us send on the present stream."""

    def __init__(self) -> None:
        self._waiting: deque[Promise] = deque()
        self._under_way: deque[Promise] = deque()
        self._refused: deque[Promise] = deque()
        self._sent = 0
        self._answered = 0
        self._credit = 0
        self.size = 0
        """The bytes of all that is not settled."""

    def __len__(self) -> int:
        """How many promises are not settled."""
        return len(self._waiting) + len(self._under_way)

    def add(self, promise: Promise) -> None:
        """One more to be sent."""
        self._waiting.append(promise)
        self.size += promise.size

    @property
    def last(self) -> Promise | None:
        """The youngest of all that is not settled: they are settled in order."""
        return self._waiting[-1] if self._waiting else self._under_way[-1] if self._under_way else None

    def begin(self) -> None:
        """A new stream: whatever the last one has not answered goes first, and there is no credit yet."""
        self._waiting.extendleft(reversed(self._under_way))
        self._under_way.clear()
        self._sent = self._answered = self._credit = 0

    def take(self) -> tuple[int, list[Promise]]:
        """The number of the next frame, and what goes into it: as much as has gathered. Empty: nothing to send now."""
        number, size = self._sent, 0
        room = min(MOST_IN_FRAME, self._credit - self._sent)
        taken: list[Promise] = []
        while self._waiting and len(taken) < room and (not taken or size + self._waiting[0].size <= FRAME_BYTES):
            promise = self._waiting.popleft()
            size += promise.size
            taken.append(promise)
        self._under_way.extend(taken)
        self._sent += len(taken)
        return number, taken

    def answered(self, answer: task_pb2.StreamSubmitTasksResponse) -> list[Promise]:
        """Settle what an answer of the server is about. Raises `ProtocolViolation`."""
        self._credit = max(self._credit, answer.submit_credit)
        if not answer.outcomes:
            return []
        if answer.first_number != self._answered or len(answer.outcomes) > len(self._under_way):
            raise ProtocolViolation("the server has answered submissions that it was not asked about")
        self._answered += len(answer.outcomes)
        return [self._settle(self._under_way.popleft(), outcome_of(pb)) for pb in answer.outcomes]

    def fail(self, error: NodelinkError) -> list[Promise]:
        """Settle everything that is not settled, with an error."""
        left = [*self._under_way, *self._waiting]
        self._under_way.clear()
        self._waiting.clear()
        return [self._settle(promise, SubmitOutcome(refusal=error)) for promise in left]

    def unseen(self) -> NodelinkError | None:
        """The first refusal that nobody has looked at; from now on it and the later ones count as seen."""
        unseen = [promise for promise in self._refused if not promise.looked_at]
        self._refused.clear()
        return unseen[0].outcome.refusal if unseen and unseen[0].outcome else None

    def _settle(self, promise: Promise, outcome: SubmitOutcome) -> Promise:
        promise.outcome = outcome
        promise.request = None  # a handle that is kept does not keep the payload
        self.size -= promise.size
        if outcome.refusal is not None:
            self._remember(promise)
        return promise

    def _remember(self, promise: Promise) -> None:
        if len(self._refused) >= MOST_REFUSALS:
            self._refused = deque(known for known in self._refused if not known.looked_at)
        if len(self._refused) < MOST_REFUSALS:
            self._refused.append(promise)
