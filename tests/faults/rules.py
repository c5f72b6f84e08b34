"""What is asked of real processes beside the promises that every history is asked: what only they can break."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from nodelink.task import AttemptRef, LogStream, TaskStatus
from tests.checking.checker import check, skipped
from tests.checking.history import Kept, Known, Run
from tests.checking.rule import Skipped, Violation
from tests.faults.reading import SLACK_SECONDS, Past, read_past
from tests.support.effects import Effect, printed

FORBIDDEN = re.compile(
    r"Traceback \(most recent call last\)|Task was destroyed|never awaited|never retrieved|INVARIANT|Segmentation fault"
)
AROUND = 3
PATIENT_SECONDS = 10.0
"""An agent that stood still or was cut off for less than this has lost nothing by it: every lease is longer."""


class Verdict(NamedTuple):
    """What a run is worth."""

    violations: Sequence[Violation]
    skipped: Sequence[Skipped]
    past: Past


def judge(directory: Path) -> Verdict:
    """Ask everything of a run that its directory can tell."""
    past = read_past(directory)
    past.history.problems.extend(complaints(directory))
    mine = [Violation(rule.__name__, what) for rule in RULES for what in rule(past)]
    return Verdict([*check(past.history), *mine], [*skipped(past.history), *_skipped(past)], past)


def _skipped(past: Past) -> Iterator[Skipped]:
    if Known.EVENT_TIMES not in past.history.knows:
        yield Skipped(nothing_is_lost_without_a_cause.__name__, frozenset({Known.EVENT_TIMES}))


def complaints(directory: Path) -> Iterator[str]:
    """What must never stand in the log of any process."""
    for path in sorted((directory / "services").glob("*.log")):
        lines = path.read_text(errors="replace").splitlines()
        for number, line in enumerate(lines):
            if FORBIDDEN.search(line):
                said = " | ".join(lines[max(0, number - AROUND) : number + 1] + lines[-AROUND:])
                yield f"{path.name}:{number + 1}: {said}"
                break


def every_process_of_a_task_is_gone(past: Past) -> Iterator[str]:
    """After quiescence nothing of any task lives."""
    for note in past.notes:
        if note["note"] == "alive":
            for task, fence in note["names"]:
                yield f"{task}, fence {fence}: its processes are alive"


def no_process_dies_by_itself(past: Past) -> Iterator[str]:
    """Servers and agents end when they are killed or told to, and an agent when its spawner is dead."""
    for note in past.notes:
        if note["note"] == "death":
            yield f"{note['who']} (process {note['pid']}) ended with {note['code']} at {note['at']:.2f}"


def everything_comes_to_rest(past: Past) -> Iterator[str]:
    """After the last fault what was asked for is over in time."""
    for note in past.notes:
        if note["note"] == "restless":
            yield f"callers still wait {note['seconds']:.0f} s after the last fault"


def ends_say_what_was_seen(past: Past) -> Iterator[str]:
    """The exit code that is kept is the one that the command had."""
    codes = {effect.ref: effect.code for effect in past.effects if effect.code is not None}
    for task in past.history.kept:
        row = past.rows[task.id]
        if task.ref is None or task.ref not in codes or row["exit_code"] is None or task.reason == "resolved":
            continue
        if task.status in {TaskStatus.COMPLETED, TaskStatus.FAILED} and row["exit_code"] != codes[task.ref]:
            yield f"{task.id} has the exit code {row['exit_code']}; its command ended with {codes[task.ref]}"


def output_is_what_was_printed(past: Past) -> Iterator[str]:
    """Stored output is what the command printed, from the start, without a hole; all of it if the end is known."""
    effects = {effect.ref: effect for effect in past.effects}
    runs = defaultdict(list)
    for run in past.history.runs:
        runs[run.ref].append(run)
    swept = {token for note in past.notes if note["note"] == "swept" for token in note["tokens"]}
    for task in past.history.kept:
        effect = effects.get(task.ref) if task.ref is not None else None
        is_half_removed = task.token in swept and not task.output
        if effect is not None and not is_half_removed:
            yield from _output(task, effect, may_have_gaps=any(past.was_full(run) for run in runs.get(effect.ref, ())))


def _output(task: Kept, effect: Effect, *, may_have_gaps: bool) -> Iterator[str]:
    whole = printed(task.id, effect.ref.attempt, effect.ticks)
    end = 0
    for row in (row for row in task.output if row.stream is LogStream.STDOUT):
        if row.offset != end:
            yield f"{task.id}: stored output goes on at {row.offset} after {end}"
        if row.data and row.data != whole[row.offset : row.offset + len(row.data)]:
            yield f"{task.id}: {row.data!r} is stored at {row.offset}; it printed something else"
        if row.gap and not may_have_gaps:
            yield f"{task.id}: {row.gap} bytes are missing at {row.offset}; so little output has no reason for it"
        end = row.offset + row.length
    told = dict(task.log_totals or ()).get(LogStream.STDOUT)
    if told is not None and told != end:
        yield f"{task.id}: {end} bytes are stored; its result says {told}"
    if effect.code is not None and told is not None and told != len(whole):
        yield f"{task.id}: its result says {told} bytes; it printed {len(whole)}"


def nothing_is_lost_without_a_cause(past: Past) -> Iterator[str]:
    """Work is given up only if the spawner that held it was killed, or its agent was out of reach for long."""
    if Known.EVENT_TIMES not in past.history.knows:
        return
    spawners: dict[str, list[float]] = defaultdict(list)
    for life in past.history.lives:
        if life.kind == "spawner" and life.ended_at is not None:
            spawners[life.machine].append(life.ended_at)
    runs = {run.ref: run for run in past.history.runs}
    if any(note["note"] == "injury" and note.get("seconds", 0.0) > PATIENT_SECONDS for note in past.notes):
        return
    sent: dict[str, tuple[float, str]] = {}
    for at, event in past.history.commits:
        if event.name == "task.sent":
            sent[event.task_id] = (at, event.agent_id)
        elif event.name in {"task.lost", "task.unknown"} and event.task_id in sent:
            since, machine = sent[event.task_id]
            if not any(since - SLACK_SECONDS <= died <= at + SLACK_SECONDS for died in spawners[machine]):
                yield f"{event.task_id}: {event.name} at {at:.2f}, granted at {since:.2f}: {_told(runs, event.task_id)}"


def _told(runs: Mapping[AttemptRef, Run], task_id: str) -> str:
    own = [run for run in runs.values() if run.ref.task_id == task_id]
    return ", ".join(f"ran {run.began_at:.2f} to {run.ended_at}, {run.outcome}" for run in own) or "it never ran"


RULES: Sequence[Callable[[Past], Iterator[str]]] = (
    every_process_of_a_task_is_gone,
    no_process_dies_by_itself,
    everything_comes_to_rest,
    ends_say_what_was_seen,
    output_is_what_was_printed,
    nothing_is_lost_without_a_cause,
)
