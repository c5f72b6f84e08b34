"""What is found of a command that this agent, or one before it, had ordered; what a dead spawner's journal tells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import structlog

from nodelink.task import LogStream
from nodelink_agent.boottime import boot_id
from nodelink_agent.command import CommandEnd, read_end, read_output
from nodelink_agent.processes import lives
from nodelink_agent.records import Damage, Record, UnknownFormat, scan
from nodelink_agent.spawner_home import JOURNAL
from nodelink_agent.spawner_journal import FORMAT, Kind, read_words
from nodelink_agent.spool import Extent, kept_extent

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Running:
    """Its spawner lives and holds it. No pid: it is another agent's by now."""

    pid: int | None
    output: Mapping[LogStream, Extent]


@dataclass(frozen=True, slots=True)
class Exited:
    """It has ended, and how is known."""

    end: CommandEnd
    output: Mapping[LogStream, Extent]


@dataclass(frozen=True, slots=True)
class NeverBegan:
    """No process of it ever was."""


class Keeper(NamedTuple):
    """A spawner as a process: its number, and when it started."""

    pid: int
    started: int

    @property
    def lives(self) -> bool:
        """Whether it is there, in this run of the machine."""
        return lives(self.pid, self.started)


@dataclass(frozen=True, slots=True)
class Vanished:
    """Its spawner has died, and how it ended will never be known; some of it may still run.

    Its leader is known by the run of the machine, its number and when it started, if it got that far. `keeper`: the
    spawner, if it was of this run. One that lives all the same holds the command, and what was found here is a copy of
    its journal.
    """

    boot_id: str
    pid: int | None = None
    started: range = range(0)
    output: Mapping[LogStream, Extent] = field(default_factory=dict)
    keeper: Keeper | None = None


Found = Running | Exited | NeverBegan | Vanished


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the journal says of one command."""

    directory: Path | None = None
    pid: int | None = None
    started: range = range(0)
    exited: Exited | None = None
    refused: bool = False


class Remains:
    """The journal of a spawner that has died. Damage costs the certainty that a command never began, nothing else."""

    def __init__(self, home: Path) -> None:
        self.is_damaged = False
        """Whether the disk has changed what was written: to be kept for who wants to know why."""
        self._boot_id = ""
        self._keeper: Keeper | None = None
        self._closed = False
        self._whole = False
        self._entries: dict[str, _Entry] = {}
        for record in self._records(home):
            try:
                self._take(record)
            except (ValueError, KeyError, TypeError):
                self._whole = False
                _log.warning("spawner_record_unreadable", spawner=home.name, kind=record.kind)

    def found(self, command_id: str) -> Exited | NeverBegan | Vanished:
        """What became of a command."""
        entry = self._entries.get(command_id)
        if entry is None:
            return NeverBegan() if self._tells_all else Vanished(self._boot_id, keeper=self._keeper)
        if entry.exited is not None:
            return entry.exited
        if entry.refused:
            return NeverBegan()
        directory = entry.directory
        output = {stream: kept_extent(directory, stream) for stream in LogStream} if directory is not None else {}
        return Vanished(self._boot_id, entry.pid, entry.started, output, self._keeper)

    @property
    def _tells_all(self) -> bool:
        """Whether a command that is not written down never began. A crash of the machine may have taken the last
        records with it, unless the spawner had ended in peace; and one that lives goes on writing, elsewhere.
        """
        if self._keeper is not None and self._keeper.lives:
            return False
        return self._whole and (self._closed or self._is_of_this_run)

    @property
    def _is_of_this_run(self) -> bool:
        return self._boot_id != "" and self._boot_id == boot_id()

    def _records(self, home: Path) -> Iterable[Record]:
        try:
            scanned = scan((home / JOURNAL).read_bytes(), FORMAT)
        except (OSError, UnknownFormat) as error:
            _log.warning("spawner_journal_unreadable", spawner=home.name, error=str(error))
            return []
        self._whole = scanned.damage is Damage.NONE
        self.is_damaged = scanned.damage is Damage.MIDDLE
        if not self._whole:
            _log.warning("spawner_journal_damaged", spawner=home.name, damage=scanned.damage.value, at=scanned.end)
        return [*scanned.records, *scanned.rescued]

    def _take(self, record: Record) -> None:
        words = read_words(record.payload)
        match record.kind:
            case Kind.BORN:
                self._boot_id = words["boot_id"]
                if self._is_of_this_run and words["started"] is not None:
                    self._keeper = Keeper(words["pid"], words["started"])
            case Kind.ORDERED:
                self._entries[words["id"]] = _Entry(Path(words["directory"]))
            case Kind.LAUNCHED:
                self._note(words["id"], pid=words["pid"], started=range(*words["started"]))
            case Kind.REFUSED:
                self._note(words["id"], refused=True)
            case Kind.ENDED:
                self._note(words["id"], exited=Exited(read_end(words["end"]), read_output(words["output"])))
            case Kind.CLOSED:
                self._closed = True

    def _note(self, command_id: str, **news: Any) -> None:
        """Its order may be among the damaged records."""
        self._entries[command_id] = replace(self._entries.get(command_id, _Entry()), **news)
