"""Many submissions, cut into batches as long as one call may carry. Pure: both clients share it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from nodelink.client import asks
from nodelink.client.asks import Ask
from nodelink.client.checks import several
from nodelink.client.nouns import SubmitOutcome
from nodelink.client.requests import check_size, submit_request
from nodelink.errors import FieldError, InvalidTask, TooLarge
from nodelink.task import Submission
from nodelink.v1 import task_pb2

MOST_IN_BATCH = 1_000
BATCH_BYTES = 2 << 20
"""About how large a batch may get before the next one begins."""


class Batch:
    """Submissions of one call. What no message can carry is refused here, and keeps its place among the outcomes."""

    def __init__(self) -> None:
        self._request = task_pb2.BatchSubmitTasksRequest()
        self._refused: list[SubmitOutcome | None] = []
        self._size = 0

    def __len__(self) -> int:
        """How many submissions it has."""
        return len(self._refused)

    @property
    def ask(self) -> Ask[list[SubmitOutcome]] | None:
        """The call; None: there is nothing to be sent."""
        return asks.submit_batch(self._request) if self._request.requests else None

    def has_room(self, request: task_pb2.SubmitTaskRequest) -> bool:
        """Whether one more goes into it. Into an empty one any does."""
        return not self or (len(self) < MOST_IN_BATCH and self._size + request.ByteSize() <= BATCH_BYTES)

    def add(self, request: task_pb2.SubmitTaskRequest) -> None:
        """One more."""
        size = request.ByteSize()
        try:
            check_size(size)
        except TooLarge as error:
            self._refused.append(SubmitOutcome(refusal=error))
            return
        self._request.requests.append(request)
        self._refused.append(None)
        self._size += size

    def outcomes(self, answered: list[SubmitOutcome]) -> Iterator[SubmitOutcome]:
        """An outcome for each, in order, now that the server has answered what it was asked."""
        left = iter(answered)
        return (refused or next(left) for refused in self._refused)


def batches(submissions: Iterable[Submission], new_key: Callable[[], str]) -> Iterator[Batch]:
    """All submissions in batches. Whoever has no key is given one. Raises `InvalidTask` for what is no submission."""
    batch = Batch()
    for submission in several("submissions", submissions):
        if not isinstance(submission, Submission):
            raise InvalidTask(FieldError("submissions", f"must be what new_task gives, not {submission!r:.100}"))
        request = submit_request(submission, new_key)
        if not batch.has_room(request):
            yield batch
            batch = Batch()
        batch.add(request)
    if batch:
        yield batch
