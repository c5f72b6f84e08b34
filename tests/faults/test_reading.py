"""A run of real processes is read as it was; and each thing that can be wrong in what it leaves behind is found.

One short run is made, and judged good. Then copies of what it left are falsified, one promise at a time.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest
import pytest_asyncio

from nodelink.task import Execution, Outcome
from tests.checking.history import Known
from tests.faults.load import Plan
from tests.faults.notes import NAME, Note, Notes, read_notes
from tests.faults.reading import read_past
from tests.faults.rules import judge
from tests.faults.runs import load_on
from tests.faults.stage import stage_in
from tests.support.effects import LOG_NAME, effects_of, lines_in, printed

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

PLANS = (
    Plan(token="word", type="echo", execution=Execution.REPLAYABLE),
    Plan(token="again", type="shell", execution=Execution.REPLAYABLE, ticks=2),
    Plan(token="once", type="shell", execution=Execution.ONCE, ticks=1),
    Plan(token="wrong", type="shell", execution=Execution.ONCE, code=3),
    Plan(token="alone", type="shell", execution=Execution.EXCLUSIVE, lock="red", ticks=1),
    Plan(token="stopped", type="shell", execution=Execution.ONCE, ticks=60, cancel_running=True),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a short run without any fault has left."""
    directory = tmp_path_factory.mktemp("run")
    notes = Notes(directory)
    async with stage_in(directory, notes, agents=1) as stage, load_on(stage, notes, 0) as load:
        await load.some(*PLANS)
        await stage.close_down()
    notes.close()
    return directory


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """A copy that may be falsified."""
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("agent-*"))
    return tmp_path / "run"


async def test_a_good_run_is_read_as_it_was_and_breaks_nothing(run: Path) -> None:
    past = read_past(run)
    kept = {task.token: task for task in past.history.kept}
    runs = {run.token: run for run in past.history.runs}

    assert {token: str(task.status) for token, task in kept.items()} == {
        **dict.fromkeys(("word", "again", "once", "alone"), "completed"),
        "wrong": "failed",
        "stopped": "cancelled",
    }
    assert {token: run.outcome for token, run in runs.items()} == {
        **dict.fromkeys(("word", "again", "once", "alone"), Outcome.COMPLETED),
        "wrong": Outcome.FAILED,
        "stopped": None,
    }
    assert {request.token: request.accepted for request in past.history.requests} == {
        token: [task.id] for token, task in kept.items()
    }
    assert {life.kind: life.left for life in past.history.lives} == {"server": True, "agent": True}
    assert {
        Known.REQUESTS,
        Known.EVENTS,
        Known.EVENT_TIMES,
        Known.RUNS,
        Known.RUN_ENDS,
        Known.ROWS,
    } <= past.history.knows
    assert judge(run).violations == []


# --- falsifications


def _execute(directory: Path, statement: str, name: str = "nodelink.db") -> None:
    with closing(sqlite3.connect(directory / "services" / "server" / name)) as database, database:
        assert database.execute(statement).rowcount > 0


def _key(token: str) -> str:
    return f"(SELECT task_key FROM task_specs WHERE metadata LIKE '%\"{token}\"%')"  # noqa: S608


def _rewrite(directory: Path, change: Callable[[list[Note]], None]) -> None:
    notes = list(read_notes(directory))
    change(notes)
    (directory / NAME).write_text("".join(json.dumps(note) + "\n" for note in notes))


def _effects(directory: Path, change: Callable[[list[str]], list[str]]) -> None:
    path = directory / "effects" / LOG_NAME
    path.write_text("".join(f"{line}\n" for line in change(path.read_text().splitlines())))


def _a_task_is_gone(directory: Path) -> None:
    _execute(directory, f"DELETE FROM tasks WHERE key = {_key('once')}")  # noqa: S608


def _a_task_is_not_over(directory: Path) -> None:
    _execute(directory, f"UPDATE tasks SET status = 'in_progress' WHERE key = {_key('again')}")  # noqa: S608


