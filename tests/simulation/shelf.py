"""The checkpoints of a simulated database: they are kept elsewhere, and outlive it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import fields, replace
from typing import NamedTuple

from nodelink.checkpoint import CheckpointHeader, CheckpointRefused, Defect
from nodelink.errors import CheckpointNotFound, ServerNotEmpty
from nodelink_server.core.checkpoints import Loading
from nodelink_server.core.pauses import SCHEDULER
from nodelink_server.core.ports import LoadedCheckpoint
from nodelink_server.core.states import GRANTED
from nodelink_server.store.checkpoint_loading import REVISIONS_AHEAD, STARTS_AHEAD
from nodelink_server.store.disk import Disk, Row
from nodelink_server.store.memory import boot_of
from tests.checking.history import Kept
from tests.simulation.census import kept_tasks

BY_TASK = ("rows", "keys", "live", "unique", "idempotency")
WHOLE = ("holds", "limits", "rates", "workspaces", "pauses", "agents", "answers")
"""What of a disk is in a checkpoint, as `store/checkpoint_tables.py` says."""


class Taken(NamedTuple):
    """A checkpoint. `at`: of which moment; `left_out`: the tasks that it leaves out because they have ended."""

    at: float
    header: CheckpointHeader
    disk: Disk
    left_out: Sequence[Kept]


class MemoryShelf:
    """A `Shelf` over a `Disk`. `pause` and `fault` are the store's, `now` is the time of the whole run."""

    def __init__(
        self,
        disk: Disk,
        *,
        pause: Callable[[str], Awaitable[None]],
        fault: Callable[[str], None],
        now: Callable[[], float],
    ) -> None:
        self.disk = disk
        self._pause = pause
        self._fault = fault
        self._now = now
        self._taken: list[Taken] = []

    async def take(self, header: CheckpointHeader, *, keep: int, unless: str = "") -> CheckpointHeader | None:
        """Keep what there is now, and so many in all. None: its fingerprint would be `unless`."""
        await self._begin("read")
        disk = self.disk
        fingerprint = str(disk.revision)
        if fingerprint == unless:
            return None
        kept = _copied(disk)
        running = sum(row.task.status in GRANTED for row in kept.live.values())
        whole = replace(
            header,
            cluster_id=disk.cluster_id,
            start_number=disk.start_number,
            control_ms=disk.control_ms,
            revision=disk.revision,
            last_key=disk.last_key,
            complete=SCHEDULER in disk.pauses and not running,
            waiting=len(kept.live) - running,
            running=running,
            tasks=len(kept.live),
            fingerprint=fingerprint,
        )
        left_out = [one for one in kept_tasks(disk) if one.id not in kept.keys]
        self._taken = [Taken(self._now(), whole, kept, left_out), *self._taken][:keep]
        return whole

    async def all(self) -> Sequence[CheckpointHeader]:
        """Those that are kept, the newest first."""
        return [taken.header for taken in self._taken]

    async def verify(self, checkpoint_id: str) -> CheckpointHeader:
        """One of them."""
        return self.taken(checkpoint_id).header

    async def content(self, checkpoint_id: str, offset: int = 0, most: int | None = None) -> bytes:
        """There are no files."""
        raise CheckpointNotFound("checkpoints in memory have no files")

    async def keep(self, content: bytes) -> CheckpointHeader:
        """There are no files."""
        raise CheckpointRefused(Defect.NOT_A_CHECKPOINT, "checkpoints in memory have no files")

    async def load(self, checkpoint_id: str, *, now: int, as_waiting: bool) -> Loading:
        """Fill the empty disk with one, and return what to go on from, if it was not loaded before."""
        await self._begin("boot")
        disk, taken = self.disk, self.taken(checkpoint_id)
        if disk.loaded is not None and disk.loaded.id == checkpoint_id:
            return Loading(taken.header, None)
        if disk.last_key:
            raise ServerNotEmpty("a checkpoint can only be loaded by a server that has never had a task")
        kept, agents = _copied(taken.disk), disk.agents
        for name in (*BY_TASK, *WHOLE):
            setattr(disk, name, getattr(disk, name) | getattr(kept, name))
        disk.agents |= agents
        disk.blocks = []
        disk.start_number = max(disk.start_number, kept.start_number) + STARTS_AHEAD
        disk.control_ms = max(disk.control_ms, kept.control_ms)
        disk.revision = max(disk.revision, kept.revision) + REVISIONS_AHEAD
        disk.last_key = kept.last_key
        disk.loaded = LoadedCheckpoint(checkpoint_id, taken.header.start_number, as_waiting)
        return Loading(taken.header, boot_of(disk))

    def taken(self, checkpoint_id: str) -> Taken:
        """One of them. Raises `CheckpointNotFound`."""
        found = next((taken for taken in self._taken if taken.header.id == checkpoint_id), None)
        if found is None:
            raise CheckpointNotFound(f"there is no checkpoint {checkpoint_id}")
        return found

    async def _begin(self, kind: str) -> None:
        await self._pause(kind)
        self._fault(kind)


def lose(disk: Disk) -> None:
    """Nothing of a database is left but an empty one in its place."""
    for field in fields(Disk):
        setattr(disk, field.name, getattr(Disk(), field.name))


def _copied(disk: Disk) -> Disk:
    """What a checkpoint keeps of a disk."""
    keyed = {one.task_id for one in disk.idempotency.values()}
    rows = {key: _row(row) for key, row in disk.rows.items() if key in disk.live or row.task.id in keyed}
    ids = {row.task.id for row in rows.values()}
    kept = Disk(
        start_number=disk.start_number,
        control_ms=disk.control_ms,
        revision=disk.revision,
        last_key=disk.last_key,
        rows=rows,
        keys={row.task.id: key for key, row in rows.items()},
        live={key: rows[key] for key in disk.live},
        unique=dict(disk.unique),
        idempotency={name: one for name, one in disk.idempotency.items() if one.task_id in ids},
    )
    for name in WHOLE:
        setattr(kept, name, dict(getattr(disk, name)))
    return kept


def _row(row: Row) -> Row:
    return replace(row, past=list(row.past), notes=list(row.notes), late=dict(row.late))
