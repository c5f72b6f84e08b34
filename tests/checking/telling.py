"""What is told: output to its last byte, and events to whoever listens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from nodelink.task import AttemptRef, LogStream
from nodelink_server.core.ports import LogRow
from tests.checking.history import Commit, Heard, History, Kept, Known, Listening
from tests.checking.printed import output_of
from tests.checking.rule import Rule, needs


def output_is_whole(history: History) -> Iterator[str]:
    """Stored bytes and gaps are what the attempt printed, to its end if that was told."""
    runs = {run.ref: run for run in history.runs}
    for task in history.kept:
        for output in _outputs(task):
            run = runs.get(output.ref)
            told_all = run is not None and run.outcome is not None and run.kept and output.log_totals is not None
            for stream in LogStream:
                yield from (f"{task.id} {stream}: {what}" for what in _stream(output, stream, told_all=told_all))


class _Output(NamedTuple):
    """What is stored of an attempt, and how much it printed; None: that is not known."""

    ref: AttemptRef
    rows: Sequence[LogRow]
    log_totals: tuple[tuple[LogStream, int], ...] | None


def _outputs(task: Kept) -> Iterator[_Output]:
    if task.ref is not None:
        yield _Output(task.ref, task.output, task.log_totals)
    yield from (_Output(failed.ref, failed.output, failed.log_totals) for failed in task.failed)


def _stream(output: _Output, stream: LogStream, *, told_all: bool) -> Iterator[str]:
    end = 0
    for row in (row for row in output.rows if row.stream is stream):
        if row.offset != end:
            yield f"{row.offset} follows {end}"
        if row.data and row.data != output_of(output.ref, stream, row.offset, len(row.data)):
            yield f"other bytes than were printed, from {row.offset}"
        end = row.offset + row.length
    total = dict(output.log_totals or ()).get(stream, 0)
    if end > total and output.log_totals is not None:
        yield f"{end} bytes are stored, {total} were printed"
    if told_all and end < total:
        yield f"ends at {end} of {total}"


def listeners_miss_nothing(history: History) -> Iterator[str]:
    """A listener hears every event behind the revision it asked for, in order and once, or is told to reset."""
    for listening in history.listenings:
        commits = [c for c in history.commits if listening.task_id in ("", c.event.task_id)]
        yield from _listening(listening, commits)


def _listening(listening: Listening, commits: Sequence[Commit]) -> Iterator[str]:
    due = {commit.event.revision: commit.event for commit in commits}
    heard: set[int] = set()
    last = begin = 0
    who = listening.task_id or "everything"
    for kind, revision, event in listening.heard:
        if kind == "event":
            if revision <= last:
                yield f"{who}: revision {revision} was heard after {last}"
            elif due.get(revision) != event:
                yield f"{who}: revision {revision} was heard as something that it is not"
            heard.add(revision)
            last = revision
        elif kind == "reset":
            begin = last = max(revision, last)
    missed = sorted(revision for revision in due.keys() - heard if begin < revision)
    if missed and _has_connected(listening.heard):
        yield f"{who}: revisions {missed[:5]} were never heard"


def _has_connected(heard: Sequence[Heard]) -> bool:
    return any(each.kind == "connected" for each in heard)


def memory_is_given_back(history: History) -> Iterator[str]:
    """After quiescence nothing is held."""
    yield from history.leftovers


def nothing_breaks(history: History) -> Iterator[str]:
    """No loop dies, and honest peers keep to the protocol."""
    yield from history.problems


RULES: tuple[Rule, ...] = (
    needs(output_is_whole, Known.RUNS, Known.RUN_ENDS, Known.KEEPING, Known.ROWS, Known.OUTPUT),
    needs(listeners_miss_nothing, Known.EVENTS, Known.LISTENERS),
    needs(memory_is_given_back, Known.MEMORY),
    needs(nothing_breaks),
)
