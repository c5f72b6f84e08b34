"""A history for people: what happened, in order of time."""

from __future__ import annotations

from collections.abc import Iterator

from tests.checking.history import Commit, History, Life, Run


def trace(history: History) -> list[str]:
    """One line for each thing that happened."""
    lines = [
        *(line for commit in history.commits for line in _of_commit(commit)),
        *(line for run in history.runs for line in _of_run(run)),
        *(line for life in history.lives for line in _of_life(life)),
        *((deed.at, f"person     {deed.verb} of {deed.task_id}: done {deed.done}") for deed in history.deeds),
        *((spared.begin, f"spared     until {spared.end:.3f}: {spared.why}") for spared in history.spared),
        *((sight.at, f"caller     {sight.verb} showed {sight.task_id} as {sight.status}") for sight in history.sights),
    ]
    return [f"{at:9.3f}  {what}" for at, what in sorted(lines)]


def _of_commit(commit: Commit) -> Iterator[tuple[float, str]]:
    event = commit.event
    words = [event.task_id or event.agent_id, event.name, event.reason]
    if event.task_id and event.attempt:
        words.append(f"attempt {event.attempt} on {event.agent_id}")
    yield commit.at, f"{event.revision:<9}  " + " ".join(word for word in words if word)


def _of_run(run: Run) -> Iterator[tuple[float, str]]:
    name = f"{run.ref.task_id} attempt {run.ref.attempt} fence {run.ref.fence:x} on {run.machine}"
    yield run.began_at, f"work       {name} began{'' if run.granted else ' WITHOUT A GRANT'}"
    if run.ended_at is not None:
        end = run.outcome or ("its lease was over" if run.lapsed else "unseen")
        yield run.ended_at, f"work       {name} ended: {end}{'' if run.kept else ', and nothing has kept that'}"


def _of_life(life: Life) -> Iterator[tuple[float, str]]:
    what = f"{life.kind:<10} {life.machine} {life.kind} {life.number}"
    yield life.began_at, f"{what} began"
    if life.ended_at is not None:
        yield life.ended_at, f"{what} {'left' if life.left else 'died'}"
