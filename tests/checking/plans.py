"""Plans and applies: nothing is applied but what was approved, one at a time in a workspace, alone on its machine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from nodelink.plan import APPLY, PLAN, PLAN_AND_APPLY
from tests.checking.history import Approval, History, Known, Run
from tests.checking.past import ENDS, LET_GO, Grant, commits_by_task, grants_of
from tests.checking.rule import Rule, needs


def only_what_was_approved_is_applied(history: History) -> Iterator[str]:
    """Work that applies a plan has exactly the one that was made last before, and that somebody has approved."""
    approved = {(one.task_id, one.sha256): one.at for one in reversed(_approvals(history))}
    for task_id, runs in _changes(history).items():
        made = ""
        for run in sorted(runs, key=lambda run: run.ref.attempt):
            if run.phase == PLAN:
                made = run.plan or made
            elif run.plan != made:
                yield f"{run.ref} was given plan {run.plan[:8] or 'none'}; {made[:8] or 'none'} was made before"
            elif approved.get((task_id, run.plan), run.began_at + 1) > run.began_at:
                yield f"{run.ref} applied plan {run.plan[:8]} at {run.began_at:.3f}; nobody had approved it"


def every_apply_has_its_approval(history: History) -> Iterator[str]:
    """A task waits to apply a plan only after an approval of the plan that waited for one."""
    approved = {(one.task_id, one.sha256) for one in _approvals(history)}
    for task_id, commits in commits_by_task(history).items():
        waiting = before = ""
        for at, event in commits:
            if event.name == "task.plan_completed":
                waiting = str((event.data or {}).get("plan_sha256", ""))
            is_approved = event.name == "task.apply_pending" and before == "plan_completed"
            if is_approved and (task_id, waiting) not in approved:
                yield f"{task_id} was to apply plan {waiting[:8]} at {at:.3f}; nobody had approved it"
            before = event.status


def what_was_approved_goes_on(history: History) -> Iterator[str]:
    """Who is told that a plan is approved, or rejected, has been told the truth; of another plan nobody is."""
    plans: dict[str, set[str]] = defaultdict(set)
    reached: dict[str, set[str]] = defaultdict(set)
    for _, event in history.commits:
        reached[event.task_id].add(event.name)
        if event.name == "task.plan_completed":
            plans[event.task_id].add(str((event.data or {}).get("plan_sha256", "")))
    for one in history.approvals:
        if not one.done:
            continue
        follows = "task.apply_pending" if one.verb == "approve" else "task.cancelled"
        if one.sha256 not in plans[one.task_id] or follows not in reached[one.task_id]:
            yield f"{one.verb} of plan {one.sha256[:8]} of {one.task_id} was confirmed, and did nothing"


def a_workspace_has_one_task_at_a_time(history: History) -> Iterator[str]:
    """From its grant until it has ended, or waits again, a task alone has its workspace: from its plan to its apply."""
    wanted = {task_id: one.workspace for one in history.requests for task_id in one.accepted if one.workspace}
    holder: dict[str, str] = {}
    for at, event in history.commits:
        workspace = wanted.get(event.task_id)
        if workspace is None:
            continue
        if event.name == "task.sent":
            if holder.get(workspace, event.task_id) != event.task_id:
                yield f"{event.task_id} was granted at {at:.3f}; {holder[workspace]} has workspace {workspace}"
            holder[workspace] = event.task_id
        elif event.name in ENDS | LET_GO and holder.get(workspace) == event.task_id:
            del holder[workspace]


def an_apply_is_alone_on_its_machine(history: History) -> Iterator[str]:
    """While work applies a change, nothing else runs beside it that counts."""
    grants = grants_of(history)
    for runs in _by_machine(history).values():
        for later in runs:
            for beside in _beside(later, runs, grants):
                if APPLY in (later.phase, beside.phase):
                    yield f"{later.ref} began at {later.began_at:.3f} on {later.machine}, beside {beside.ref}"


def no_more_plans_are_made_than_may_be(history: History) -> Iterator[str]:
    """A machine makes so many plans at a time."""
    grants = grants_of(history)
    for machine, runs in _by_machine(history).items():
        most = history.plan_limits.get(machine)
        plans = [run for run in runs if run.phase == PLAN]
        for later in plans:
            number = 1 + len(_beside(later, plans, grants))
            if most is not None and number > most:
                yield f"{later.ref} began at {later.began_at:.3f} on {machine}, as plan {number} of {most}"


def _approvals(history: History) -> Sequence[Approval]:
    return [one for one in history.approvals if one.verb == "approve" and one.done is not False]


def _changes(history: History) -> Mapping[str, list[Run]]:
    """The runs of tasks that plan and apply, by task."""
    names = {event.task_id for _, event in history.commits if event.type == PLAN_AND_APPLY}
    found: dict[str, list[Run]] = defaultdict(list)
    for run in history.runs:
        if run.ref.task_id in names:
            found[run.ref.task_id].append(run)
    return found


def _by_machine(history: History) -> Mapping[str, list[Run]]:
    found: dict[str, list[Run]] = defaultdict(list)
    for run in history.runs:
        found[run.machine].append(run)
    return {machine: runs for machine, runs in found.items() if any(run.phase for run in runs)}


def _beside(later: Run, runs: Sequence[Run], grants: Mapping[tuple[str, int], Grant]) -> Sequence[Run]:
    """What ran when a run began, and counted then. Its own moment is that of whatever began after it."""
    if not _counts(later, later.began_at, grants):
        return []
    return [
        run
        for run in runs
        if run is not later
        and run.began_at <= later.began_at
        and (run.ended_at is None or run.ended_at > later.began_at)
        and _counts(run, later.began_at, grants)
    ]


def _counts(run: Run, at: float, grants: Mapping[tuple[str, int], Grant]) -> bool:
    """Whether the server counts on a run at a moment: it has not been given up, and is not in doubt."""
    grant = grants.get((run.ref.task_id, run.ref.attempt))
    if grant is None or (grant.until is not None and grant.until <= at):
        return False
    return not any(doubt <= at for doubt in grant.doubts)


RULES: tuple[Rule, ...] = (
    needs(only_what_was_approved_is_applied, Known.PLANS, Known.RUNS, Known.RUN_ENDS, Known.EVENTS),
    needs(every_apply_has_its_approval, Known.PLANS, Known.EVENTS),
    needs(what_was_approved_goes_on, Known.PLANS, Known.EVENTS),
    needs(a_workspace_has_one_task_at_a_time, Known.REQUESTS, Known.EVENTS),
    needs(an_apply_is_alone_on_its_machine, Known.PLANS, Known.RUNS, Known.RUN_ENDS, Known.EVENTS, Known.EVENT_TIMES),
    needs(no_more_plans_are_made_than_may_be, Known.PLANS, Known.RUNS, Known.RUN_ENDS, Known.EVENTS, Known.EVENT_TIMES),
)
