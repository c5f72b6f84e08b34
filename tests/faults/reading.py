"""Reads what a run of real processes has left behind into the history that the checker judges.

Everything lies in one directory: the harness's notes, the effects of tasks, and the services with the server's database
and everybody's logs. Nothing here asks a running process, so that a run can be judged again at any time.
"""

from __future__ import annotations

import json
import sqlite3
import traceback
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from nodelink.task import AttemptRef, Execution, LogStream, Outcome, TaskStatus
from nodelink_server.core.ports import LogRow, TaskEvent
from nodelink_server.core.task_record import LateResult, Remark, RemarkKind
from nodelink_server.store.blocks import decode_block
from tests.checking.history import Commit, Deed, History, Kept, Known, Life, Request, Run, Sight
from tests.faults.notes import Note, read_notes
from tests.support.effects import Effect, Effects

SLACK_SECONDS = 1.0
KEEPING_SECONDS = 3.0
"""A spawner that died less than this after the end of a command may have died before it wrote that down."""

KNOWS = frozenset(
    {
        *(Known.REQUESTS, Known.SIGHTS, Known.DEEDS, Known.EVENTS, Known.EVENT_TIMES),
        *(Known.RUNS, Known.RUN_ENDS, Known.KEEPING, Known.LIVES, Known.ROWS),
    }
)


class Asked(NamedTuple):
    """What a caller wanted of a task."""

    token: str
    type: str
    ticks: int
    code: int


class Full(NamedTuple):
    """A disk had no room."""

    machine: str
    begin: float
    end: float


class Past(NamedTuple):
    """A run as it was read: the history, and what only the rules for real processes look at."""

    history: History
    asked: Mapping[str, Asked]
    """By token."""
    effects: Sequence[Effect]
    rows: Mapping[str, Mapping[str, Any]]
    """The row of each task, with its result, as the database has it."""
    notes: Sequence[Note]
    full: Sequence[Full]
    """When whose disk was full."""

    def was_full(self, run: Run) -> bool:
        """Whether the disk of its agent may have been full while it ran."""
        return any(
            full.machine == run.machine
            and run.began_at <= full.end + SLACK_SECONDS
            and (run.ended_at is None or run.ended_at >= full.begin - SLACK_SECONDS)
            for full in self.full
        )


def read_past(directory: Path) -> Past:
    """Everything that a run has left. Raises OSError, sqlite3.Error: it is not all there."""
    notes = list(read_notes(directory))
    effects = Effects(directory / "effects").read()
    with closing(_opened(directory, "nodelink.db")) as tasks, closing(_opened(directory, "logs.db")) as logs:
        rows = {row["id"]: row for row in _task_rows(tasks)}
        names = {row["id"]: row["name"] for row in tasks.execute("SELECT id, name FROM agents")}
        kept = list(_kept(rows, tasks, logs))
        commits, unreadable = _commits(tasks, _begin(notes)["offset"])
    swept = {token for note in notes if note["note"] == "swept" for token in note["tokens"]} - {t.token for t in kept}
    history = History(
        requests=[request for request in _requests(notes) if request.token not in swept],
        sights=[sight for sight in _sights(notes) if sight.task_id in rows],
        deeds=[Deed(n["at"], n["verb"], n["task_id"], n["done"]) for n in notes if n["note"] == "deed"],
        commits=commits,
        lives=list(_lives(notes, {name: agent for agent, name in names.items()})),
        kept=kept,
        problems=unreadable,
        knows=_known(notes, events_are_readable=not unreadable),
        slack=SLACK_SECONDS,
    )
    asked = {note["token"]: _asked(note) for note in notes if note["note"] == "asked"}
    full = list(_full(notes, {name: agent for agent, name in names.items()}))
    history.runs = [*_runs(effects, notes, history, full), *_echoes(rows, asked, commits)]
    history.runs = [run for run in history.runs if run.token not in swept]
    return Past(history, asked, effects, rows, notes, full)


def _opened(directory: Path, name: str) -> sqlite3.Connection:
    path = directory / "services" / "server" / name
    if not path.exists():
        raise FileNotFoundError(path)
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    return connection


