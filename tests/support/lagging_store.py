"""A database in memory that is slow to answer: what was read was true a moment ago, not now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nodelink.task import LogStream
from nodelink_server.core.ports import LogEnds, LogRow, Place, Shape, TaskEvent
from nodelink_server.core.task import Task
from nodelink_server.core.task_record import TaskEnd, TaskRecord
from nodelink_server.store.memory import MemoryStore


class LaggingStore(MemoryStore):
    """A `MemoryStore` whose answers take their time on the way back (the pause "answer")."""

    async def find(self, task_ids: Sequence[str]) -> Sequence[Task]:
        """The stored tasks among these ids."""
        found = await super().find(task_ids)
        await self._pause("answer")
        return found

    async def payloads(self, keys: Sequence[int]) -> Mapping[int, bytes]:
        """The payloads of tasks, by key."""
        found = await super().payloads(keys)
        await self._pause("answer")
        return found

    async def waiting(self, shape: Shape, after: Place | None, limit: int) -> Sequence[Task]:
        """Pending tasks of a shape."""
        found = await super().waiting(shape, after, limit)
        await self._pause("answer")
        return found

    async def waiting_on(self, key: str, after: Mapping[Shape, Place], most: int) -> Sequence[Task]:
        """Of the pending tasks that name a key, the first of each shape."""
        found = await super().waiting_on(key, after, most)
        await self._pause("answer")
        return found

    async def due(self, after: Place | None, limit: int) -> Sequence[tuple[Place, str]]:
        """Scheduled tasks in order."""
        found = await super().due(after, limit)
        await self._pause("answer")
        return found

    async def expiring(self, after: Place | None, limit: int) -> Sequence[tuple[Place, str]]:
        """Pending tasks with a queue deadline."""
        found = await super().expiring(after, limit)
        await self._pause("answer")
        return found

    async def read(self, task_id: str) -> TaskRecord | None:
        """Everything about one task."""
        found = await super().read(task_id)
        await self._pause("answer")
        return found

    async def have_ended(self, task_ids: Sequence[str]) -> Mapping[str, bool]:
        """Whether tasks have ended."""
        found = await super().have_ended(task_ids)
        await self._pause("answer")
        return found

    async def read_ended(self, task_ids: Sequence[str]) -> Sequence[TaskEnd]:
        """How tasks have ended."""
        found = await super().read_ended(task_ids)
        await self._pause("answer")
        return found

    async def events(self, after: int, limit: int) -> Sequence[TaskEvent]:
        """Kept events behind a revision."""
        found = await super().events(after, limit)
        await self._pause("answer")
        return found

    async def history(self, task_id: str) -> Sequence[TaskEvent]:
        """The events of one task from its first."""
        found = await super().history(task_id)
        await self._pause("answer")
        return found

    async def log_ends(self, task_key: int, attempt: int) -> LogEnds:
        """How much of an attempt's output is stored."""
        found = await super().log_ends(task_key, attempt)
        await self._pause("answer")
        return found

    async def read_logs(
        self, task_key: int, attempt: int, stream: LogStream | None, offset: int, limit: int
    ) -> Sequence[LogRow]:
        """Stored output from an offset."""
        found = await super().read_logs(task_key, attempt, stream, offset, limit)
        await self._pause("answer")
        return found
