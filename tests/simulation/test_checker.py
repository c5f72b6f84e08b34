"""A checker that finds nothing proves nothing: each bad history here must be refused, for the right reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from nodelink.task import AttemptRef, Execution, LogStream, Outcome, TaskStatus
from nodelink_server.core.ports import LogRow, TaskEvent
from tests.simulation.checker import check
from tests.simulation.history import Commit, Heard, History, Kept, Life, Listening, Request, Run, Sight
from tests.simulation.plans import output_of

ONCE, REPLAYABLE = Execution.ONCE, Execution.REPLAYABLE
REF = AttemptRef("t1", 1, 7)
NEXT_REF = AttemptRef("t1", 2, 8)
OTHER_REF = AttemptRef("t1", 3, 9)

Spoil = Callable[[History], object]


def _event(revision: int, name: str, status: str, *, task_id: str = "t1") -> Commit:
    return Commit(float(revision), TaskEvent(revision, name, 0, task_id, status=status))


def _row(ref: AttemptRef, offset: int, length: int, *, position: int | None = None, gap: int = 0) -> LogRow:
    data = b"" if gap else output_of(ref, LogStream.STDOUT, offset, length)
    return LogRow(1, ref.attempt, LogStream.STDOUT, offset, offset if position is None else position, data, gap)


def _run(ref: AttemptRef = REF, *, began_at: float = 2.5, ended_at: float | None = 3.5) -> Run:
    return Run(
        ref=ref, token="a", agent_id="a1", life=1, began_at=began_at, ended_at=ended_at, outcome=Outcome.COMPLETED
    )


def _good() -> History:
    """One task, run once on one agent, heard of by one listener."""
    commits = [
        _event(1, "task.created", "created"),
        _event(2, "task.sent", "sent"),
        _event(3, "task.started", "in_progress"),
        _event(4, "task.completed", "completed"),
    ]
    output = [_row(REF, 0, 100), _row(REF, 100, 50, gap=50), _row(REF, 150, 20)]
    return History(
        requests=[Request(token="a", execution=ONCE, key="k", accepted=["t1", "t1"], unknown=1)],
        sights=[Sight(2.0, "wait", "t1", TaskStatus.SENT), Sight(4.5, "wait", "t1", TaskStatus.COMPLETED)],
        commits=commits,
        runs=[_run()],
        lives=[Life(agent_id="a1", number=1, began_at=0)],
        listenings=[
            Listening(heard=[Heard("connected", 0), *(Heard("event", c.event.revision, c.event) for c in commits)])
        ],
        kept=[
            Kept(
                id="t1",
                token="a",
                key="k",
                execution=ONCE,
                status=TaskStatus.COMPLETED,
                ref=REF,
                agent_id="a1",
                log_totals=((LogStream.STDOUT, 170),),
                output=output,
            )
        ],
    )


def _as_replayable(history: History) -> None:
    history.requests[0].execution = REPLAYABLE
    history.kept[0] = replace(history.kept[0], execution=REPLAYABLE)


def _replayed(history: History) -> None:
    """The first agent's process died; the task ran again, and ended well."""
    _as_replayable(history)
    history.runs[0].outcome, history.runs[0].ended_at = None, 2.8
    history.lives[0].ended_at = 2.8
    history.lives.append(Life(agent_id="a1", number=2, began_at=3))
    history.runs.append(replace(_run(NEXT_REF, began_at=5.5, ended_at=6.5), life=2))
    history.commits[3:] = [
        _event(4, "task.pending", "pending"),
        _event(5, "task.sent", "sent"),
        _event(6, "task.started", "in_progress"),
        _event(7, "task.completed", "completed"),
    ]
    history.listenings.clear()
    history.kept[0] = replace(history.kept[0], ref=NEXT_REF, log_totals=None, output=())


def _lost(history: History) -> None:
    """The agent's process died; nobody knows how the work ended."""
    history.runs[0].outcome, history.runs[0].ended_at = None, 3.2
    history.lives[0].ended_at = 3.2
    history.commits[3] = _event(4, "task.lost", "lost")
    history.sights.pop()
    history.listenings.clear()
    history.kept[0] = replace(
        history.kept[0], status=TaskStatus.LOST, may_have_run=True, log_totals=None, output=[_row(REF, 0, 10)]
    )


def _unheard_of(history: History) -> None:
    """A caller had no answer, and nothing was accepted."""
    history.requests.append(Request(token="b", unknown=3))


def _reset(history: History) -> None:
    """A listener was told to begin again behind what it had missed."""
    history.listenings[0].heard[2:4] = [Heard("reset", 3)]


@pytest.mark.parametrize("change", [lambda history: None, _replayed, _lost, _unheard_of, _reset])
def test_a_good_history_is_accepted(change: Spoil) -> None:
    history = _good()
    change(history)

    assert check(history) == []


def _kept(history: History, **changes: object) -> None:
    history.kept[0] = replace(history.kept[0], **changes)  # type: ignore[arg-type]  # names of fields


def _refuse(history: History) -> None:
    request = history.requests[0]
    request.accepted, request.unknown, request.refused = [], 0, ["Overloaded"]


def _throw_away(history: History) -> None:
    history.commits[3] = _event(4, "task.failed", "failed")
    history.sights.pop()
    history.listenings.clear()
    _kept(history, status=TaskStatus.FAILED)


def _output(history: History, *rows: LogRow) -> None:
    _kept(history, output=rows)


def _lost_though_replayable(history: History) -> None:
    _lost(history)
    _as_replayable(history)


def _lost_with_a_living_agent(history: History) -> None:
    _lost(history)
    history.lives[0].ended_at = None