def _known(notes: Sequence[Note], *, events_are_readable: bool) -> frozenset[Known]:
    """Where wall clocks were set, an event's moment says nothing; events with a hole among them say nothing at all."""
    if not events_are_readable:
        return KNOWS - {Known.EVENTS, Known.EVENT_TIMES}
    return KNOWS - {Known.EVENT_TIMES} if _begin(notes).get("clocks") else KNOWS


def _begin(notes: Sequence[Note]) -> Note:
    return next(note for note in notes if note["note"] == "begin")


def _asked(note: Note) -> Asked:
    return Asked(note["token"], note["type"], note["ticks"], note["code"])


# --- what callers know


def _requests(notes: Sequence[Note]) -> Iterator[Request]:
    requests: dict[str, Request] = {}
    for note in notes:
        match note["note"]:
            case "asked":
                words = {"execution": Execution(note["execution"]), "lock": note["lock"], "key": note["key"]}
                requests[note["token"]] = Request(token=note["token"], **words)
            case "answer":
                requests[note["token"]].accepted.append(note["task_id"])
            case "refused":
                requests[note["token"]].refused.append(note["error"])
            case "unknown":
                requests[note["token"]].unknown += 1
    yield from requests.values()


def _sights(notes: Sequence[Note]) -> Iterator[Sight]:
    for note in notes:
        if note["note"] == "sight":
            yield Sight(note["at"], note["verb"], note["task_id"], TaskStatus(note["status"]))


def _lives(notes: Sequence[Note], agents: Mapping[str, str]) -> Iterator[Life]:
    lives: dict[tuple[str, str, int], Life] = {}
    for note in notes:
        if note["note"] != "life":
            continue
        machine = agents.get(note["machine"], note["machine"])
        name = (machine, note["kind"], note["number"])
        life = lives.setdefault(name, Life(machine=machine, kind=name[1], number=name[2], began_at=note["since"]))
        if note["what"] != "began":
            life.ended_at = note["at"]
            life.left = note["what"] == "left"
    yield from lives.values()


def _full(notes: Sequence[Note], agents: Mapping[str, str]) -> Iterator[Full]:
    for note in notes:
        if note["note"] == "injury" and note["kind"].startswith("fill disk"):
            yield Full(agents.get(note["who"], note["who"]), note["at"], note["at"] + note["seconds"])


# --- what the database holds

_TASKS = """
    SELECT t.*, s.payload, s.metadata, r.outcome, r.exit_code, r.output, r.stdout_total, r.stderr_total, r.tree_gone,
        r.task_key AS result_key
    FROM tasks AS t JOIN task_specs AS s ON s.task_key = t.key LEFT JOIN task_results AS r ON r.task_key = t.key
"""


def _task_rows(tasks: sqlite3.Connection) -> Iterator[dict[str, Any]]:
    for row in tasks.execute(_TASKS):
        yield {**dict(row), "token": json.loads(row["metadata"] or "{}").get("token", "")}


def _kept(rows: Mapping[str, Mapping[str, Any]], tasks: sqlite3.Connection, logs: sqlite3.Connection) -> Iterator[Kept]:
    remarks, late = defaultdict(list), defaultdict(list)
    for row in tasks.execute("SELECT * FROM task_remarks ORDER BY revision"):
        kind = RemarkKind(row["kind"])
        remark = Remark(kind, row["at"], row["text"], row["by"], row["attempt"], row["agent_id"], row["revision"])
        remarks[row["task_key"]].append(remark)
    for row in tasks.execute("SELECT * FROM late_results ORDER BY at"):
        late[row["task_key"]].append(LateResult(*(row[name] for name in LateResult._fields)))
    for row in rows.values():
        key = row["key"]
        attempt = row["attempt"]
        yield Kept(
            id=row["id"],
            token=row["token"],
            key=row["idempotency_key"],
            execution=Execution(row["execution"]),
            status=TaskStatus(row["status"]),
            ref=AttemptRef(row["id"], attempt, row["fence"]) if attempt is not None else None,
            reason=row["reason"],
            lock=row["lock"],
            may_have_run=bool(row["may_have_run"]),
            remarks=remarks[key],
            late_results=late[key],
            log_totals=_totals(row),
            output=list(_output(logs, key, attempt)) if attempt is not None else (),
        )


