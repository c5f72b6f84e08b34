"""A checker that finds nothing proves nothing: each bad history here must be refused, for the right reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from nodelink.task import LogStream, Outcome, TaskStatus
from nodelink_server.core.ports import LogRow
from tests.checking.checker import check
from tests.checking.history import Heard, History, Kept, Request
from tests.checking.stories import EXCLUSIVE, ONCE, REPLAYABLE, Story, printed, ref_of

Tell = Callable[[Story], Story]
TOTAL = "total_timeout"
Spoil = Callable[[History], object]


def _whole(story: Story) -> Story:
    """One task with a key, run once, heard of by one listener."""
    story.submit(execution=ONCE, key="k").work().complete().show(TaskStatus.COMPLETED).listen()
    story.rows["t1"]["output"] = [printed(0, 100), printed(100, 50, gap=50), printed(150, 20)]
    story.rows["t1"]["log_totals"] = ((LogStream.STDOUT, 170),)
    return story


def _kept(history: History, **changes: object) -> None:
    history.kept[0] = replace(history.kept[0], **changes)  # type: ignore[arg-type]  # names of fields


def _refuse(history: History) -> None:
    request = history.requests[0]
    request.accepted, request.unknown, request.refused = [], 0, ["Overloaded"]


def _more_than_asked(history: History) -> None:
    history.requests.append(Request(token="b"))
    history.kept.append(replace(history.kept[0], token="b"))


def _second(history: History) -> Kept:
    return replace(history.kept[0], id="t2")


def _output(history: History, *rows: LogRow) -> None:
    _kept(history, output=rows)


def _swap(history: History, first: int, second: int) -> None:
    heard = history.listenings[0].heard
    heard[first], heard[second] = heard[second], heard[first]


SPOILED: dict[str, tuple[str, Spoil]] = {
    "an accepted task is gone": ("accepted_is_never_lost", lambda h: h.kept.clear()),
    "an answer names another task": ("accepted_is_never_lost", lambda h: h.requests[0].accepted.append("t2")),
    "a task has another class than was asked for": (
        "accepted_is_never_lost",
        lambda h: setattr(h.requests[0], "execution", REPLAYABLE),
    ),
    "a task that nobody asked for": ("nothing_comes_from_nowhere", lambda h: h.requests.clear()),
    "a refused request became a task": ("nothing_comes_from_nowhere", _refuse),
    "a request with a key became two tasks": ("nothing_comes_from_nowhere", lambda h: h.kept.append(_second(h))),
    "a key was answered with two tasks": ("a_key_names_one_task", lambda h: h.requests[0].accepted.append("t2")),
    "a key stands for two tasks": ("a_key_names_one_task", lambda h: h.kept.append(_second(h))),
    "a task never ends": ("every_task_ends", lambda h: _kept(h, status=TaskStatus.SENT)),
    "a once task stays in doubt": ("every_task_ends", lambda h: _kept(h, status=TaskStatus.UNKNOWN)),
    "the end that is kept is not the one that was told": (
        "an_end_is_for_ever",
        lambda h: _kept(h, status=TaskStatus.FAILED),
    ),
    "a caller was shown an end that is not kept": (
        "an_end_that_was_shown_stays",
        lambda h: h.sights.append(h.sights[0]._replace(status=TaskStatus.CANCELLED)),
    ),
    "the row is not what was told last": (
        "the_last_event_is_the_task",
        lambda h: _kept(h, status=TaskStatus.IN_PROGRESS),
    ),
    "revisions went back": ("events_follow_the_table", lambda h: h.commits.append(h.commits[1])),
    "a task started before it was sent": ("events_follow_the_table", lambda h: h.commits.pop(1)),
    "completed without a run": ("success_is_real", lambda h: h.runs.clear()),
    "completed though its run failed": ("success_is_real", lambda h: setattr(h.runs[0], "outcome", Outcome.FAILED)),
    "completed by an attempt that is not the last": ("success_is_real", lambda h: _kept(h, ref=ref_of(attempt=2))),
    "an attempt started twice": ("an_attempt_starts_once", lambda h: h.runs.append(replace(h.runs[0]))),
    "work began under a fence that does not count": (
        "every_start_has_its_fence",
        lambda h: setattr(h.runs[0], "granted", False),
    ),
    "work began before its grant was durable": (
        "nothing_starts_without_a_grant",
        lambda h: setattr(h.runs[0], "began_at", 1.5),
    ),
    "work began though its task had ended": (
        "nothing_starts_without_a_grant",
        lambda h: setattr(h.runs[0], "began_at", 99.0),
    ),
    "work began that was never granted": (
        "nothing_starts_without_a_grant",
        lambda h: setattr(h.runs[0], "ref", ref_of(attempt=2)),
    ),
    "work went on after the end": ("nothing_runs_after_the_end", lambda h: setattr(h.runs[0], "ended_at", 99.0)),
    "work never ended": ("nothing_runs_after_the_end", lambda h: setattr(h.runs[0], "ended_at", None)),
    "a stop that was not confirmed was believed": (
        "finished_work_is_kept",
        lambda h: setattr(h.runs[0], "tree_gone", False),
    ),
    "output has a hole": ("output_is_whole", lambda h: _output(h, printed(0, 100), printed(120, 50))),
    "output was stored twice": ("output_is_whole", lambda h: _output(h, printed(0, 100), printed(50, 120))),
    "output has other bytes": ("output_is_whole", lambda h: _output(h, printed(0, 170)._replace(data=b"x" * 170))),
    "output ends too soon": ("output_is_whole", lambda h: _output(h, printed(0, 100))),
    "output is longer than what was printed": ("output_is_whole", lambda h: _output(h, printed(0, 200))),
    "a listener missed an event": ("listeners_miss_nothing", lambda h: h.listenings[0].heard.pop(2)),
    "a listener missed the end": ("listeners_miss_nothing", lambda h: h.listenings[0].heard.pop()),
    "a listener heard an event twice": (
        "listeners_miss_nothing",
        lambda h: h.listenings[0].heard.append(h.listenings[0].heard[-1]),
    ),
    "a listener heard events in another order": ("listeners_miss_nothing", lambda h: _swap(h, 2, 3)),
    "a listener heard what never happened": (
        "listeners_miss_nothing",
        lambda h: h.listenings[0].heard.append(Heard("event", 9, h.commits[0].event)),
    ),
    "memory was not given back": ("memory_is_given_back", lambda h: h.leftovers.append("registry: ['t1']")),
    "a loop died": ("nothing_breaks", lambda h: h.problems.append("the server died")),
    "a request without a key became more tasks than it had tries": (
        "nothing_comes_from_nowhere",
        _more_than_asked,
    ),
}
"""A good history, and what is done to it."""


def _lost(story: Story, **row: object) -> Story:
    story.submit(execution=ONCE).work().end(None).die().event("task.lost")
    story.rows["t1"].update(row)
    return story


def _doubted(story: Story) -> Story:
    return story.submit(execution=EXCLUSIVE).work().pass_by(70).event("task.unknown")


def _third_death(story: Story) -> Story:
    story.submit()
    for attempt in (1, 2, 3):
        story.work(attempt=attempt).end(None).die().revive().requeue()
    for run in story.history.runs:
        run.killed_agent = True
    return story.work(attempt=4).complete()


def _never_arrived(story: Story) -> Story:
    story.submit("t1").submit("t2").grant("t1").revive().pass_by(40).grant("t2").pass_by(1).hear().requeue("t1")
    return story.work("t1", attempt=2).complete("t1")


def _retried(story: Story, *, most: int, outcome: Outcome = Outcome.FAILED) -> Story:
    """An attempt ended so, and the task was tried again."""
    return story.submit().tries(most).work().end(outcome).retry().work(attempt=2).complete()


def _two_holders(story: Story) -> Story:
    story.submit("t1", lock="l").submit("t2", lock="l").work("t1").work("t2", machine="a2")
    return story.complete("t1", run=0).complete("t2")


def _lock_freed_in_doubt(story: Story) -> Story:
    story.submit("t1", EXCLUSIVE, lock="l").submit("t2", EXCLUSIVE, lock="l").work("t1").pass_by(70)
    return story.event("task.unknown", "t1").work("t2", machine="a2").complete("t2")


def _overlap_under_a_lock(story: Story) -> Story:
    """The first holder was given up by the rules, and yet it ran on."""
    story.submit("t1", lock="l").submit("t2", lock="l").work("t1").pass_by(70).requeue("t1")
    story.work("t2", machine="a2").complete("t2")
    return story.end(run=0).late("completed").work("t1", 2).complete("t1")


def _heard_often(story: Story) -> Story:
    for _ in range(9):
        story.pass_by(5).hear()
    return story


def _two(story: Story, **fields: object) -> Story:
    """Two tasks that ask for the same run at a time on one machine."""
    story.has_slots(3).submit().asks(**fields).submit("t2").asks(**fields)
    return story.work().work("t2").complete(run=0).complete("t2")


def _skipped(story: Story, **fields: object) -> Story:
    """A task is skipped, long after another with its lock has ended."""
    story.submit(lock="k").work().complete().pass_by(100)
    return story.submit("t2", lock="k").asks(**fields).event("task.skipped", "t2")


TOLD: dict[str, tuple[str, Tell]] = {
    "a task ended twice": ("an_end_is_for_ever", lambda s: s.submit().work().complete().event("task.failed")),
    "something followed an end": (
        "events_follow_the_table",
        lambda s: s.submit().work().complete().event("task.pending"),
    ),
    "a stop was forgotten": (
        "events_follow_the_table",
        lambda s: s.submit().work().event("task.cancelling").event("task.started").complete(),
    ),
    "a task was cancelled that nobody had stopped": (
        "events_follow_the_table",
        lambda s: s.submit().work().end(Outcome.CANCELLED).event("task.cancelled"),
    ),
    "a task failed that had never started": (
        "events_follow_the_table",
        lambda s: s.submit().grant().event("task.failed", reason="exit_code"),
    ),
    "a once task started twice": (
        "what_may_start_once_starts_once",
        lambda s: s.submit(execution=ONCE).work().end(None).requeue().work(attempt=2).complete(),
    ),
    "an exclusive task started once more than a person wanted": (
        "what_may_start_once_starts_once",
        lambda s: _doubted(s).decide("rerun").requeue().work(attempt=2).end(None).requeue().work(attempt=3).complete(),
    ),
    "a task in doubt ran again by itself": (
        "only_people_run_doubted_work_again",
        lambda s: _doubted(s).requeue().work(attempt=2).complete(),
    ),
    "two attempts ran at a time": (
        "attempts_never_overlap",
        lambda s: s.submit().work().pass_by(70).requeue().work(attempt=2).end(run=0).complete(),
    ),
    "an attempt ran on when it had been given up": (
        "nothing_runs_after_it_was_given_up",
        lambda s: s.submit().work().pass_by(70).requeue().end(run=0).work(attempt=2).end().complete(),
    ),
    "an attempt began while the first one ran on": (
        "attempts_never_overlap",
        lambda s: s.submit().work().pass_by(70).requeue().work(attempt=2).complete(),
    ),
    "a rerun began beside the work in doubt on the same machine": (
        "attempts_never_overlap",
        lambda s: _doubted(s).decide("rerun").requeue().work(attempt=2).end(run=0).complete(),
    ),
    "work began after another attempt was granted": (
        "nothing_starts_without_a_grant",
        lambda s: s.submit().grant().requeue().grant(attempt=2).begin(attempt=1).end().requeue(),
    ),
    "a stop never reached its agent": (
        "a_stop_reaches_its_agent",
        lambda s: _heard_often(s.submit().work().event("task.cancelling")).complete(),
    ),
    "a third agent died of a task": ("poison_is_contained", _third_death),
    "a grant that never arrived was left to its lease": ("what_never_arrived_is_given_back", _never_arrived),
    "a task was tried again more often than it was to be": (
        "retries_follow_the_policy",
        lambda s: _retried(s, most=1),
    ),
    "a task was tried again that had not failed": (
        "retries_follow_the_policy",
        lambda s: _retried(s, most=2, outcome=Outcome.COMPLETED),
    ),
    "a task was not tried again": (
        "retries_follow_the_policy",
        lambda s: s.submit().tries(3).work().end(Outcome.FAILED).event("task.failed", reason="exit_code"),
    ),
    "the next try came sooner than its failure had asked": (
        "the_next_try_waits_as_long_as_the_last_one_asked",
        lambda s: s.submit().tries(2).work().fail(asks=30).pass_by(20).work(attempt=2).complete(),
    ),
    "the server did not hear what work gave itself": (
        "the_server_hears_what_work_gives_itself",
        lambda s: s.submit().work().go_on_for(60, heard=False).beat().beat().complete(),
    ),
    "work was stopped before the time that it gave itself": (
        "what_work_gives_itself_counts",
        lambda s: s.submit().work().go_on_for(60).pass_by(20).time_out(),
    ),
    "a task was granted when its time was over": (
        "nothing_is_granted_after_its_time",
        lambda s: s.submit().limit(10).event("task.pending").pass_by(60).work().complete(),
    ),
    "a task was granted when the time was over that it was given": (
        "nothing_is_granted_after_its_time",
        lambda s: s.submit().limit(10).event("task.pending").extend(total_timeout=20.0).pass_by(60).work().complete(),
    ),
    "a task was over before the time in all that it was given": (
        "an_extension_of_the_time_in_all_counts",
        lambda s: s.submit().limit(10).work().extend(total_timeout=60.0).pass_by(10).time_out(TOTAL),
    ),
    "an agent that heard of the server and not of an extension": (
        "an_agent_is_told_of_extensions",
        lambda s: s.submit().work().extend(timeout=60.0).beat().complete(),
    ),
    "an agent that heard of an older extension only": (
        "an_agent_is_told_of_extensions",
        lambda s: s.submit().work().extend(timeout=9.0).tell().extend(number=2, timeout=60.0).beat().complete(),
    ),
    "work that was stopped although it had been given longer": (
        "no_run_is_stopped_before_its_time",
        lambda s: s.submit().work().extend(timeout=60.0).tell().pass_by(20).time_out(),
    ),
    "a task that timed out for another reason than its work": (
        "a_timeout_has_the_reason_of_its_work",
        lambda s: (
            s.submit()
            .asks(is_watched=True)
            .work()
            .end(Outcome.TIMEOUT, reason="run_timeout")
            .event("task.timeout", reason="heartbeat_timeout")
        ),
    ),
    "a task that was stopped for a silence that it was allowed": (
        "a_timeout_has_the_reason_of_its_work",
        lambda s: s.submit().work().time_out("heartbeat_timeout"),
    ),
    "a task on a machine that it may not run on": (
        "a_task_runs_where_it_may",
        lambda s: s.submit().asks(machines=frozenset({"a2"})).work().complete(),
    ),
    "two tasks that take more slots than there are": ("a_machine_is_never_overfull", lambda s: _two(s, slots=2)),
    "two tasks of which each takes all of something": ("a_machine_is_never_overfull", lambda s: _two(s, alone=True)),
    "a task was granted while everything was paused": (
        "nothing_starts_under_a_pause",
        lambda s: s.submit().pause("scheduler").work().complete(),
    ),
    "a task was granted when another pause was over": (
        "nothing_starts_under_a_pause",
        lambda s: s.pause("type:shell").pause("scheduler").pause("type:shell", "running").submit().work().complete(),
    ),
    "two tasks under a limit of one": ("a_limit_is_never_exceeded", lambda s: _two(s, limits={"db": 1})),
    "two starts under a rate of one": ("a_rate_is_never_exceeded", lambda s: _two(s, rate=("mail", 1, 60.0))),
    "two live tasks with one unique key": ("a_unique_key_has_one_task", lambda s: _two(s, unique="deploy")),
    "a drained agent is given a task": (
        "nothing_is_given_to_a_drained_agent",
        lambda s: s.submit().drain().work().complete(),
    ),
    "a priority was told and not kept": (
        "a_priority_stays_as_it_was_set",
        lambda s: s.submit().prioritize(75).has("t1", priority=50).work().complete(),
    ),
    "an answer named a task with another unique key": (
        "what_is_joined_has_the_key",
        lambda s: s.submit().asks(unique="deploy").submit("t2").asks(unique="backup", joined=["t1"]).work().complete(),
    ),
    "a task that is skipped for nothing": ("only_what_does_not_wait_is_skipped", lambda s: _skipped(s, skips=True)),
    "a task that is skipped while its workspace is free": (
        "only_what_does_not_wait_is_skipped",
        lambda s: _skipped(s, skips=True, workspace="site"),
    ),
    "a task that is skipped and was to wait": (
        "only_what_does_not_wait_is_skipped",
        lambda s: s.submit(lock="k").work().submit("t2", lock="k").event("task.skipped", "t2").complete(),
    ),
    "a lock had two holders": ("a_lock_has_one_holder", _two_holders),
    "a lock was let go of in doubt": ("a_lock_has_one_holder", _lock_freed_in_doubt),
    "work under one lock overlapped": ("holders_of_a_lock_never_overlap", _two_holders),
    "work under one lock overlapped in doubt": ("holders_of_a_lock_never_overlap", _lock_freed_in_doubt),
    "work that was given up ran on under its lock": ("holders_of_a_lock_never_overlap", _overlap_under_a_lock),
    "finished work was thrown away": (
        "finished_work_is_kept",
        lambda s: s.submit().work().end().requeue().work(attempt=2).complete(),
    ),
    "a result became another one": ("finished_work_is_kept", lambda s: s.submit().work().end().event("task.failed")),
    "a late result was kept as another one": (
        "finished_work_is_kept",
        lambda s: s.submit(execution=ONCE).work().pass_by(210).event("task.lost").end().late("failed"),
    ),
    "a replayable task was lost": ("loss_is_admitted", lambda s: _lost(s, execution=REPLAYABLE)),
    "a lost task does not say that it may have run": ("loss_is_admitted", lambda s: _lost(s, may_have_run=False)),
    "a replayable task was in doubt": (
        "classes_are_kept",
        lambda s: s.submit().work().pass_by(70).event("task.unknown").complete(),
    ),
    "an exclusive task was lost": ("classes_are_kept", lambda s: _lost(s, execution=EXCLUSIVE)),
    "a once task that had started waited again": (
        "classes_are_kept",
        lambda s: s.submit(execution=ONCE).work().end(None).die().requeue(),
    ),
    "a task was lost while its agent was heard of": (
        "nothing_is_given_up_early",
        lambda s: s.submit(execution=ONCE).work().pass_by(150).hear().pass_by(60).event("task.lost"),
    ),
    "doubt came too early": (
        "nothing_is_given_up_early",
        lambda s: s.submit(execution=EXCLUSIVE).work().pass_by(20).event("task.unknown"),
    ),
    "work was given up that its machine held": (
        "nothing_is_given_up_early",
        lambda s: (
            s.submit().work().die().pass_by(3).hear().requeue().end().late("completed").work(attempt=2).complete()
        ),
    ),
    "work was given up in an outage": (
        "nothing_is_given_up_after_an_outage",
        lambda s: s.submit(execution=ONCE).work().spare(300).pass_by(250).event("task.lost"),
    ),
    "doubt came in the grace after an outage": (
        "nothing_is_given_up_after_an_outage",
        lambda s: s.submit(execution=EXCLUSIVE).work().spare(100).pass_by(70).event("task.unknown"),
    ),
    "a decision was not written down": (
        "what_people_decide_is_written_down",
        lambda s: _forget_remarks(_doubted(s).decide("resolve").event("task.failed", reason="resolved")),
    ),
    "a decision was written down that nobody made": (
        "what_people_decide_is_written_down",
        lambda s: _forget_deeds(_doubted(s).decide("resolve").event("task.failed", reason="resolved")),
    ),
}
"""Stories that must not happen."""


def _forget_remarks(story: Story) -> Story:
    story.rows["t1"].pop("remarks")
    return story


def _forget_deeds(story: Story) -> Story:
    story.history.deeds.clear()
    return story


@pytest.mark.parametrize("name", SPOILED)
def test_a_spoiled_history_is_refused_for_the_right_reason(name: str) -> None:
    rule, spoil = SPOILED[name]
    history = _whole(Story()).told()
    spoil(history)

    assert rule in {violation.rule for violation in check(history)}


@pytest.mark.parametrize("name", TOLD)
def test_a_bad_story_is_refused_for_the_right_reason(name: str) -> None:
    rule, tell = TOLD[name]

    assert rule in {violation.rule for violation in check(tell(Story()).told())}


def test_the_history_that_is_spoiled_was_good() -> None:
    assert check(_whole(Story()).told()) == []
