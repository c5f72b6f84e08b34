"""The journal on disk: what began and how it ended, so that the agent's next process knows it. Blocking calls.

A record is durable when `append` returns. A tail that a crash tore is cut off; a file that is damaged in its middle is
moved aside under a name of its own, and what can be read of it is kept. What nobody needs any more goes when it has
outgrown the rest. A reserve is held on the disk, so that ends can still be written when the disk is full.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence

import structlog

from nodelink.failpoints import hit
from nodelink.task import AttemptRef
from nodelink_agent.core.records import EndRecord, ForgetRecord, Record, StartRecord
from nodelink_agent.identity import IdentityError
from nodelink_agent.journal.codec import FORMAT, Entry, Since, encoded, names_in
from nodelink_agent.journal.disk import Files
from nodelink_agent.journal.known import Known, known_of, read_entries, ref_of
from nodelink_agent.records import Damage, UnknownFormat, encode, scan
from nodelink_agent.records import Record as Frame

NAME = "journal"
NEW = "journal.new"
RESERVE = "journal.reserve"
DAMAGED = "journal.damaged-"
RESERVE_BYTES = 64 * 1024 * 1024
LEAST_DEAD_BYTES = 1024 * 1024
"""Less than this is not worth a new file."""

_log = structlog.get_logger(__name__)


class JournalUnusable(IdentityError):
    """The journal is of another version than this agent can read. The message names it and what can be done."""


class JournalFile:
    """The journal of one agent. Not for two threads at a time.

    `next_session` is the first session that was not used before: a journal that is new is whole from that one on.
    """

    def __init__(
        self,
        disk: Files,
        *,
        next_session: int,
        reserve_bytes: int = RESERVE_BYTES,
        least_dead_bytes: int = LEAST_DEAD_BYTES,
    ) -> None:
        self._disk = disk
        self._reserve_bytes = reserve_bytes
        self._least_dead_bytes = least_dead_bytes
        self._places: dict[
            AttemptRef, list[tuple[int, int]]
        ] = {}  # where the records of an attempt are: offset, length
        self._live_bytes = 0
        self._size = 0
        self._suspect = False
        self._names_owed = False
        self.lacks_reserve = False
        """Whether the reserve was given up, and has to be taken again."""
        self.remembers_since = next_session
        """The first session whose grants this journal would know of."""
        self.known = self._open(next_session)
        """What it knew when it was opened."""
        self._take_first_reserve()

    def append(self, records: Sequence[Record]) -> None:
        """Make records durable, all of them or (OSError) none. Then they can be given again."""
        try:
            self._append(records)
        except OSError as error:
            is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            if not is_full or not any(isinstance(record, EndRecord) for record in records):
                raise
            if not self._give_up_reserve():
                raise
            self._append(records)

    def take_reserve(self) -> bool:
        """Take the reserve again if there is room for it. Whether it is there."""
        if self.lacks_reserve:
            try:
                self._disk.allocate(RESERVE, self._reserve_bytes)
            except OSError:
                return False
            self.lacks_reserve = False
        return True

    def close(self) -> None:
        """Let go of the file."""
        self._disk.close()

    # --- opening

    def _open(self, next_session: int) -> Sequence[Known]:
        data = self._disk.read(NAME)
        if data is None:
            data = self._unfinished()
        if data is None:
            self._rewrite([Since(next_session)])
            return ()
        try:
            found = scan(data, FORMAT)
        except UnknownFormat as error:
            raise JournalUnusable(
                f"the journal is not of a version that this agent can read ({error}); use the version that wrote it, "
                f"or move the file {NAME!r} away and lose what it knows"
            ) from error
        self._disk.remove(NEW)  # of a crash that left the old one in its place
        entries, has_unreadable = read_entries([*found.records, *found.rescued])
        is_torn = found.damage is Damage.TORN and found.end
        if has_unreadable or (found.damage is not Damage.NONE and not is_torn):
            return self._quarantine(data, entries, next_session)
        if is_torn:
            _log.warning("journal_tail_cut", bytes=len(data) - found.end)
            self._disk.truncate(NAME, found.end)
            self._disk.sync(NAME)
        return self._adopt(entries, found.records, next_session)

    def _unfinished(self) -> bytes | None:
        """What was to become the journal when a crash came between two names: it was whole before the first went."""
        data = self._disk.read(NEW)
        if data is None:
            return None
        found = scan(data, FORMAT)
        if found.damage is not Damage.NONE or not found.records:
            return None
        self._disk.sync(NEW)
        self._disk.rename(NEW, NAME)
        self._disk.sync_directory()
        return data

    def _adopt(self, entries: Sequence[Entry], frames: Sequence[Frame], next_session: int) -> Sequence[Known]:
        """Go on with the file as it is. Another version may have written an entry in more bytes than this one would.

        The process that wrote the last of it may have died before that was durable. What is known makes other traces
        needless, so it must be durable first.
        """
        self._disk.sync(NAME)
        sinces = [entry.session for entry in entries if isinstance(entry, Since)]
        if not sinces:
            self._rewrite([Since(next_session), *entries])
            return known_of(entries)
        self.remembers_since = max(sinces)
        self._size = len(FORMAT.header)
        for entry, frame in zip(entries, frames, strict=True):
            self._note(entry, len(encode(frame.kind, frame.payload)))
        return known_of(entries)

    def _quarantine(self, data: bytes, entries: Sequence[Entry], next_session: int) -> Sequence[Known]:
        """Move a damaged file aside, and go on with what can be read of it. Its silence proves nothing any more."""
        taken = {name for name in self._disk.names() if name.startswith(DAMAGED)}
        aside = next(name for number in range(1, len(taken) + 2) if (name := f"{DAMAGED}{number}") not in taken)
        read = {ref_of(entry) for entry in entries}
        lost = [start for start in names_in(data) if start.request.ref not in read]
        known = known_of([*lost, *entries])
        kept: list[Entry] = [Since(next_session)]
        for attempt in known:
            kept.append(StartRecord(attempt.request, attempt.place, attempt.at))
            if attempt.response is not None:
                kept.append(EndRecord(attempt.response))
        _log.error("journal_damaged", moved_to=aside, records_read=len(entries), known_by_name_only=len(lost))
        self._rewrite(kept, aside=aside)
        return known

    # --- writing

    def _append(self, records: Sequence[Record]) -> None:
        pieces = [encoded(record) for record in records]
        if self._names_owed:
            self._sync_names()
        if self._suspect:
            self._compact()
        try:
            self._disk.append(NAME, b"".join(pieces))
        except OSError:
            self._cut()
            raise
        hit("agent.journal.written")
        try:
            self._disk.sync(NAME)
        except OSError:
            # What is in the file and what is on the disk may differ now, and a second sync may lie: write it all anew.
            self._suspect = True
            self._cut()
            raise
        for record, piece in zip(records, pieces, strict=True):
            self._note(record, len(piece))
        if self._size - self._live_bytes > max(self._live_bytes, self._least_dead_bytes):
            self._compact_if_possible()

    def _cut(self) -> None:
        """Take back what was written in part. If even that fails, the file is written anew before anything else."""
        try:
            self._disk.truncate(NAME, self._size)
        except OSError:
            self._suspect = True

    def _note(self, entry: Entry, length: int) -> None:
        """A record stands at the end of the file."""
        place = (self._size, length)
        self._size += length
        match entry:
            case StartRecord(request):
                self._places.setdefault(request.ref, []).append(place)
                self._live_bytes += length
            case EndRecord(response):
                self._places.setdefault(response.ref, []).append(place)
                self._live_bytes += length
            case ForgetRecord(ref):
                self._live_bytes -= sum(size for _, size in self._places.pop(ref, ()))

    def _compact_if_possible(self) -> None:
        try:
            self._compact()
        except OSError as error:  # what was asked for is durable; the file is only longer than it need be
            _log.warning("journal_not_compacted", error=str(error))

    def _compact(self) -> None:
        """Write a file anew with what is still needed."""
        data = self._disk.read(NAME) or b""
        places = self._places
        pieces = [data[offset : offset + length] for kept in places.values() for offset, length in kept]
        self._replace(encoded(Since(self.remembers_since)) + b"".join(pieces))
        self._places, offset = {}, len(FORMAT.header) + len(encoded(Since(self.remembers_since)))
        for ref, kept in places.items():
            for _, length in kept:
                self._places.setdefault(ref, []).append((offset, length))
                offset += length
        self._size = offset
        self._suspect = False
        self._sync_names()

    def _rewrite(self, entries: Sequence[Entry], *, aside: str = "") -> None:
        """Write a file with these records alone."""
        pieces = [encoded(entry) for entry in entries]
        self._replace(b"".join(pieces), aside=aside)
        self._size = len(FORMAT.header)
        for entry, piece in zip(entries, pieces, strict=True):
            self._note(entry, len(piece))
        self._sync_names()

    def _replace(self, content: bytes, *, aside: str = "") -> None:
        """Put a new file in the place of the old one, which goes or is set aside. At any time one of them is whole.

        Nothing in the new one is durable before `_sync_names`: a power cut may bring the old one back.
        """
        self._disk.remove(NEW)
        self._disk.append(NEW, FORMAT.header + content)
        self._disk.sync(NEW)
        hit("agent.compaction.written")
        self._names_owed = True
        if aside:
            self._disk.rename(NAME, aside)
        self._disk.rename(NEW, NAME)
        hit("agent.compaction.renamed")

    def _sync_names(self) -> None:
        self._disk.sync_directory()
        self._names_owed = False

    # --- the reserve

    def _take_first_reserve(self) -> None:
        if self._disk.size(RESERVE) == self._reserve_bytes:
            return
        try:
            self._disk.remove(RESERVE)
            if self._reserve_bytes:
                self._disk.allocate(RESERVE, self._reserve_bytes)
        except OSError as error:
            _log.warning("no_reserve_for_results", bytes=self._reserve_bytes, error=str(error))

    def _give_up_reserve(self) -> bool:
        """Let go of the reserve, so that there is room. False: there is none."""
        if self._disk.size(RESERVE) == 0:
            return False
        self._disk.remove(RESERVE)
        self.lacks_reserve = True
        _log.error("disk_full_reserve_used", bytes=self._reserve_bytes)
        return True
