"""The checker itself: what it asks, what it leaves out and says so, and what it measures."""

from __future__ import annotations

from nodelink.task import Outcome
from tests.checking.checker import RULES, check, skipped
from tests.checking.gates import Counts, Gate, breaches, count
from tests.checking.history import Known
from tests.checking.stories import EXCLUSIVE, ONCE, Story
from tests.checking.test_bad_histories import SPOILED, TOLD
from tests.checking.test_load_histories import BAD as BAD_LOADS
from tests.checking.test_plan_histories import BAD


def test_every_rule_has_a_bad_history_of_its_own() -> None:
    proved = {rule for rule, _ in [*SPOILED.values(), *TOLD.values(), *BAD.values(), *BAD_LOADS.values()]}

    assert {rule.name for rule in RULES} == proved


def test_a_rule_is_left_out_by_name_if_the_history_does_not_know_enough() -> None:
    history = Story().submit(execution=ONCE).work().complete().told()
    history.runs[0].granted = False
    history.knows = frozenset(Known) - {Known.FENCES}

    assert check(history) == []
    assert [(rule, missing) for rule, missing in skipped(history)] == [
        ("every_start_has_its_fence", frozenset({Known.FENCES}))
    ]


def test_what_knows_everything_is_asked_everything() -> None:
    assert skipped(Story().told()) == []


def test_times_of_different_sources_may_differ_by_the_slack() -> None:
    history = Story().submit().work().complete().told()
    history.runs[0].began_at -= 1.5

    assert check(history)
    history.slack = 2.0
    assert not check(history)


def test_needless_repetition_doubt_and_loss_are_counted() -> None:
    story = Story().submit("t1").work("t1").pass_by(70).requeue("t1").work("t1", 2).complete("t1")
    story.submit("t2", ONCE).grant("t2").pass_by(300).event("task.lost", "t2")
    story.submit("t3", EXCLUSIVE).work("t3").pass_by(70).event("task.unknown", "t3")

    counts = count(story.told())

    assert counts == Counts(tasks=3, grants=4, reruns=1, doubts=1, losses=1, needless_losses=1)


def test_work_that_was_truly_lost_is_no_needless_loss() -> None:
    story = Story().submit(execution=ONCE).work().end(None).die().event("task.lost")
    story.submit("t2").work("t2").end(Outcome.COMPLETED, kept=False).die().requeue("t2")

    assert count(story.told()) == Counts(tasks=2, grants=2, losses=1)


def test_a_gate_tells_what_happens_too_often() -> None:
    counts = Counts(tasks=1_000, reruns=6)
    counts.add(Counts(tasks=1_000, reruns=5))

    assert not list(breaches(counts, (Gate("reruns", 6.0),)))
    assert list(breaches(counts, (Gate("reruns", 5.0),)))