def _lost_without_doubt(history: History) -> None:
    _lost(history)
    _kept(history, may_have_run=False)


BAD: dict[str, tuple[str, Spoil]] = {
    "an accepted task is gone": ("accepted_is_never_lost", lambda h: h.kept.clear()),
    "an answer names another task": ("accepted_is_never_lost", lambda h: h.requests[0].accepted.append("t2")),
    "a task has another class than was asked for": (
        "accepted_is_never_lost",
        lambda h: setattr(h.requests[0], "execution", REPLAYABLE),
    ),
    "a task that nobody asked for": ("nothing_comes_from_nowhere", lambda h: h.requests.clear()),
    "a refused request became a task": ("nothing_comes_from_nowhere", _refuse),
    "a request with a key became two tasks": (
        "nothing_comes_from_nowhere",
        lambda h: h.kept.append(replace(h.kept[0], id="t2")),
    ),
    "a key was answered with two tasks": ("a_key_names_one_task", lambda h: h.requests[0].accepted.append("t2")),
    "a key stands for two tasks": ("a_key_names_one_task", lambda h: h.kept.append(replace(h.kept[0], id="t2"))),
    "a task never ends": ("every_task_ends", lambda h: _kept(h, status=TaskStatus.SENT)),
    "a task ended twice": ("an_end_is_for_ever", lambda h: h.commits.append(_event(5, "task.failed", "failed"))),
    "the end that is kept is not the one that was told": (
        "an_end_is_for_ever",
        lambda h: _kept(h, status=TaskStatus.FAILED),
    ),
    "a caller was shown an end that is not kept": (
        "an_end_is_for_ever",
        lambda h: h.sights.append(Sight(3.0, "cancel", "t1", TaskStatus.CANCELLED)),
    ),
    "a task started before it was sent": ("events_follow_the_table", lambda h: h.commits.pop(1)),
    "something followed an end": (
        "events_follow_the_table",
        lambda h: h.commits.append(_event(5, "task.pending", "pending")),
    ),
    "revisions went back": (
        "events_follow_the_table",
        lambda h: h.commits.append(_event(4, "agent.x", "", task_id="")),
    ),
    "completed without a run": ("success_is_real", lambda h: h.runs.clear()),
    "completed though its run failed": ("success_is_real", lambda h: setattr(h.runs[0], "outcome", Outcome.FAILED)),
    "completed by an attempt that is not the last": ("success_is_real", lambda h: _kept(h, ref=NEXT_REF)),
    "an attempt started twice": (
        "an_attempt_starts_once",
        lambda h: h.runs.append(_run(began_at=3.6, ended_at=3.7)),
    ),
    "a once task started twice": (
        "once_is_at_most_once",
        lambda h: h.runs.append(_run(NEXT_REF, began_at=3.6, ended_at=3.7)),
    ),
    "two attempts ran at a time": ("attempts_never_overlap", lambda h: h.runs.append(_run(NEXT_REF, began_at=3.0))),
    "an attempt began while the first one ran on": (
        "attempts_never_overlap",
        lambda h: h.runs.extend([_run(NEXT_REF, began_at=9.0, ended_at=None), _run(OTHER_REF, began_at=20.0)]),
    ),
    "work began without a grant": ("nothing_starts_without_a_grant", lambda h: setattr(h.runs[0], "granted", False)),
    "work began after the end": ("nothing_runs_after_the_end", lambda h: setattr(h.runs[0], "began_at", 5.0)),
    "work went on after the end": ("nothing_runs_after_the_end", lambda h: setattr(h.runs[0], "ended_at", 5.0)),
    "finished work was thrown away": ("finished_work_is_kept", _throw_away),
    "a stop that was not confirmed was believed": (
        "finished_work_is_kept",
        lambda h: setattr(h.runs[0], "tree_gone", False),
    ),
    "a replayable task was lost": ("loss_is_admitted", _lost_though_replayable),
    "a task was lost with an agent that lives": (
        "loss_is_admitted",
        _lost_with_a_living_agent,
    ),
    "a lost task does not say that it may have run": (
        "loss_is_admitted",
        _lost_without_doubt,
    ),
    "output has a hole": ("output_is_whole", lambda h: _output(h, _row(REF, 0, 100), _row(REF, 120, 50))),
    "output was stored twice": ("output_is_whole", lambda h: _output(h, _row(REF, 0, 100), _row(REF, 50, 120))),
    "output has other bytes": ("output_is_whole", lambda h: _output(h, _row(REF, 0, 170)._replace(data=b"x" * 170))),
    "output ends too soon": ("output_is_whole", lambda h: _output(h, _row(REF, 0, 100))),
    "output is longer than what was printed": ("output_is_whole", lambda h: _output(h, _row(REF, 0, 200))),
    "a listener missed an event": ("listeners_miss_nothing", lambda h: h.listenings[0].heard.pop(2)),
    "a listener missed the end": ("listeners_miss_nothing", lambda h: h.listenings[0].heard.pop()),
    "a listener heard an event twice": (
        "listeners_miss_nothing",
        lambda h: h.listenings[0].heard.append(h.listenings[0].heard[-1]),
    ),
    "a listener heard what never happened": (
        "listeners_miss_nothing",
        lambda h: h.listenings[0].heard.append(Heard("event", 9, h.commits[0].event)),
    ),
    "memory was not given back": ("memory_is_given_back", lambda h: h.leftovers.append("registry: ['t1']")),
    "a loop died": ("nothing_breaks", lambda h: h.problems.append("the server died")),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_history_is_refused_for_the_right_reason(name: str) -> None:
    rule, spoil = BAD[name]
    history = _good()
    spoil(history)

    assert rule in {violation.rule for violation in check(history)}
