"""What the records of a journal say, put together by attempt."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import structlog

from nodelink.task import AttemptRef, TaskRequest, TaskResponse, TaskSpec
from nodelink_agent.core.records import EndRecord, ForgetRecord, StartRecord
from nodelink_agent.journal.codec import Entry, Unreadable, decoded
from nodelink_agent.records import Record

_log = structlog.get_logger(__name__)


class Known(NamedTuple):
    """What the journal knows of one attempt: how it began, without its payload, and its end, if it has one."""

    request: TaskRequest
    place: str
    at: float
    response: TaskResponse | None


def read_entries(records: Iterable[Record]) -> tuple[list[Entry], bool]:
    """What can be read of some records, and whether something could not, which is logged."""
    entries: list[Entry] = []
    has_unreadable = False
    for record in records:
        try:
            entries.append(decoded(record))
        except Unreadable as error:
            has_unreadable = True
            _log.error("journal_record_unreadable", error=str(error))
    return entries, has_unreadable


def known_of(entries: Iterable[Entry]) -> tuple[Known, ...]:
    """What became of each attempt that is not forgotten."""
    known: dict[AttemptRef, Known] = {}
    for entry in entries:
        match entry:
            case StartRecord(request, place, at):
                known.setdefault(request.ref, Known(request, place, at, None))
            case EndRecord(response):
                nameless = TaskRequest(ref=response.ref, spec=TaskSpec(type=""), payload=b"")
                before = known.get(response.ref, Known(nameless, "", 0.0, None))
                known[response.ref] = before._replace(response=response)
            case ForgetRecord(ref):
                known.pop(ref, None)
    return tuple(known.values())


def ref_of(entry: Entry) -> AttemptRef | None:
    """The attempt that a record is about, if it is about one."""
    match entry:
        case StartRecord(request):
            return request.ref
        case EndRecord(response):
            return response.ref
        case ForgetRecord(ref):
            return ref
        case _:
            return None