def _a_key_has_two_answers(directory: Path) -> None:
    def change(notes: list[Note]) -> None:
        first, second = [note for note in notes if note["note"] == "answer"][:2]
        notes.append({**first, "task_id": second["task_id"]})

    _rewrite(directory, change)


def _another_end_was_shown(directory: Path) -> None:
    def change(notes: list[Note]) -> None:
        sight = next(note for note in notes if note["note"] == "sight" and note["status"] == "completed")
        notes.append({**sight, "status": "failed"})

    _rewrite(directory, change)


def _once_starts_twice(directory: Path) -> None:
    def change(lines: list[str]) -> list[str]:
        return [*lines, *[line.replace(" 1 ", " 2 ", 1) for line in lines if " once " in line]]

    _effects(directory, change)


def _an_attempt_starts_twice(directory: Path) -> None:
    def change(lines: list[str]) -> list[str]:
        return [*lines, *[line for line in lines if " again " in line]]

    _effects(directory, change)


def _attempts_overlap(directory: Path) -> None:
    """The second one begins between two signs of life of the first."""

    def change(lines: list[str]) -> list[str]:
        start = next(line for line in lines if line.startswith("start again"))
        number = next(index for index, line in enumerate(lines) if line.startswith("tick again"))
        words = start.split()
        words[3:6] = ["2", "999", "1"]
        return [*lines[: number + 1], " ".join(words), *lines[number + 1 :]]

    _effects(directory, change)


def _success_has_no_effect(directory: Path) -> None:
    _effects(directory, lambda lines: [line for line in lines if not line.startswith("stop again")])


def _the_exit_code_differs(directory: Path) -> None:
    _execute(directory, f"UPDATE task_results SET exit_code = 4 WHERE task_key = {_key('wrong')}")  # noqa: S608


def _work_begins_after_the_end(directory: Path) -> None:
    def change(lines: list[str]) -> list[str]:
        words = next(line for line in lines if line.startswith("start again")).split()
        words[3:7] = ["2", "999", "1", str(float(words[6]) + 60)]
        return [*lines, " ".join(words)]

    _effects(directory, change)


def _a_task_is_lost_for_nothing(directory: Path) -> None:
    _execute(directory, f"UPDATE tasks SET status = 'lost', may_have_run = 1 WHERE key = {_key('once')}")  # noqa: S608


def _a_replayable_task_is_lost(directory: Path) -> None:
    _execute(directory, f"UPDATE tasks SET status = 'lost', may_have_run = 1 WHERE key = {_key('again')}")  # noqa: S608


def _output_is_cut(directory: Path) -> None:
    _execute(
        directory,
        "UPDATE log_chunks SET data = substr(data, 1, 10) WHERE key IN (SELECT min(key) FROM log_chunks)",
        "logs.db",
    )


def _output_is_another(directory: Path) -> None:
    _execute(directory, "UPDATE log_chunks SET data = zeroblob(length(data))", "logs.db")


def _a_process_lives_on(directory: Path) -> None:
    def change(notes: list[Note]) -> None:
        next(note for note in notes if note["note"] == "alive")["names"].append(["a task", 7])

    _rewrite(directory, change)


def _a_process_died_by_itself(directory: Path) -> None:
    _rewrite(directory, lambda notes: notes.append({"at": 1.0, "note": "death", "who": "server", "pid": 1, "code": 70}))


def _callers_wait_for_ever(directory: Path) -> None:
    _rewrite(directory, lambda notes: notes.append({"at": 1.0, "note": "restless", "seconds": 90.0}))


def _a_log_has(words: str) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        with next(iter((directory / "services").glob("*.log"))).open("a") as log:
            log.write(words + "\n")

    return change


