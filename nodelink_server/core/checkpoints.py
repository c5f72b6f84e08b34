"""Checkpoints: taken when the scheduler is paused, when somebody asks, and every so often; and one is loaded.

What is written and read is the shelf's; here is decided when, and what becomes of tasks that ran when one was taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import structlog

from nodelink.checkpoint import CheckpointHeader
from nodelink.errors import CallerError, CheckpointNotFound, FieldError, InvalidTask, NotBuilt, StoreError
from nodelink_server.core.pauses import SCHEDULER
from nodelink_server.core.ports import Boot, Clock
from nodelink_server.core.tally import Tally

PAUSE = "pause"
ASKED = "asked"
INTERVAL = "interval"
MOST_IN_ANSWER = 3 * 1024 * 1024
"""Checkpoints up to this size are part of the answer to a pause: 4 MiB as text."""

log = structlog.get_logger(__name__)


class Loading(NamedTuple):
    """What came of loading a checkpoint. `boot`: what to go on from; None: it was loaded before, so nothing is done."""

    header: CheckpointHeader
    boot: Boot | None


class Resumption(NamedTuple):
    """What a resumption has changed. `checkpoint`: the one that was given; `loaded`: it was loaded now, not before."""

    was_paused: bool
    loaded: bool
    checkpoint: CheckpointHeader | None


class Shelf(Protocol):
    """Where checkpoints are. Raises `StoreUnavailable` when it cannot write or read."""

    async def take(self, header: CheckpointHeader, *, keep: int, unless: str = "") -> CheckpointHeader | None:
        """Write one, of which `header` says who asks, and keep so many. None: its fingerprint would be `unless`."""

    async def all(self) -> Sequence[CheckpointHeader]:
        """Those that are kept, the newest first."""

    async def verify(self, checkpoint_id: str) -> CheckpointHeader:
        """One that is whole. Raises `CheckpointNotFound`, `CheckpointRefused`."""

    async def content(self, checkpoint_id: str, offset: int = 0, most: int | None = None) -> bytes:
        """A file as it is, or a part of it. Raises `CheckpointNotFound`."""

    async def keep(self, content: bytes) -> CheckpointHeader:
        """Put one of another server here. Raises `CheckpointRefused`."""

    async def load(self, checkpoint_id: str, *, now: int, as_waiting: bool) -> Loading:
        """Fill the empty database with one, unless it was loaded before.

        Raises `CheckpointNotFound`, `CheckpointRefused`, `ServerNotEmpty`.
        """


class Checkpoints:
    """Takes checkpoints. Without a shelf there are none."""

    def __init__(
        self,
        *,
        shelf: Shelf | None,
        clock: Clock,
        new_id: Callable[[], str],
        tally: Tally,
        interval: float,
        kept: int,
    ) -> None:
        self._on = shelf
        self._clock = clock
        self._new_id = new_id
        self._tally = tally
        self._interval = interval
        self._kept = kept
        self._one_at_a_time = asyncio.Lock()
        self.last: CheckpointHeader | None = None
        """The newest."""

    @property
    def are_kept(self) -> bool:
        """Whether there are any."""
        return self._on is not None

    async def run(self) -> None:
        """Take one every so often, if anything has changed, for ever."""
        if self._on is None:
            return
        while True:
            try:
                await self._begin()
                break
            except StoreError as error:
                log.warning("checkpoints_not_read", error=error.message)
                await self._clock.sleep(self._interval)
        while True:
            await self._clock.sleep(self._interval)
            try:
                await self._take(INTERVAL)
            except StoreError as error:
                log.error("checkpoint_failed", error=error.message)

    async def take(self, why: str = ASKED) -> CheckpointHeader:
        """Take one now. Raises `StoreUnavailable`."""
        taken = await self._take(why)
        assert taken is not None
        return taken

    async def all(self) -> Sequence[CheckpointHeader]:
        """Those that are kept, the newest first."""
        return await self._shelf.all()

    async def get(self, checkpoint_id: str) -> CheckpointHeader:
        """What one says of itself. Raises `CheckpointNotFound`."""
        found = next((one for one in await self.all() if one.id == checkpoint_id), None)
        if found is None:
            raise CheckpointNotFound(f"there is no checkpoint {checkpoint_id[:64]!r}")
        return found

    async def verify(self, checkpoint_id: str) -> CheckpointHeader:
        """One that is whole. Raises `CheckpointNotFound`, `CheckpointRefused`."""
        return await self._shelf.verify(checkpoint_id)

    async def small_content(self, header: CheckpointHeader | None) -> bytes:
        """The file of one that fits into an answer; empty: it does not, or there is none."""
        if header is None or header.size > MOST_IN_ANSWER:
            return b""
        return await self.content(header.id)

    async def content(self, checkpoint_id: str, offset: int = 0, most: int | None = None) -> bytes:
        """A file as it is, or a part of it. Raises `CheckpointNotFound`."""
        return await self._shelf.content(checkpoint_id, offset, most)

    async def keep(self, content: bytes) -> CheckpointHeader:
        """Take over one of another server. Raises `CheckpointRefused`, `StoreUnavailable`."""
        return await self._shelf.keep(content)

    async def load(self, checkpoint_id: str, *, as_waiting: bool) -> Loading:
        """Fill the empty database with one, unless it was loaded before; memory is to follow. Raises as the shelf."""
        return await self._shelf.load(checkpoint_id, now=self._clock.now(), as_waiting=as_waiting)

    @property
    def _shelf(self) -> Shelf:
        if self._on is None:
            raise NotBuilt(FieldError("checkpoint", "this server keeps no checkpoints"))
        return self._on

    async def _begin(self) -> None:
        kept = await self._shelf.all()
        if self.last is None and kept:
            self.last = kept[0]

    async def _take(self, why: str) -> CheckpointHeader | None:
        """Take one, one at a time. None: nothing has changed since the last one, and only the time asks."""
        async with self._one_at_a_time:
            unless = self.last.fingerprint if why == INTERVAL and self.last is not None else ""
            began = self._clock.monotonic()
            try:
                taken = await self._shelf.take(self._asked(why), keep=self._kept, unless=unless)
            except (StoreError, CallerError):
                self._tally.checkpoints["failed"] += 1
                raise
            self._tally.checkpoints["unchanged" if taken is None else "taken"] += 1
            if taken is not None:
                self.last = taken
                self._tally.checkpoint_seconds.observe(self._clock.monotonic() - began)
                log.info(
                    "checkpoint_taken",
                    id=taken.id,
                    why=why,
                    tasks=taken.tasks,
                    bytes=taken.size,
                    blobs_left_out=taken.blobs_left_out,
                )
            return taken

    def _asked(self, why: str) -> CheckpointHeader:
        """What is known before it is taken."""
        return CheckpointHeader(
            id=self._new_id(),
            cluster_id="",
            start_number=0,
            control_ms=0,
            revision=0,
            last_key=0,
            taken_at=self._clock.now(),
            why=why,
            complete=False,
            waiting=0,
            running=0,
            tasks=0,
        )


def check_load(scope: str, *, checkpoint_id: str, content: bytes, as_waiting: bool) -> None:
    """Refuse what does not go together in a resumption from a checkpoint. Raises `InvalidTask`."""
    if checkpoint_id and content:
        raise InvalidTask(FieldError("checkpoint", "give the id of a checkpoint or its content, not both"))
    if as_waiting and not (checkpoint_id or content):
        raise InvalidTask(FieldError("as_waiting", "says how a checkpoint is loaded, and none is given"))
    if (checkpoint_id or content) and scope != SCHEDULER:
        raise InvalidTask(FieldError("checkpoint", "the whole scheduler goes on from one, not a pool or a type"))
