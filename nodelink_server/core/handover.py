"""Tasks on their way to one agent, which its stream has not taken yet."""

from __future__ import annotations

from collections.abc import Sequence

from nodelink.task import AttemptRef, TaskRequest

MOST_TASKS_PER_FRAME = 256
MOST_BYTES_PER_FRAME = 256 * 1024
MOST_BYTES_WAITING = 4 * 1024 * 1024
"""With so many bytes of tasks on the way to an agent that does not read, it has no room, whatever its credit."""
BYTES_PER_TASK = 400
"""More than a task takes on its way beside its payload, its metadata and its lock."""
BYTES_PER_ENTRY = 12
"""More than an entry of the metadata takes beside its characters."""
BYTES_PER_CHARACTER = 4


class Handover:
    """They leave in their order, in frames that are not too large."""

    __slots__ = ("_requests", "bytes")

    def __init__(self) -> None:
        self._requests: list[tuple[TaskRequest, int]] = []
        self.bytes = 0
        """A bound on what they take."""

    def __len__(self) -> int:
        return len(self._requests)

    @property
    def is_full(self) -> bool:
        """Whether so much is on its way that no more should be."""
        return self.bytes >= MOST_BYTES_WAITING

    def refs(self) -> set[AttemptRef]:
        """What all of them are."""
        return {request.ref for request, _ in self._requests}

    def put(self, request: TaskRequest) -> None:
        """One more."""
        size = _most_bytes(request)
        self.bytes += size
        self._requests.append((request, size))

    def take(self) -> list[TaskRequest]:
        """The tasks of the next frame; one that is larger than a frame should be travels alone."""
        count = size = 0
        for _, most_bytes in self._requests[:MOST_TASKS_PER_FRAME]:
            if count and size + most_bytes > MOST_BYTES_PER_FRAME:
                break
            size += most_bytes
            count += 1
        taken = [request for request, _ in self._requests[:count]]
        del self._requests[:count]
        self.bytes -= size
        return taken

    def give_up(self) -> Sequence[AttemptRef]:
        """None of them leaves any more. Returns the grants among them: they provably never began."""
        unsent = [request.ref for request, _ in self._requests if request.granted]
        self._requests.clear()
        self.bytes = 0
        return unsent


def _most_bytes(request: TaskRequest) -> int:
    """A bound on the size of a task on its way."""
    metadata, lock = request.spec.metadata, request.spec.lock
    if not (metadata or lock):
        return BYTES_PER_TASK + len(request.payload)
    characters = len(lock) + sum(len(name) + len(value) for name, value in metadata.items())
    small = BYTES_PER_TASK + BYTES_PER_ENTRY * len(metadata)
    return small + len(request.payload) + BYTES_PER_CHARACTER * characters
