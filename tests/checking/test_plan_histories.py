"""Histories of plans and applies: the good ones are accepted, and each bad one is refused for the right reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from nodelink.plan import APPLY, PLAN, PLAN_AND_APPLY
from tests.checking.checker import check
from tests.checking.history import Approval, Commit, FailedAttempt
from tests.checking.stories import EXCLUSIVE, Story, ref_of

Tell = Callable[[Story], Story]
OURS, OTHER = "a" * 64, "b" * 64
RATE = ("mail", 1, 600.0)


def change(story: Story, task_id: str = "t1", **asked: object) -> Story:
    """A task is submitted that plans, and applies what is approved."""
    return _tell_more(story.submit(task_id, EXCLUSIVE).asks(**asked))


def plan(story: Story, task_id: str = "t1", *, sha256: str = OURS, attempt: int = 1, machine: str = "a1") -> Story:
    """It plans, and waits for an approval."""
    _begin(story, task_id, attempt, machine, phase=PLAN, sha256=sha256).end()
    story.rows[task_id]["failed"] = [FailedAttempt(ref_of(task_id, attempt), "planned", (), ())]
    return _tell_more(story.event("task.plan_completed", task_id), {"plan_sha256": sha256})


def say(story: Story, task_id: str = "t1", *, verb: str = "approve", sha256: str = OURS, done: bool = True) -> Story:
    """Somebody approves, or rejects."""
    story.history.approvals.append(Approval(story.now, verb, task_id, sha256, done))
    return story


def go_on(story: Story, task_id: str = "t1") -> Story:
    """It waits to be applied."""
    return _tell_more(story.event("task.apply_pending", task_id))


def apply(story: Story, task_id: str = "t1", *, sha256: str = OURS, machine: str = "a1") -> Story:
    """It is applied, and goes on being applied."""
    return _begin(story, task_id, 2, machine, phase=APPLY, sha256=sha256)


def end(story: Story, task_id: str = "t1") -> Story:
    """It ends well."""
    return _tell_more(story.complete(task_id))


def whole(story: Story) -> Story:
    """From the submission to the end."""
    return end(apply(go_on(say(plan(change(story))))))


def _begin(story: Story, task_id: str, attempt: int, machine: str, *, phase: str, sha256: str) -> Story:
    _tell_more(story.grant(task_id, attempt, machine))
    story.begin(task_id, attempt, machine)
    story.history.runs[-1].phase, story.history.runs[-1].plan = phase, sha256
    return _tell_more(story.event("task.started", task_id))


def _tell_more(story: Story, data: Mapping[str, object] | None = None) -> Story:
    """The last event says of what type its task is, and what is particular to it."""
    at, event = story.history.commits[-1]
    story.history.commits[-1] = Commit(at, event._replace(type=PLAN_AND_APPLY, data=data))
    return story


def _planned_again(story: Story) -> Story:
    """The first plan is lost with its agent, and another one made and applied."""
    _begin(change(story), "t1", 1, "a1", phase=PLAN, sha256="").end(None).die()
    _tell_more(story.requeue())
    plan(story, attempt=2, sha256=OTHER)
    _begin(go_on(say(story, sha256=OTHER)), "t1", 3, "a1", phase=APPLY, sha256=OTHER)
    return end(story)


GOOD: dict[str, Tell] = {
    "a plan that was approved and applied": whole,
    "a plan that was rejected": lambda s: _tell_more(
        say(plan(change(s)), verb="reject").event("task.cancelled", reason="approval_denied")
    ),
    "a plan that nobody approved in time": lambda s: _tell_more(
        plan(change(s)).event("task.timeout", reason="approval_expired")
    ),
    "an approval of another plan that was refused": lambda s: end(
        apply(go_on(say(say(plan(change(s)), sha256=OTHER, done=False))))
    ),
    "a plan that was made again": _planned_again,
    "a workspace that is handed on": lambda s: whole(
        end(apply(go_on(say(plan(change(s, "t0", workspace="site"), "t0"), "t0"), "t0"), "t0"), "t0")
    ),
    "two plans beside each other": lambda s: _two_plans(s, most=2),
    "an apply under a rate of one, soon after its plan": lambda s: end(apply(go_on(say(plan(change(s, rate=RATE)))))),
}


def _two_plans(story: Story, *, most: int) -> Story:
    story.history.plan_limits = {"a1": most}
    for task_id in ("t1", "t2"):
        _begin(change(story, task_id), task_id, 1, "a1", phase=PLAN, sha256=OURS)
    for number, task_id in enumerate(("t1", "t2")):
        story.end(run=number)
        story.rows[task_id]["failed"] = [FailedAttempt(ref_of(task_id), "planned", (), ())]
        _tell_more(story.event("task.plan_completed", task_id), {"plan_sha256": OURS})
        _tell_more(story.event("task.cancelled", task_id))
    return story


def _beside(story: Story) -> Story:
    """Something begins while a change is applied."""
    apply(go_on(say(plan(change(story)))))
    story.submit("t2").work("t2").complete("t2")
    return _tell_more(story.end(run=1).event("task.completed", "t1"))


BAD: dict[str, tuple[str, Tell]] = {
    "a plan was applied that nobody had approved": (
        "only_what_was_approved_is_applied",
        lambda s: end(apply(go_on(plan(change(s))))),
    ),
    "a plan was applied before it was approved": (
        "only_what_was_approved_is_applied",
        lambda s: say(end(apply(go_on(plan(change(s)))))),
    ),
    "another plan was applied": (
        "only_what_was_approved_is_applied",
        lambda s: end(apply(go_on(say(plan(change(s)))), sha256=OTHER)),
    ),
    "another plan was approved": (
        "every_apply_has_its_approval",
        lambda s: end(apply(go_on(say(plan(change(s)), sha256=OTHER)))),
    ),
    "an approval that was confirmed did nothing": (
        "what_was_approved_goes_on",
        lambda s: _tell_more(say(plan(change(s))).event("task.timeout", reason="approval_expired")),
    ),
    "an approval of a plan that there never was was confirmed": (
        "what_was_approved_goes_on",
        lambda s: end(apply(go_on(say(say(plan(change(s))), sha256=OTHER)))),
    ),
    "a task was granted in the workspace of one that waits for an approval": (
        "a_workspace_has_one_task_at_a_time",
        lambda s: plan(change(plan(change(s, workspace="site")), "t2", workspace="site"), "t2"),
    ),
    "something began beside an apply": ("an_apply_is_alone_on_its_machine", _beside),
    "more plans were made than may be": (
        "no_more_plans_are_made_than_may_be",
        lambda s: _two_plans(s, most=1),
    ),
    "a plan was made under a rate of one, soon after another": (
        "a_rate_is_never_exceeded",
        lambda s: plan(change(plan(change(s, rate=RATE)), "t2", rate=RATE), "t2"),
    ),
    "an apply was let go, and planned again too soon under a rate of one": (
        "a_rate_is_never_exceeded",
        lambda s: plan(_tell_more(go_on(say(plan(change(s, rate=RATE)))).event("task.pending")), attempt=2),
    ),
    "an apply began from nowhere": ("events_follow_the_table", lambda s: go_on(change(s))),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_history_is_accepted(name: str) -> None:
    assert check(GOOD[name](Story()).told()) == []


@pytest.mark.parametrize("name", BAD)
def test_a_bad_history_is_refused_for_the_right_reason(name: str) -> None:
    rule, tell = BAD[name]

    assert rule in {violation.rule for violation in check(tell(Story()).told())}
