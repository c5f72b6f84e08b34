"""What a `MemoryStore` keeps, and how a batch gets there: in one step, wholly or not at all."""

from __future__ import annotations

from dataclasses import dataclass, field

from nodelink.task import TERMINAL, AttemptRef, Finished
from nodelink.values import evolve
from nodelink_server.core.attempt import Hold
from nodelink_server.core.blob_ports import MOST_ARTIFACTS, MOST_STATES, Kept, NewArtifact, NewState
from nodelink_server.core.deeds import Deed
from nodelink_server.core.pauses import Pause
from nodelink_server.core.ports import (
    AgentRecord,
    AgentSessionRecord,
    Answer,
    Batch,
    Change,
    Keeping,
    LoadedCheckpoint,
    LogRow,
    Receipt,
    Replay,
    TaskEvent,
    Workspace,
)
from nodelink_server.core.states import GRANTED
from nodelink_server.core.statistics import Counts, StatsKey
from nodelink_server.core.task import Task, workspace_key
from nodelink_server.core.task_record import LateResult
from nodelink_server.store.history import (
    Noted,
    Past,
    Steps,
    event_of,
    events_of,
    merged,
    noted,
    past_by,
    revisions_of,
    steps_of,
)
from nodelink_server.store.memory_shelf import Shelf

MOST_PER_AGENT = 1_000


@dataclass(slots=True)
class Row:
    """A task on the disk, with all that hangs on it."""

    task: Task
    payload: bytes
    steps: Steps
    updated_at: int
    finished: Finished | None = None
    past: list[Past] = field(default_factory=list)
    notes: list[Noted] = field(default_factory=list)
    late: dict[tuple[int, int], LateResult] = field(default_factory=dict)


@dataclass(slots=True)
class KeptKey:
    """What an idempotency key stands for."""

    task_id: str
    digest: bytes
    at: int


@dataclass(slots=True)
class Disk:
    """What is durable. Give it to the next `MemoryStore` to restart a server."""

    cluster_id: str = "cluster"
    start_number: int = 0
    control_ms: int = 0
    committed_at: int = 0
    revision: int = 0
    last_key: int = 0
    rows: dict[int, Row] = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)
    live: dict[int, Row] = field(default_factory=dict)
    holds: dict[Hold, int] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)
    workspaces: dict[str, Workspace] = field(default_factory=dict)
    pauses: dict[str, Pause] = field(default_factory=dict)
    rates: dict[Hold, int] = field(default_factory=dict)
    unique: dict[str, int] = field(default_factory=dict)
    idempotency: dict[tuple[str, str], KeptKey] = field(default_factory=dict)
    blocks: list[tuple[int, int, list[TaskEvent]]] = field(default_factory=list)
    agents: dict[str, AgentRecord] = field(default_factory=dict)
    sessions: dict[tuple[str, int], AgentSessionRecord] = field(default_factory=dict)
    output: dict[tuple[int, int], dict[int, LogRow]] = field(default_factory=dict)
    minutes: dict[StatsKey, Counts] = field(default_factory=dict)
    hours: dict[StatsKey, Counts] = field(default_factory=dict)
    answers: dict[tuple[str, str], Answer] = field(default_factory=dict)
    deeds: list[Deed] = field(default_factory=list)
    blobs: Shelf = field(default_factory=Shelf)
    loaded: LoadedCheckpoint | None = None
    is_revived: bool = False

    def audit(self, deed: Deed | None) -> None:
        """Keep what somebody has changed, if that is anything."""
        if deed is not None and deed.before != deed.after:
            self.deeds.append(deed)


