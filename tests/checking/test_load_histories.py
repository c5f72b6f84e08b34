"""Histories of lost databases: the good ones are accepted, and each bad one is refused by the one rule it breaks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nodelink.task import Outcome, TaskStatus
from tests.checking.checker import check
from tests.checking.stories import EXCLUSIVE, ONCE, Story

Tell = Callable[[Story], Story]


def _in_doubt(story: Story) -> Story:
    """What ran when the checkpoint was taken is in doubt when it is loaded."""
    return story.submit(execution=ONCE).work().checkpoint().lose().event("task.unknown")


GOOD: dict[str, Tell] = {
    "a task that waited": lambda s: s.submit().checkpoint().lose(again=(False,)).work().complete(),
    "a replayable task that ran on": lambda s: s.submit().work().checkpoint().lose().complete(),
    "a once task of which its agent tells": lambda s: (
        _in_doubt(s).event("task.recovered", status="in_progress").complete()
    ),
    "a once task that a person has run again": lambda s: (
        _in_doubt(s).decide("rerun").requeue().end(None).work(attempt=2).complete()
    ),
    "a once task that stays in doubt": lambda s: (
        s.submit(execution=ONCE).work().checkpoint().complete().lose(told=True).event("task.unknown")
    ),
    "work that is done again, since it was not in the checkpoint": lambda s: (
        s.submit(execution=ONCE)
        .checkpoint()
        .work()
        .complete()
        .show(TaskStatus.COMPLETED)
        .lose()
        .work(attempt=2)
        .complete()
        .listen()
    ),
    "a decision that is lost": lambda s: (
        s.submit(execution=EXCLUSIVE)
        .work()
        .pass_by(70)
        .event("task.unknown")
        .checkpoint()
        .decide("resolve")
        .event("task.failed", reason="resolved")
        .lose()
        .has("t1", remarks=(), reason="")
        .event("task.recovered", status="in_progress")
        .complete()
    ),
    "a stop that is lost": lambda s: (
        s.submit()
        .work()
        .checkpoint()
        .event("task.cancelling")
        .lose()
        .end(Outcome.CANCELLED)
        .event("task.failed", reason="cancelled_by_caller")
    ),
    "a stop for a copy that is lost": lambda s: (
        s.submit()
        .tries(2)
        .work()
        .checkpoint()
        .event("task.cancelling")
        .end(None, reason="superseded")
        .lose()
        .retry()
        .work(attempt=2)
        .complete()
    ),
    "a priority that is lost": lambda s: (
        s.submit().checkpoint().prioritize(75).lose().has("t1", priority=50).work().complete()
    ),
    "a task that was accepted after the checkpoint": lambda s: (
        s.submit().checkpoint().submit("t2").lose().work().complete()
    ),
    "a task that had ended, and is not in the checkpoint": lambda s: (
        s.submit("t0").work("t0").complete("t0").show(TaskStatus.COMPLETED, "t0").checkpoint().lose(without=("t0",))
    ),
}


def _forgotten(story: Story) -> Story:
    """It waited, nobody had been answered, and it is not there."""
    story.submit().history.requests[0].accepted, story.history.requests[0].unknown = [], 1
    return _unkept(story.checkpoint().lose())


def _unkept(story: Story) -> Story:
    story.rows.clear()
    return story


BAD: dict[str, tuple[str, Tell]] = {
    "a task that waited is gone": ("what_a_checkpoint_holds_goes_on", _forgotten),
    "a once task waits again before its agent has told": (
        "what_ran_elsewhere_is_in_doubt_first",
        lambda s: s.submit(execution=ONCE).grant().checkpoint().lose().requeue().work(attempt=2).complete(),
    ),
    "a checkpoint is loaded twice": (
        "a_checkpoint_is_loaded_once",
        lambda s: s.submit().checkpoint().lose(again=(False, True)).work().complete(),
    ),
    "a fence is drawn that the lost server may have drawn": (
        "fences_rise_over_a_load",
        lambda s: s.submit().checkpoint().submit("t2").work("t2", attempt=5).lose().work().complete(),
    ),
    "what was accepted before the checkpoint is gone": (
        "accepted_is_never_lost",
        lambda s: _unkept(s.submit().work().complete().checkpoint().lose()),
    ),
    "an end that was shown before the checkpoint is another": (
        "an_end_that_was_shown_stays",
        lambda s: (
            s.submit().work().show(TaskStatus.COMPLETED).checkpoint().lose().end(Outcome.FAILED).event("task.failed")
        ),
    ),
    "a once task that is in doubt since the load waits again": (
        "only_people_run_doubted_work_again",
        lambda s: _in_doubt(s).end(None).requeue().event("task.cancelled"),
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_history_of_a_lost_database_is_accepted(name: str) -> None:
    assert check(GOOD[name](Story()).told()) == []


@pytest.mark.parametrize("name", BAD)
def test_a_bad_history_of_a_lost_database_is_refused_by_the_rule_that_it_breaks(name: str) -> None:
    rule, tell = BAD[name]

    assert {violation.rule for violation in check(tell(Story()).told())} == {rule}
