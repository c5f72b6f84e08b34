"""What a store promises, in the simplest way: one change after the other, in dictionaries."""

from __future__ import annotations

from dataclasses import dataclass, field

from nodelink.task import Finished, TaskStatus
from nodelink.values import evolve
from nodelink_server.core.attempt import Hold, Superseded
from nodelink_server.core.ports import AgentRecord, Batch, Change, Receipt, Replay
from nodelink_server.core.states import GRANTED, HOLDING
from nodelink_server.core.task import Task
from nodelink_server.core.task_record import LateResult, Remark


@dataclass(slots=True)
class Kept:
    """What is known of a task. `versions`: its values so far, the last is the current one."""

    versions: list[Task]
    finished: Finished | None = None
    earlier: list[Superseded] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    late: dict[tuple[int, int], LateResult] = field(default_factory=dict)

    @property
    def task(self) -> Task:
        """Its current value."""
        return self.versions[-1]


@dataclass(slots=True)
class Model:
    """What a database holds."""

    tasks: dict[str, Kept] = field(default_factory=dict)
    holds: dict[Hold, str] = field(default_factory=dict)
    rates: dict[Hold, int] = field(default_factory=dict)
    names: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    agents: dict[str, AgentRecord] = field(default_factory=dict)
    events: list[tuple[int, str, str]] = field(default_factory=list)
    """Revision, name and task of each event."""
    revision: int = 0
    last_key: int = 0
    control_ms: int = 0

    def apply(self, batch: Batch) -> Receipt:
        """What a store answers to a batch, its events apart."""
        replays: dict[int, Replay] = {}
        locked: set[int] = set()
        clashes: dict[int, str] = {}
        revisions, keys = [], []
        for index, change in enumerate(batch.changes):
            if (replay := self._replay(change)) is not None:
                replays[index] = replay
            taken = replay is None and self._is_expected(change)
            if taken and (owner := self._owner(change.claims)):
                clashes[index] = owner
                taken = False
            if taken and not self._has_room(change):
                locked.add(index)
                taken = False
            revision, key = self._take(change) if taken else (0, 0)
            revisions.append(revision)
            keys.append(key)
        for key, late in batch.evidence:
            for kept in self.tasks.values():
                if kept.task.key == key:
                    kept.late.setdefault((late.attempt, late.fence), late)
        refused = frozenset(index for index, agent in enumerate(batch.agents) if not self._upsert(agent))
        self.control_ms = batch.control_ms
        return Receipt(
            revisions=revisions,
            keys=keys,
            events=(),
            replays=replays,
            refused_agents=refused,
            locked=frozenset(locked),
            clashes=clashes,
        )

    def granted(self) -> list[Task]:
        """The tasks that are with agents, in the order of their keys."""
        return [kept.task for kept in self.tasks.values() if kept.task.status in GRANTED]

    def check(self) -> None:
        """Those tasks hold their places that are with an agent, and no others, and nobody holds another's."""
        held = [
            (hold, kept.task.id)
            for kept in self.tasks.values()
            if kept.task.status in HOLDING and kept.task.attempt is not None
            for hold in kept.task.attempt.holds
        ]
        assert self.holds == dict(held)
        assert len(self.holds) == len(held)
        unique = [kept.task.unique_key for kept in self.tasks.values() if kept.task.unique_key]
        assert len(set(unique)) == len(unique)

    def used(self) -> dict[Hold, int]:
        """The places under rates that are taken still, and until when."""
        return {place: until for place, until in self.rates.items() if until > self.control_ms}

    def lines(self) -> dict[tuple[str, str], tuple[int, int]]:
        """From where to where the waiting tasks of each fairness key stand."""
        found: dict[tuple[str, str], tuple[int, int]] = {}
        for task in self.pending():
            if task.fair_tag is not None:
                line = task.spec.pool, task.spec.fairness_key
                first, last = found.get(line, (task.fair_tag, task.fair_tag))
                found[line] = min(first, task.fair_tag), max(last, task.fair_tag)
        return found

    def pending(self) -> list[Task]:
        """The tasks that wait for an agent, in the order of their keys."""
        return [kept.task for kept in self.tasks.values() if kept.task.status is TaskStatus.PENDING]

    def _has_room(self, change: Change) -> bool:
        """Whether every place that a change takes is free, or its task's already."""
        in_time = all(self.rates.get(Hold(use.key, use.place), 0) <= use.since for use in change.uses)
        return in_time and all(self.holds.get(hold, change.task.id) == change.task.id for hold in change.takes)

    def _owner(self, unique_key: str) -> str:
        """The live task that has a unique key; empty: none has, or none is asked for."""
        owners = (kept.task.id for kept in self.tasks.values() if kept.task.unique_key == unique_key)
        return next(owners, "") if unique_key else ""

    def _is_expected(self, change: Change) -> bool:
        kept = self.tasks.get(change.task.id)
        return change.expected == (kept.task.revision if kept else 0)

    def _replay(self, change: Change) -> Replay | None:
        named = change.idempotency
        if named is None or (known := self.names.get((named.caller, named.key))) is None:
            return None
        task_id, digest = known
        return None if task_id == change.task.id else Replay(task_id, digest == named.digest)

    def _take(self, change: Change) -> tuple[int, int]:
        for name in change.events:
            self.revision += 1
            self.events.append((self.revision, name, change.task.id))
        if not change.events:
            self.revision += 1
        kept = self.tasks.get(change.task.id)
        if kept is None:
            self.last_key += 1
            kept = self.tasks[change.task.id] = Kept([evolve(change.task, key=self.last_key)])
            if (named := change.idempotency) is not None:
                self.names[named.caller, named.key] = (change.task.id, named.digest)
        key = kept.task.key
        kept.versions.append(evolve(change.task, key=key, revision=self.revision, payload=None))
        kept.finished = change.finished or kept.finished
        if change.superseded is not None:
            kept.earlier.append(evolve(change.superseded, attempt=evolve(change.superseded.attempt, holds=())))
        if change.remark is not None:
            kept.remarks.append(change.remark._replace(revision=self.revision))
        for hold in change.frees:
            if self.holds.get(hold) == change.task.id:
                del self.holds[hold]
        self.holds.update(dict.fromkeys(change.takes, change.task.id))
        self.rates.update({Hold(use.key, use.place): use.until for use in change.uses})
        return self.revision, key

    def _upsert(self, agent: AgentRecord) -> bool:
        stored = self.agents.get(agent.id)
        if stored is not None and agent.session < stored.session:
            return False
        self.agents[agent.id] = agent
        return True