FALSE: Mapping[str, tuple[Callable[[Path], None], str]] = {
    "a task is gone": (_a_task_is_gone, "accepted_is_never_lost"),
    "a task is not over": (_a_task_is_not_over, "every_task_ends"),
    "a key has two answers": (_a_key_has_two_answers, "a_key_names_one_task"),
    "another end was shown": (_another_end_was_shown, "an_end_that_was_shown_stays"),
    "once starts twice": (_once_starts_twice, "what_may_start_once_starts_once"),
    "an attempt starts twice": (_an_attempt_starts_twice, "an_attempt_starts_once"),
    "attempts overlap": (_attempts_overlap, "attempts_never_overlap"),
    "success has no effect": (_success_has_no_effect, "success_is_real"),
    "the exit code differs": (_the_exit_code_differs, "ends_say_what_was_seen"),
    "work begins after the end": (_work_begins_after_the_end, "nothing_runs_after_the_end"),
    "a task is lost for nothing": (_a_task_is_lost_for_nothing, "finished_work_is_kept"),
    "a replayable task is lost": (_a_replayable_task_is_lost, "loss_is_admitted"),
    "output is cut": (_output_is_cut, "output_is_what_was_printed"),
    "output is another": (_output_is_another, "output_is_what_was_printed"),
    "a process lives on": (_a_process_lives_on, "every_process_of_a_task_is_gone"),
    "a process died by itself": (_a_process_died_by_itself, "no_process_dies_by_itself"),
    "callers wait for ever": (_callers_wait_for_ever, "everything_comes_to_rest"),
    "a traceback of a spawner": (
        _a_log_has("Traceback (most recent call last):\nnodelink_agent.command.SpawnerLost: it has died"),
        "nothing_breaks",
    ),
    "a traceback": (_a_log_has("Traceback (most recent call last):"), "nothing_breaks"),
    "a task of the loop is forgotten": (_a_log_has("Task was destroyed but it is pending!"), "nothing_breaks"),
    "a coroutine is forgotten": (_a_log_has("coroutine 'f' was never awaited"), "nothing_breaks"),
    "an invariant": (_a_log_has("INVARIANT broken"), "nothing_breaks"),
}


@pytest.mark.parametrize("what", FALSE)
async def test_what_is_wrong_is_found(what: str, copy: Path) -> None:
    falsify, rule = FALSE[what]
    falsify(copy)

    found = await asyncio.to_thread(judge, copy)
    assert rule in {violation.rule for violation in found.violations}


async def test_when_clocks_were_set_the_times_of_events_are_not_asked_for(copy: Path) -> None:
    def change(notes: list[Note]) -> None:
        notes[0]["clocks"] = True

    _rewrite(copy, change)
    _a_task_is_lost_for_nothing(copy)
    found = judge(copy)

    assert Known.EVENT_TIMES not in found.past.history.knows
    assert {"nothing_runs_after_the_end", "nothing_is_lost_without_a_cause"} <= {rule for rule, _ in found.skipped}
    assert "finished_work_is_kept" in {violation.rule for violation in found.violations}


async def test_output_may_have_gaps_only_where_the_disk_was_full(copy: Path) -> None:
    [run] = [run for run in read_past(copy).history.runs if run.token == "again"]
    _execute(copy, "UPDATE log_chunks SET gap = length(data), data = zeroblob(0)", "logs.db")
    before = {violation.rule for violation in judge(copy).violations}

    def fill(who: str) -> Callable[[list[Note]], None]:
        words = {"kind": "fill disk of agent", "who": who, "seconds": 60.0}
        return lambda notes: notes.append({"at": run.began_at - 30, "note": "injury", **words})

    _rewrite(copy, fill("server"))
    elsewhere = {violation.rule for violation in judge(copy).violations}
    _rewrite(copy, fill("agent-0"))

    assert "output_is_what_was_printed" in before & elsewhere
    assert judge(copy).violations == []


async def test_lines_of_effects_are_in_the_order_in_which_they_were_written() -> None:
    def lines() -> Iterator[str]:
        yield "start a id 1 7 100 5.00 2"
        yield "start b other 1 8 101 5.00 0"
        yield "tick a id 1 7 100 4.99 1"
        yield "stop b other 1 8 101 5.00 3"

    first, second = effects_of(lines_in("\n".join(lines())))
    assert first.began_at < second.began_at < first.last_at < second.last_at
    assert (first.code, second.code) == (None, 3)
    assert printed("id", 1, 1) == b"id 1 line 0\nid 1 line 1\n"