class Commit:
    """One batch on its way to the disk. Nothing in it awaits, so that it is there wholly or not at all."""

    def __init__(self, disk: Disk, batch: Batch) -> None:
        self._disk = disk
        self._batch = batch
        self._events: list[TaskEvent] = []
        self._replays: dict[int, Replay] = {}
        self._locked: set[int] = set()
        self._clashes: dict[int, str] = {}

    def run(self) -> Receipt:
        """Put it there."""
        disk, batch = self._disk, self._batch
        places = [self._change(index, change) for index, change in enumerate(batch.changes)]
        self._keep_evidence()
        refused = self._keep_agents() if batch.agents or batch.deeds or batch.sessions else frozenset()
        for notice in batch.notices:
            disk.revision += 1
            self._events.append(event_of(notice, disk.revision, batch.now))
        kept = [self._stand_for(keeping) for keeping in batch.keepings]
        disk.minutes.update(batch.statistics)
        self._keep_pauses()
        disk.is_revived |= bool(batch.revived)
        disk.control_ms = batch.control_ms
        disk.committed_at = batch.now
        if self._events:
            disk.blocks.append((disk.revision, batch.now, self._events))
        return Receipt(
            revisions=[revision for revision, _ in places],
            keys=[key for _, key in places],
            events=list(self._events),
            replays=self._replays,
            refused_agents=refused,
            locked=frozenset(self._locked),
            clashes=self._clashes,
            kept=kept,
        )

    def _keep_agents(self) -> frozenset[int]:
        """Keep agents, and what was done to them and by them. Returns which of them are refused."""
        batch = self._batch
        refused = frozenset(index for index, agent in enumerate(batch.agents) if not self._upsert(agent))
        unkept = {f"agent:{batch.agents[index].id}" for index in refused}
        for deed in batch.deeds:
            self._disk.audit(None if deed.about in unkept else deed)
        self._keep_sessions({(batch.agents[index].id, batch.agents[index].session) for index in refused})
        return refused

    def _stand_for(self, keeping: Keeping) -> Kept:
        """Let a blob stand for something, if it may, and have that told."""
        disk, wish = self._disk, keeping.wish
        kept = self._attach(wish) if isinstance(wish, NewArtifact) else self._save_state(wish)
        if kept is Kept.KEPT:
            disk.revision += 1
            disk.audit(keeping.deed)
            self._events.append(event_of(keeping.notice, disk.revision, self._batch.now))
        return kept

    def _attach(self, wish: NewArtifact) -> Kept:
        task_id, artifact, workspace, holder = wish
        shelf, key = self._disk.blobs, self._disk.keys.get(task_id)
        if key is None:
            return Kept.NO_TASK
        if holder is not None and not self._is_current(holder):
            return Kept.NOT_CURRENT
        if (artifact.sha256, workspace) not in shelf.rows:
            return Kept.NO_BLOB
        name = (key, artifact.name, artifact.attempt)
        stored = shelf.artifacts.get(name)
        if stored is not None:
            return Kept.ALREADY if stored[1].sha256 == artifact.sha256 else Kept.TAKEN
        if sum(of == key for of, _, _ in shelf.artifacts) >= MOST_ARTIFACTS:
            return Kept.TOO_MANY
        shelf.artifacts[name] = (workspace, artifact)
        shelf.told[name] = self._disk.revision + 1
        return Kept.KEPT

    def _save_state(self, wish: NewState) -> Kept:
        state, after, holder = wish
        shelf = self._disk.blobs
        if holder is not None and not self._is_current(holder):
            return Kept.NOT_CURRENT
        if holder is None and Hold(workspace_key(state.workspace), 0) in self._disk.holds:
            return Kept.HELD
        if (state.sha256, state.workspace) not in shelf.rows:
            return Kept.NO_BLOB
        there = shelf.states.setdefault(state.workspace, [])
        if (there[-1].version if there else 0) != after:
            return Kept.CHANGED
        there.append(state)
        del there[:-MOST_STATES]
        return Kept.KEPT

    def _is_current(self, holder: AttemptRef) -> bool:
        row = self._disk.rows.get(self._disk.keys.get(holder.task_id, 0))
        return row is not None and row.task.status in GRANTED and row.task.ref == holder

    def _change(self, index: int, change: Change) -> tuple[int, int]:
        """Take a change, or refuse it. Returns (revision, key), (0, 0) if refused."""
        row = self._disk.rows.get(self._disk.keys.get(change.task.id, 0))
        replay = self._replay_of(change)
        if replay is not None:
            self._replays[index] = replay
            return 0, 0
        if (row.task.revision if row else 0) != change.expected:
            return 0, 0
        owner = self._disk.unique.get(change.claims)
        if owner is not None:
            self._clashes[index] = self._disk.rows[owner].task.id
            return 0, 0
        places_free = all(self._is_free(hold, row) for hold in change.takes)
        if not places_free or not self._is_in_time(change):
            self._locked.add(index)
            return 0, 0
        return self._take(change, row)

    def _is_free(self, hold: Hold, row: Row | None) -> bool:
        """Whether a task can have a place: nobody holds it, or the task itself does."""
        holder = self._disk.holds.get(hold)
        return holder is None or (row is not None and holder == row.task.key)

    def _is_in_time(self, change: Change) -> bool:
        """Whether every place under a rate that a change takes is free by then."""
        rates = self._disk.rates
        return all(rates.get(Hold(use.key, use.place), 0) <= use.since for use in change.uses)

    def _replay_of(self, change: Change) -> Replay | None:
        if change.idempotency is None:
            return None
        wanted = change.idempotency
        kept = self._disk.idempotency.get((wanted.caller, wanted.key))
        if kept is None or kept.task_id == change.task.id:
            return None
        return Replay(kept.task_id, kept.digest == wanted.digest)

    def _take(self, change: Change, row: Row | None) -> tuple[int, int]:
        disk, first = self._disk, self._disk.revision + 1
        disk.revision += revisions_of(change)
        if row is None:
            row = self._insert(change)
        elif change.superseded is not None:
            row.past.append(past_by(change, first, steps=row.steps, stop=row.task.stop, ready_at=row.task.ready_at))
        before = row.task.grants
        row.task = evolve(change.task, key=row.task.key, revision=disk.revision, payload=None)
        row.steps = merged(row.steps, steps_of(change, first))
        row.finished = change.finished or (row.finished if row.task.grants == before else None)
        row.updated_at = self._batch.now
        if change.remark is not None:
            row.notes.append(noted(change, first))
        self._hold(change, row.task.key)
        self._hand_on(change, row.task.key)
        if row.task.status in TERMINAL:
            disk.live.pop(row.task.key, None)
        else:
            disk.live[row.task.key] = row
        self._events.extend(events_of(change, first, self._batch.now))
        return disk.revision, row.task.key

    def _hold(self, change: Change, key: int) -> None:
        holds = self._disk.holds
        for hold in change.frees:
            if holds.get(hold) == key:
                del holds[hold]
        holds.update(dict.fromkeys(change.takes, key))
        self._disk.rates.update((Hold(use.key, use.place), use.until) for use in change.uses)

    def _hand_on(self, change: Change, key: int) -> None:
        """Let a task yield its unique key, or have one."""
        unique = self._disk.unique
        if unique.get(change.yields) == key:
            del unique[change.yields]
        if change.claims:
            unique[change.claims] = key

    def _keep_evidence(self) -> None:
        for key, late in self._batch.evidence:
            row = self._disk.rows.get(key)
            if row is not None and not _has_failed(row, late.attempt):
                row.late.setdefault((late.attempt, late.fence), late)

    def _insert(self, change: Change) -> Row:
        disk, task = self._disk, change.task
        disk.last_key += 1
        row = Row(evolve(task, key=disk.last_key), task.payload or b"", Steps(), self._batch.now)
        disk.rows[disk.last_key] = row
        disk.keys[task.id] = disk.last_key
        if change.idempotency is not None:
            named = change.idempotency
            disk.idempotency[named.caller, named.key] = KeptKey(task.id, named.digest, task.created_at)
        return row

    def _upsert(self, agent: AgentRecord) -> bool:
        stored = self._disk.agents.get(agent.id)
        if stored is not None and agent.session < stored.session:
            return False
        self._disk.agents[agent.id] = agent
        return True

    def _keep_pauses(self) -> None:
        for step in self._batch.pauses:
            self._disk.pauses.pop(step.scope, None)
            if step.pause is not None:
                self._disk.pauses[step.scope] = step.pause

    def _keep_sessions(self, refused: set[tuple[str, int]]) -> None:
        kept = self._disk.sessions
        for session in self._batch.sessions:
            name = (session.agent_id, session.number)
            stored = kept.get(name)
            begins = session.disconnected_at is None and stored is None and name not in refused
            ends = session.disconnected_at is not None and stored is not None and stored.disconnected_at is None
            if begins or ends:
                kept[name] = session
            of_agent = sorted(number for agent_id, number in kept if agent_id == session.agent_id)
            for number in of_agent[:-MOST_PER_AGENT]:
                del kept[session.agent_id, number]


def _has_failed(row: Row, attempt: int) -> bool:
    """Whether the end of an attempt was settled by its own word, though its task went on."""
    return any(past.superseded.attempt.number == attempt and past.superseded.failure is not None for past in row.past)
