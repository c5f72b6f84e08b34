"""How far the output of each attempt has been sent and acknowledged: a cursor for each (attempt, stream).

Output is sent ahead of its acknowledgement. An acknowledgement that goes forward confirms; one that does not, while
more has been sent, means *send again from here*. But what was sent twice is acknowledged twice, and that means nothing;
and an acknowledgement that asks may be merged with one that confirms. So a stream that has not moved for a whole
heartbeat is sent again as well: what the server has already is trimmed there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from nodelink.task import AttemptRef, LogAck, LogChunk, LogStream


class LogRead(NamedTuple):
    """A run of output to be read and sent: at most `limit` bytes from `offset`."""

    ref: AttemptRef
    stream: LogStream
    offset: int
    limit: int


class Cursor:
    """Where one stream of output stands. All are offsets in bytes; `total` is known when the attempt has ended.

    Up to `twice_until` it was sent more than once in this session.
    """

    __slots__ = ("acknowledged", "readable", "seen_still", "sent", "total", "twice_until")

    def __init__(self) -> None:
        self.sent = 0
        self.acknowledged = 0
        self.readable = 0
        self.total: int | None = None
        self.twice_until = -1
        self.seen_still = False

    @property
    def is_complete(self) -> bool:
        """Whether all that there will ever be is acknowledged."""
        return self.total is not None and self.acknowledged >= self.total

    def rewind(self, offset: int) -> None:
        """Send again from an earlier place of this session."""
        self.twice_until = max(self.twice_until, self.sent)
        self.sent = self.acknowledged = offset

    def restart(self, offset: int) -> None:
        """Send from this place, in a session in which nothing of it was sent."""
        self.twice_until = -1
        self.sent = self.acknowledged = offset


class LogCursors:
    """The cursors of all attempts that printed something. Takes turns between them, within the log credit."""

    def __init__(self) -> None:
        self._cursors: dict[AttemptRef, dict[LogStream, Cursor]] = {}
        self._turns: dict[tuple[AttemptRef, LogStream], Cursor] = {}
        self._bytes_left = 0
        self._bytes_sent = 0

    def new_session(self) -> None:
        """Begin again from what is acknowledged. There is no credit yet."""
        self._bytes_left = self._bytes_sent = 0
        for ref, streams in self._cursors.items():
            for stream, cursor in streams.items():
                cursor.restart(cursor.acknowledged)
                self._queue(ref, stream, cursor)

    def allow(self, total: int) -> None:
        """At most so many bytes of output may be sent in this session. Less than before changes nothing."""
        self._bytes_left = max(self._bytes_left, total - self._bytes_sent)

    def grew(self, ref: AttemptRef, stream: LogStream, readable: int) -> None:
        """A stream can be read up to here."""
        cursor = self._cursor(ref, stream)
        cursor.readable = max(cursor.readable, readable)
        self._queue(ref, stream, cursor)

    def has_printed(self, ref: AttemptRef) -> bool:
        """Whether there is any output of an attempt."""
        return ref in self._cursors

    def end(self, ref: AttemptRef, totals: Mapping[LogStream, int]) -> None:
        """An attempt has ended and printed so much."""
        for stream, total in totals.items():
            if total:
                cursor = self._cursor(ref, stream)
                cursor.total = cursor.readable = total
                self._queue(ref, stream, cursor)

    def is_complete(self, ref: AttemptRef) -> bool:
        """Whether the output of an ended attempt is acknowledged to its end."""
        streams = self._cursors.get(ref)
        return streams is None or all(cursor.is_complete for cursor in streams.values())

    def acknowledge(self, ack: LogAck) -> None:
        """Take the server's word on where a stream goes on."""
        cursor = self._cursors.get(ack.ref, {}).get(ack.stream)
        if cursor is None or ack.offset > cursor.readable:
            return
        if ack.offset > cursor.acknowledged:
            cursor.acknowledged = ack.offset
            cursor.sent = max(cursor.sent, ack.offset)
            cursor.seen_still = False
        elif cursor.twice_until < ack.offset < cursor.sent:
            cursor.rewind(ack.offset)
        self._queue(ack.ref, ack.stream, cursor)

    def resume(self, ack: LogAck) -> None:
        """Go on from here, whatever was sent or acknowledged before: a verdict."""
        cursor = self._cursors.get(ack.ref, {}).get(ack.stream)
        if cursor is not None:
            cursor.restart(min(ack.offset, cursor.readable))
            self._queue(ack.ref, ack.stream, cursor)

    def resend_still(self) -> None:
        """Send again what has waited for its acknowledgement since the call before this one."""
        for ref, streams in self._cursors.items():
            for stream, cursor in streams.items():
                waiting = cursor.sent > cursor.acknowledged
                if waiting and cursor.seen_still:
                    cursor.rewind(cursor.acknowledged)
                    self._queue(ref, stream, cursor)
                cursor.seen_still = waiting and not cursor.seen_still

    def next_reads(self, *, max_bytes: int, chunk_bytes: int) -> list[LogRead]:
        """What to read now: one run of each stream at most, in turn, within credit and `max_bytes`."""
        left = min(max_bytes, self._bytes_left)
        reads = []
        for (ref, stream), cursor in self._turns.items():
            if left <= 0:
                break
            limit = min(chunk_bytes, left, cursor.readable - cursor.sent)
            reads.append(LogRead(ref, stream, cursor.sent, limit))
            left -= limit
        return reads

    def sent(self, chunk: LogChunk) -> None:
        """A run has been handed to the stream; its cursor goes to the end of the turns."""
        self._bytes_left -= len(chunk.data)
        self._bytes_sent += len(chunk.data)
        cursor = self._turns.pop((chunk.ref, chunk.stream), None)
        if cursor is not None:
            cursor.sent = chunk.end
            self._queue(chunk.ref, chunk.stream, cursor)

    def forget(self, ref: AttemptRef) -> None:
        """Nothing of this attempt's output is to be sent any more."""
        for stream in self._cursors.pop(ref, ()):
            self._turns.pop((ref, stream), None)

    def _cursor(self, ref: AttemptRef, stream: LogStream) -> Cursor:
        return self._cursors.setdefault(ref, {}).setdefault(stream, Cursor())

    def _queue(self, ref: AttemptRef, stream: LogStream, cursor: Cursor) -> None:
        if cursor.sent < cursor.readable:
            self._turns.setdefault((ref, stream), cursor)
        else:
            self._turns.pop((ref, stream), None)