def _totals(row: Mapping[str, Any]) -> tuple[tuple[LogStream, int], ...] | None:
    if row["result_key"] is None:
        return None
    return ((LogStream.STDOUT, row["stdout_total"] or 0), (LogStream.STDERR, row["stderr_total"] or 0))


def _output(logs: sqlite3.Connection, key: int, attempt: int) -> Iterator[LogRow]:
    query = "SELECT * FROM log_chunks WHERE task_key = ? AND attempt = ? ORDER BY position"
    for row in logs.execute(query, (key, attempt)):
        stream = LogStream(row["stream"])
        yield LogRow(key, attempt, stream, row["offset"], row["position"], row["data"], row["gap"])


def _commits(tasks: sqlite3.Connection, offset: float) -> tuple[list[Commit], list[str]]:
    """Every kept event, and what was kept so that nobody can read it."""
    commits, unreadable = [], []
    for row in tasks.execute("SELECT last_revision, block FROM events ORDER BY last_revision"):
        try:
            commits += [Commit(event.time / 1000 + offset, event) for event in decode_block(row["block"])]
        except AssertionError as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            unreadable.append(
                f"the events up to revision {row['last_revision']} cannot be read: {where.name}, {where.line}"
            )
    return commits, unreadable


# --- what happened to the world


def _runs(effects: Sequence[Effect], notes: Sequence[Note], history: History, full: Sequence[Full]) -> Iterator[Run]:
    machines = {(at.task_id, at.attempt): at.agent_id for at in _events(history.commits, "task.sent")}
    alive = {(task, fence) for note in notes if note["note"] == "alive" for task, fence in note["names"]}
    cancelled = {note["task_id"] for note in notes if note["note"] == "cancel"}
    ends = {
        machine: [life.ended_at for life in history.lives if _is_end_of_a_spawner(life, machine)]
        for machine in set(machines.values())
    }
    for effect in effects:
        ref = effect.ref
        machine = machines.get((ref.task_id, ref.attempt), "")
        still_runs = (ref.task_id, ref.fence) in alive and effect.code is None
        outcome = None
        if effect.code is not None:
            outcome = Outcome.COMPLETED if effect.code == 0 else Outcome.FAILED
        written_at = max([effect.last_at, *(f.end for f in full if f.machine == machine and _has(f, effect.last_at))])
        spawner_died = any(
            at is not None and effect.began_at - SLACK_SECONDS <= at <= written_at + KEEPING_SECONDS
            for at in ends.get(machine, ())
        )
        yield Run(
            ref=ref,
            token=effect.token,
            machine=machine,
            began_at=effect.began_at,
            ended_at=None if still_runs else effect.last_at,
            outcome=outcome,
            kept=outcome is not None and not spawner_died and ref.task_id not in cancelled,
        )


def _has(full: Full, at: float) -> bool:
    """Whether the disk may have been full at this moment."""
    return full.begin - SLACK_SECONDS <= at <= full.end + SLACK_SECONDS


def _is_end_of_a_spawner(life: Life, machine: str) -> bool:
    return (life.machine, life.kind) == (machine, "spawner") and life.ended_at is not None


def _echoes(
    rows: Mapping[str, Mapping[str, Any]], asked: Mapping[str, Asked], commits: Sequence[Commit]
) -> Iterator[Run]:
    """An echo leaves no other trace than its answer: that it said the word it was given shows that it ran."""
    ended = {event.task_id: (at, event) for at, event in commits if event.name == "task.completed"}
    for task_id, (at, event) in ended.items():
        row = rows.get(task_id)
        wanted = asked.get(row["token"]) if row is not None else None
        if row is None or wanted is None or wanted.type != "echo" or row["output"] is None:
            continue
        if json.loads(row["output"]) == wanted.token:
            yield Run(
                ref=AttemptRef(task_id, row["attempt"], row["fence"]),
                token=wanted.token,
                machine=event.agent_id,
                began_at=at,
                ended_at=at,
                outcome=Outcome.COMPLETED,
                kept=False,
            )


def _events(commits: Sequence[Commit], name: str) -> Iterator[TaskEvent]:
    return (event for _, event in commits if event.name == name)
