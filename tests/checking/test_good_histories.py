"""Whatever is promised, these histories keep it: a checker that refuses them would cry wolf."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nodelink.task import LogStream, Outcome, TaskStatus
from tests.checking.checker import check
from tests.checking.history import Heard, Request
from tests.checking.stories import EXCLUSIVE, ONCE, REPLAYABLE, Story, printed, ref_of

Tell = Callable[[Story], Story]
TOTAL = "total_timeout"


def _doubted(story: Story) -> Story:
    """An exclusive task runs, and its machine falls silent."""
    return story.submit(execution=EXCLUSIVE).work().pass_by(70).event("task.unknown")


def _lost(story: Story) -> Story:
    """A once task runs, its machine falls silent, and it is given up."""
    return story.submit(execution=ONCE).work().pass_by(210).event("task.lost", reason="agent_lost")


def _replaced(story: Story) -> Story:
    """A replayable task runs, its machine falls silent, stops it by its own clock, and another one has it."""
    story.submit().work().pass_by(50).end(None)
    story.history.runs[-1].lapsed = True
    return story.pass_by(10).requeue().work(attempt=2, machine="a2")


def _unheard_request(story: Story) -> Story:
    story.history.requests.append(Request(token="b", unknown=3))
    return story.submit(key="k").work().complete()


def _output(story: Story) -> Story:
    story.submit().work().complete()
    story.rows["t1"]["output"] = [printed(0, 100), printed(100, 50, gap=50), printed(150, 20)]
    story.rows["t1"]["log_totals"] = ((LogStream.STDOUT, 170),)
    return story


def _reset(story: Story) -> Story:
    story.submit().work().complete().listen()
    story.history.listenings[0].heard[2:4] = [Heard("reset", 3)]
    return story


def _unconnected(story: Story) -> Story:
    story.submit().work().complete().listen()
    story.history.listenings[0].heard.clear()
    return story


def _part_of_output(story: Story) -> Story:
    story.submit(execution=ONCE).work().end(None).die().pass_by(1).event("task.lost")
    story.rows["t1"]["output"] = [printed(0, 10)]
    return story


def _two_holders_in_turn(story: Story) -> Story:
    story.submit("t1", lock="l").submit("t2", lock="l").work("t1").complete("t1")
    return story.work("t2").complete("t2")


def _lock_given_back(story: Story) -> Story:
    """The first holder never began."""
    story.submit("t1", lock="l").submit("t2", lock="l").grant("t1").requeue("t1").work("t2").complete("t2")
    return story.work("t1", 2).complete("t1")


def _lock_of_lost(story: Story) -> Story:
    """A lost task has let its lock go, though it runs on: it says so."""
    story.submit("t1", ONCE, lock="l").submit("t2", ONCE, lock="l").work("t1").pass_by(210).event("task.lost", "t1")
    return story.work("t2", machine="a2").complete("t2")


def _lock_resolved(story: Story) -> Story:
    """A person has let the lock go."""
    story.submit("t1", EXCLUSIVE, lock="l").submit("t2", EXCLUSIVE, lock="l").work("t1").pass_by(70)
    story.event("task.unknown", "t1").decide("resolve", "t1").event("task.failed", "t1", reason="resolved")
    return story.work("t2", machine="a2").complete("t2")


def _two_dead_agents(story: Story) -> Story:
    story.submit().work().end(None).die().revive().requeue().work(attempt=2).end(None).die().revive()
    for run in story.history.runs:
        run.killed_agent = True
    return story.event("task.failed", reason="poison")


def _never_arrived(story: Story) -> Story:
    """The agent came back, and was away again before it could be asked; then it came to stay."""
    story.submit().grant().revive().event_of_agent("agent.disconnected").pass_by(40).revive()
    return story.requeue().work(attempt=2).end().complete()


def _retried(story: Story) -> Story:
    """It failed, and succeeded when it was tried again."""
    return story.submit(execution=ONCE).tries(3).work().end(Outcome.FAILED).retry().work(attempt=2).complete()


def _unheard_deaths(story: Story) -> Story:
    """Two agents died; all that was known of it is that they had fallen silent."""
    story.submit()
    for attempt in (1, 2):
        story.work(attempt=attempt, machine=f"a{attempt}").end(None).pass_by(60).requeue()
        story.history.runs[-1].killed_agent = True
    return story.work(attempt=3, machine="a3").complete()


def _rerun(story: Story) -> Story:
    return _doubted(story).decide("rerun").requeue().work(attempt=2, machine="a2").complete()


def _rerun_beside(story: Story) -> Story:
    """The work in doubt had gone on, and ended later than the second one began."""
    _doubted(story).decide("rerun").requeue().work(attempt=2, machine="a2")
    return story.end(run=0).late("completed").complete()


def _erased(story: Story) -> Story:
    """A machine lost its disk, with the end of a run on it."""
    story.submit(execution=ONCE).work().end(kept=False).die(kind="host")
    return story.event("task.lost")


def _silent_from_the_start(story: Story) -> Story:
    """A grant that its machine never heard of."""
    return story.submit(execution=ONCE).grant().pass_by(210).event("task.lost")


def _killed_at_the_start(story: Story) -> Story:
    return story.submit(execution=ONCE).grant().die(kind="host").event("task.lost")


def _two(story: Story, **fields: object) -> Story:
    """Two tasks that ask for the same run at a time on one machine."""
    story.has_slots(4).submit().asks(**fields).submit("t2").asks(**fields)
    return story.work().work("t2").complete(run=0).complete("t2")


def _two_in_turn(story: Story, **fields: object) -> Story:
    """Two tasks that ask for the same run one after the other, a minute apart."""
    story.submit().asks(**fields).work().complete().pass_by(60)
    return story.submit("t2").asks(**fields).work("t2").complete("t2")


def _joined(story: Story) -> Story:
    story.submit().asks(unique="deploy")
    story.history.requests.append(Request(token="another", unique="deploy", joined=["t1"]))
    return story.work().complete()


GOOD: dict[str, Tell] = {
    "nothing at all": lambda s: s,
    "a task that runs": lambda s: s.submit().work().complete(),
    "a task that was granted as it came": lambda s: s.submit(execution=ONCE).work().complete(),
    "a task that waited": lambda s: s.submit().event("task.pending").work().complete(),
    "a task with a time": lambda s: s.submit().event("task.scheduled").event("task.pending").work().complete(),
    "a task that fails": lambda s: s.submit().work().end(Outcome.FAILED).event("task.failed", reason="exit_code"),
    "a task that takes too long": lambda s: s.submit().work().end(Outcome.TIMEOUT).event("task.timeout"),
    "a task that waits too long": lambda s: s.submit().event("task.pending").event("task.timeout"),
    "a task that is cancelled as it waits": lambda s: s.submit().event("task.pending").event("task.cancelled"),
    "a task that is cancelled as it runs": lambda s: (
        s.submit().work().event("task.cancelling").end(Outcome.CANCELLED).event("task.cancelled")
    ),
    "a start that is told while it is cancelled": lambda s: (
        s.submit()
        .grant()
        .begin()
        .event("task.cancelling")
        .event("task.started", status="cancelling")
        .end(Outcome.CANCELLED)
        .event("task.cancelled")
    ),
    "a cancelled task whose end came first": lambda s: s.submit().work().event("task.cancelling").complete(),
    "a stop that could not be confirmed": lambda s: (
        s.submit(execution=ONCE).work().event("task.cancelling").pass_by(210).event("task.lost")
    ),
    "a task that never began and waits again": lambda s: (
        s.submit(execution=ONCE).grant().requeue().work(attempt=2).complete()
    ),
    "a once task that is lost with its machine": lambda s: (
        s.submit(execution=ONCE).work().end(None).die().event("task.lost")
    ),
    "a once task whose machine fell silent": _lost,
    "a lost task whose end comes late": lambda s: _lost(s).end().late("completed"),
    "a replayable task that died with its machine": lambda s: (
        s.submit().work().end(None).die().requeue().work(attempt=2).complete()
    ),
    "a replayable task whose machine fell silent": lambda s: _replaced(s).complete(),
    "a result of an overtaken attempt": lambda s: (
        s.submit().work().pass_by(59).end().pass_by(3).requeue().work(attempt=2).late("completed").complete()
    ),
    "an exclusive task in doubt": _doubted,
    "an exclusive task that is found again": lambda s: _doubted(s).event("task.recovered").complete(),
    "an exclusive task that is found again and was to stop": lambda s: (
        _doubted(s)
        .event("task.recovered")
        .event("task.cancelling")
        .end(Outcome.CANCELLED)
        .event("task.cancelled", reason="cancelled_by_caller")
    ),
    "an exclusive task that ends in doubt": lambda s: _doubted(s).complete(),
    "a person who says how it ended": lambda s: (
        _doubted(s).decide("resolve").event("task.completed", reason="resolved")
    ),
    "a person who says so while it runs on": lambda s: (
        _doubted(s).decide("resolve").event("task.failed", reason="resolved").end().late("completed")
    ),
    "a person who has it run again": _rerun,
    "a rerun beside what was in doubt": _rerun_beside,
    "a person who was not answered": lambda s: _doubted(s).decide("rerun", done=None),
    "a person who was refused": lambda s: s.submit().work().decide("resolve", done=False).complete(),
    "a person who gives a task up": lambda s: (
        s.submit().work().decide("abandon").event("task.failed", reason="abandoned").pass_by(9).end().late("completed")
    ),
    "a start that an abandonment could not stop": lambda s: (
        s.submit().grant().decide("abandon").event("task.failed", reason="abandoned").begin().end().late("completed")
    ),
    "a stop that an agent in a hole did not hear": lambda s: (
        s.submit().work().event("task.cancelling").hear().pass_by(58).hear().complete()
    ),
    "poison": _two_dead_agents,
    "a grant that never arrived": _never_arrived,
    "a task that was tried again": _retried,
    "a try that waited as long as the last one asked": (
        lambda s: s.submit().tries(2).work().fail(asks=30).pass_by(30).work(attempt=2).complete()
    ),
    "work that gave itself more time": lambda s: s.submit().work().go_on_for(60).beat().beat().complete(),
    "work that gave itself more time, and ended before the server could hear of it": (
        lambda s: s.submit().work().go_on_for(60, heard=False).beat().complete()
    ),
    "work that took longer than it gave itself": lambda s: s.submit().work().go_on_for(60).pass_by(60).time_out(),
    "work whose caller gave it less than it gave itself": (
        lambda s: s.submit().work().go_on_for(60).extend(timeout=10.0).tell().beat().pass_by(10).time_out()
    ),
    "a task whose time an outage did not shorten": (
        lambda s: s.submit().limit(10).event("task.pending").spare(60).pass_by(60).work().complete()
    ),
    "a task that was given more time in all": (
        lambda s: s.submit().limit(10).event("task.pending").extend(total_timeout=90.0).pass_by(60).work().complete()
    ),
    "a task whose time was over, and that was given more when a person had it run again": (
        lambda s: (
            s.submit(execution=EXCLUSIVE)
            .limit(10)
            .work()
            .event("task.cancelling", reason=TOTAL)
            .end(None)
            .event("task.unknown")
            .decide("rerun")
            .requeue()
            .work(attempt=2)
            .extend(total_timeout=60.0)
            .tell()
            .beat()
            .complete()
        )
    ),
    "an extension of which nobody knows whether it came": (
        lambda s: s.submit().limit(10).work().extend(done=None, total_timeout=60.0).time_out(TOTAL)
    ),
    "an extension that was told": (
        lambda s: s.submit().work().extend(timeout=60.0).tell().beat().pass_by(20).complete()
    ),
    "an extension that came too late": (lambda s: s.submit().work().extend(timeout=60.0).pass_by(20).time_out().beat()),
    "an extension of a task that is cancelled then": (
        lambda s: s.submit().work().extend(timeout=60.0).event("task.cancelling").beat().complete()
    ),
    "work that used what it was given": (
        lambda s: s.submit().work().extend(timeout=60.0).tell().beat().pass_by(60).time_out()
    ),
    "work that was silent": lambda s: s.submit().asks(is_watched=True).work().time_out("heartbeat_timeout"),
    "work that was told not to be silent": (
        lambda s: s.submit().work().extend(heartbeat_timeout=5.0).tell().beat().time_out("heartbeat_timeout")
    ),
    "work that the server stopped, and of which nobody saw the end": (
        lambda s: (
            s.submit()
            .work()
            .event("task.cancelling", reason="run_timeout")
            .end(None, kept=False)
            .event("task.timeout", reason="run_timeout")
        )
    ),
    "two tasks that take all slots": lambda s: _two(s, slots=2),
    "a drained agent that works again": lambda s: s.submit().drain(seconds=5).pass_by(6).work().complete(),
    "another agent than the drained one": lambda s: s.submit().drain("a2").work().complete(),
    "a priority that was refused, and one that nobody knows of": lambda s: (
        s.submit()
        .prioritize(75)
        .prioritize(25, done=False)
        .work()
        .complete()
        .submit("t2")
        .prioritize(75, "t2")
        .prioritize(25, "t2", done=None)
        .work("t2")
        .complete("t2")
    ),
    "a caller that is told of the live task with its unique key": _joined,
    "two tasks under a limit of two": lambda s: _two(s, limits={"db": 2}),
    "one after the other with a unique key": lambda s: _two_in_turn(s, unique="deploy"),
    "one after the other under a limit of one": lambda s: _two_in_turn(s, limits={"db": 1}),
    "two starts under a rate of one, apart": lambda s: _two_in_turn(s, rate=("mail", 1, 60.0)),
    "a task on a copy of its machine": lambda s: (
        s.submit().asks(machines=frozenset({"a1"})).work(machine="a1 copy 1").complete()
    ),
    "a task that is skipped while another has its workspace": lambda s: (
        s.submit()
        .asks(workspace="site")
        .work()
        .submit("t2", lock="k")
        .asks(skips=True, workspace="site")
        .event("task.skipped", "t2")
        .complete()
    ),
    "a task that is skipped while another has its lock": lambda s: (
        s.submit(lock="k").work().submit("t2", lock="k").asks(skips=True).event("task.skipped", "t2").complete()
    ),
    "two holders of a lock, one after the other": _two_holders_in_turn,
    "an agent that died and was not heard of": _unheard_deaths,
    "a lock that was given back": _lock_given_back,
    "a lock of a lost task": _lock_of_lost,
    "a lock of a task that a person resolved": _lock_resolved,
    "a request that nobody answered": _unheard_request,
    "a disk that was lost": _erased,
    "a grant that nobody heard of": _silent_from_the_start,
    "a grant whose machine died": _killed_at_the_start,
    "output with a gap that is told": _output,
    "a part of the output of what was lost": _part_of_output,
    "listeners who heard everything": lambda s: s.submit().work().complete().listen().listen("t1"),
    "a listener who was told to reset": _reset,
    "a listener who never came through": _unconnected,
    "a caller who is told how it stands": lambda s: (
        s.submit().work().show(TaskStatus.IN_PROGRESS).complete().show(TaskStatus.COMPLETED)
    ),
    "a pause that is over, and one of another type": lambda s: (
        s.pause("type:render")
        .pause("scheduler")
        .submit()
        .pause("scheduler", "running")
        .work()
        .pause("scheduler")
        .complete()
    ),
    "a machine that died in an outage": lambda s: (
        s.submit(execution=ONCE).work().spare(100).end(None).die().event("task.lost")
    ),
    "patience that ended after the grace": lambda s: (
        s.submit(execution=ONCE).work().spare(205).pass_by(210).event("task.lost")
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_history_is_accepted(name: str) -> None:
    assert check(GOOD[name](Story()).told()) == []


def test_the_stories_name_their_attempts_as_the_database_does() -> None:
    history = Story().submit(execution=REPLAYABLE).work().complete().told()

    assert history.kept[0].ref == history.runs[0].ref == ref_of()
