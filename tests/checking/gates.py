"""Measures of a run that are no promises and yet must stay small: needless repetition, doubt and loss."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from nodelink.task import Outcome
from tests.checking.history import History
from tests.checking.loading import what_lasts
from tests.checking.past import grants_of


@dataclass(slots=True)
class Counts:
    """Summed over runs. `reruns`: a grant was given up whose work lived or had ended well; `doubts`: a task was in
    doubt; `needless_losses`: a task was lost whose work lived, had ended, or never began.
    """

    tasks: int = 0
    grants: int = 0
    reruns: int = 0
    doubts: int = 0
    losses: int = 0
    needless_losses: int = 0

    def add(self, other: Counts) -> None:
        """Count another run in."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


@dataclass(frozen=True, slots=True)
class Gate:
    """How often something may happen, among a thousand tasks."""

    name: str
    most_per_thousand: float


def count(history: History) -> Counts:
    """What a run comes to, without what was lost with a database."""
    history = what_lasts(history)
    counts = Counts(tasks=len(history.kept))
    runs = {(run.ref.task_id, run.ref.attempt): run for run in history.runs}
    for name, grant in grants_of(history).items():
        run = runs.get(name)
        counts.grants += 1
        counts.doubts += len(grant.doubts)
        if grant.until is None or not grant.is_lost:
            continue
        lived = run is not None and (run.ended_at is None or run.ended_at > grant.until)
        ended_well = run is not None and run.kept and run.outcome is Outcome.COMPLETED
        counts.reruns += grant.over == "task.pending" and (lived or ended_well)
        counts.losses += grant.over == "task.lost"
        counts.needless_losses += grant.over == "task.lost" and (run is None or lived or ended_well)
    return counts


def breaches(counts: Counts, gates: tuple[Gate, ...]) -> Iterator[str]:
    """Where something has happened more often than its gate lets through."""
    for gate in gates:
        rate = 1_000 * getattr(counts, gate.name) / max(1, counts.tasks)
        if rate > gate.most_per_thousand:
            yield f"{gate.name}: {rate:.1f} among a thousand tasks; {gate.most_per_thousand} are let through"
