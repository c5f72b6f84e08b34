"""Histories told by hand, one step a line. Each step takes a second; what is not said is as it should be."""

from __future__ import annotations

from nodelink.task import AttemptRef, Execution, LogStream, Outcome, TaskStatus
from nodelink_server.core.extensions import BY_WORK
from nodelink_server.core.ports import LogRow, TaskEvent
from nodelink_server.core.task_record import LateResult, Remark, RemarkKind
from tests.checking.history import (
    Ack,
    Commit,
    Contact,
    Deed,
    Drain,
    Extension,
    FailedAttempt,
    Heard,
    History,
    Kept,
    Life,
    Listening,
    Load,
    Patience,
    Reprioritized,
    Request,
    Run,
    Sight,
    Spared,
    Told,
    Wished,
)
from tests.checking.printed import output_of

ONCE, REPLAYABLE, EXCLUSIVE = Execution.ONCE, Execution.REPLAYABLE, Execution.EXCLUSIVE
FENCES = 100
_STATUS_AFTER = {"task.started": "in_progress", "task.recovered": "in_progress"}
_WAITING = frozenset({"created", "scheduled", "pending"})
_WITH_AGENTS = frozenset({"sent", "in_progress", "cancelling"})
_REMARKS = {"abandon": RemarkKind.ABANDONED, "resolve": RemarkKind.RESOLVED, "rerun": RemarkKind.RERUN}


def ref_of(task_id: str = "t1", attempt: int = 1) -> AttemptRef:
    """The name of an attempt."""
    return AttemptRef(task_id, attempt, FENCES + attempt)


def printed(begin: int, length: int, *, ref: AttemptRef | None = None, gap: int = 0) -> LogRow:
    """Output of the first attempt as it is stored."""
    ref = ref or ref_of()
    data = b"" if gap else output_of(ref, LogStream.STDOUT, begin, length)
    return LogRow(1, ref.attempt, LogStream.STDOUT, begin, begin, data, gap)


class Story:
    """A history in the making."""

    def __init__(self) -> None:
        self.history = History(patience=Patience(lease=60, lost_after=200, unknown_after=60))
        self.now = 0.0
        self.rows: dict[str, dict[str, object]] = {}
        """What the database holds in the end, where it differs from what the events say."""
        self._statuses: dict[str, str] = {}
        self._attempts: dict[str, tuple[int, str]] = {}
        self._checkpoint = (0.0, 0, self._statuses, self._attempts)

    # -- callers and people -------------------------------------------------------------------------------------------

    def submit(
        self, task_id: str = "t1", execution: Execution = REPLAYABLE, *, lock: str = "", key: str | None = None
    ) -> Story:
        """A caller hands in a task and is told that it is accepted."""
        request = Request(token=f"token {task_id}", execution=execution, lock=lock, key=key, accepted=[task_id])
        self.history.requests.append(request)
        self.rows[task_id] = {"execution": execution, "lock": lock, "key": key, "token": request.token}
        return self.event("task.created", task_id)

    def decide(self, verb: str, task_id: str = "t1", *, done: bool | None = True) -> Story:
        """A person decides about a task."""
        self.history.deeds.append(Deed(self.now, verb, task_id, done))
        if done:
            written = self.rows[task_id].setdefault("remarks", [])
            assert isinstance(written, list)
            written.append(Remark(_REMARKS[verb], int(self.now), "because", "a person"))
        return self

    def drain(self, machine: str = "a1", *, seconds: float = float("inf")) -> Story:
        """A person has an agent become empty, for so long."""
        self.history.drains.append(Drain(machine, self.now, self.now + seconds))
        return self

    def prioritize(self, priority: int, task_id: str = "t1", *, done: bool | None = True) -> Story:
        """A caller gives a task another priority, which the database holds if it was done."""
        self.history.priorities.append(Reprioritized(task_id, priority, done, self.now))
        if done:
            self.rows[task_id]["priority"] = priority
        return self

    def extend(self, task_id: str = "t1", *, number: int = 1, done: bool | None = True, **limits: float) -> Story:
        """A caller gives a task other limits."""
        attempt, _ = self._attempts.get(task_id, (1, ""))
        ref = ref_of(task_id, attempt) if done else None
        one = Extension(self.now, self.now, task_id, done, ref=ref, number=number if done else 0)
        self.history.extensions.append(one._replace(**limits))  # type: ignore[arg-type]  # names of limits
        return self

    def tell(self, task_id: str = "t1", *, number: int = 1, machine: str = "a1") -> Story:
        """An agent, and the work, learn of an extension."""
        self.now += 1
        attempt, _ = self._attempts[task_id]
        self.history.told.append(Told(self.now, machine, ref_of(task_id, attempt), number))
        for run in self.history.runs:
            if run.ref == ref_of(task_id, attempt):
                run.limits.append((self.now, number))
        return self

    def beat(self, machine: str = "a1") -> Story:
        """A heartbeat goes to the server and back."""
        self.now += 2
        self.history.acks.append(Ack(self.now - 1, self.now, machine))
        return self

    def show(self, status: TaskStatus, task_id: str = "t1") -> Story:
        """A caller is told a status."""
        self.history.sights.append(Sight(self.now, "wait", task_id, status))
        return self

    # -- the database -------------------------------------------------------------------------------------------------

    def event(self, name: str, task_id: str = "t1", *, status: str = "", reason: str = "") -> Story:
        """Something is committed."""
        self.now += 1
        attempt, machine = self._attempts.get(task_id, (0, ""))
        status = status or _STATUS_AFTER.get(name, name.removeprefix("task."))
        revision = len(self.history.commits) + 1
        event = TaskEvent(revision, name, 0, task_id, machine, status, reason, attempt=attempt)
        self.history.commits.append(Commit(self.now, event))
        self._statuses[task_id] = status
        if reason:
            self.rows[task_id]["reason"] = reason
        return self

    def grant(self, task_id: str = "t1", attempt: int = 1, machine: str = "a1") -> Story:
        """A task is given to an agent."""
        self._attempts[task_id] = attempt, machine
        return self.event("task.sent", task_id).hear(machine)

    def requeue(self, task_id: str = "t1") -> Story:
        """A task waits again."""
        self.event("task.pending", task_id)
        self._attempts.pop(task_id)
        return self

    def tries(self, most: int) -> Story:
        """The task is to be tried so often."""
        self.history.requests[-1].max_attempts = most
        return self

    def limit(self, seconds: float) -> Story:
        """The task has to have ended within so long."""
        self.history.requests[-1].total_timeout = seconds
        return self

    def asks(self, **fields: object) -> Story:
        """What else the latest request says (`Request`)."""
        for name, value in fields.items():
            setattr(self.history.requests[-1], name, value)
        return self

    def has(self, task_id: str, **fields: object) -> Story:
        """What the database holds of a task in the end, whatever was told."""
        self.rows[task_id].update(fields)
        return self

    def has_slots(self, slots: int, machine: str = "a1") -> Story:
        """A machine has so many slots."""
        self.history.slots = {**self.history.slots, machine: slots}
        return self

    def retry(self, task_id: str = "t1") -> Story:
        """A task that has failed waits for its next try, and then for an agent."""
        attempt, _ = self._attempts[task_id]
        self.event("task.retrying", task_id, status="scheduled")
        failed = FailedAttempt(ref_of(task_id, attempt), "failed", (), ())
        self.rows[task_id]["failed"] = [failed]
        return self.requeue(task_id)

    # -- machines -----------------------------------------------------------------------------------------------------

    def begin(self, task_id: str = "t1", attempt: int = 1, machine: str = "a1") -> Story:
        """Work begins."""
        self.now += 1
        ref = ref_of(task_id, attempt)
        self.history.runs.append(Run(ref=ref, token=f"token {task_id}", machine=machine, began_at=self.now))
        return self

    def end(
        self, outcome: Outcome | None = Outcome.COMPLETED, run: int = -1, *, kept: bool = True, reason: str = ""
    ) -> Story:
        """Work ends. None: nobody sees how."""
        self.now += 1
        work = self.history.runs[run]
        work.ended_at, work.outcome, work.kept, work.reason = self.now, outcome, kept, reason
        return self

    def fail(self, *, asks: float = 0.0) -> Story:
        """The latest work fails, and its task is tried again. `asks`: only after so many seconds."""
        self.end(Outcome.FAILED)
        self.history.runs[-1].asks = asks
        return self.retry(self.history.runs[-1].ref.task_id)

    def go_on_for(self, seconds: float, *, heard: bool = True) -> Story:
        """The latest work gives itself so much time, and the server hears of it."""
        run = self.history.runs[-1]
        self.history.wishes.append(Wished(self.now, run.machine, run.ref, seconds))
        if heard:
            self.rows[run.ref.task_id]["remarks"] = [Remark(RemarkKind.EXTENDED, int(self.now), "timeout", BY_WORK)]
        return self

    def die(self, machine: str = "a1", kind: str = "agent") -> Story:
        """Something of a machine ends."""
        self.now += 1
        self.history.lives.append(Life(machine=machine, kind=kind, number=1, began_at=0, ended_at=self.now))
        return self

    def revive(self, machine: str = "a1") -> Story:
        """A new process of an agent begins, and connects."""
        number = 2 + sum(life.machine == machine and life.kind == "agent" for life in self.history.lives)
        self.history.lives.append(Life(machine=machine, kind="agent", number=number, began_at=self.now))
        self.event_of_agent("agent.connected", machine)
        self.history.contacts.append(Contact(self.now, machine, number))
        return self

    def pause(self, scope: str, state: str = "paused") -> Story:
        """Somebody pauses something, or (state `running`) resumes it."""
        self.now += 1
        told = {"scope": scope, "state": state}
        event = TaskEvent(len(self.history.commits) + 1, "scheduler.status", 0, data=told)
        self.history.commits.append(Commit(self.now, event))
        return self

    def checkpoint(self) -> Story:
        """Somebody has a checkpoint taken."""
        self.now += 1
        self._checkpoint = self.now, len(self.history.commits), dict(self._statuses), dict(self._attempts)
        return self

    def lose(self, *, without: tuple[str, ...] = (), told: bool = False, again: tuple[bool, ...] = ()) -> Story:
        """The database is lost, and a server goes on from the checkpoint. `without`: these tasks had ended, and are not
        in it; `told`: the lost database knew how all the work had ended; `again`: what came of loading it once more.
        """
        self.now += 1
        taken_at, revision, self._statuses, self._attempts = self._checkpoint
        sent = [event for _, event in self.history.commits if event.name == "task.sent"]
        gone = self.rows.keys() - self._statuses.keys()
        load = Load(
            taken_at=taken_at,
            revision=revision,
            lost_at=self.now,
            waiting=frozenset(task_id for task_id, status in self._statuses.items() if status in _WAITING),
            running=frozenset(
                ref_of(task_id, attempt)
                for task_id, (attempt, _) in self._attempts.items()
                if self._statuses[task_id] in _WITH_AGENTS
            ),
            gone=frozenset(gone),
            left_out=[self._row(task_id, self.rows[task_id]) for task_id in without],
            undone=frozenset(ref_of(event.task_id, event.attempt) for event in sent if event.revision > revision),
            told=frozenset(run.ref for run in self.history.runs if told),
            fence=max((ref_of(event.task_id, event.attempt).fence for event in sent), default=0),
            again=[*again],
        )
        self.history.loads.append(load)
        self.rows = {task_id: row for task_id, row in self.rows.items() if not load.lacks(task_id)}
        self.now += 5
        return self

    def event_of_agent(self, name: str, machine: str = "a1") -> Story:
        """Something is committed about an agent."""
        self.now += 1
        event = TaskEvent(len(self.history.commits) + 1, name, 0, "", machine)
        self.history.commits.append(Commit(self.now, event))
        return self

    def hear(self, machine: str = "a1") -> Story:
        """The server hears of a machine."""
        self.history.contacts.append(Contact(self.now, machine))
        return self

    def pass_by(self, seconds: float) -> Story:
        """Nothing happens."""
        self.now += seconds
        return self

    def spare(self, seconds: float, why: str = "an outage") -> Story:
        """From now on, nothing may expire for so long."""
        self.history.spared.append(Spared(self.now, self.now + seconds, why))
        return self

    # -- several steps ------------------------------------------------------------------------------------------------

    def work(self, task_id: str = "t1", attempt: int = 1, machine: str = "a1") -> Story:
        """A task is granted, begins, and is said to have begun."""
        return self.grant(task_id, attempt, machine).begin(task_id, attempt, machine).event("task.started", task_id)

    def complete(self, task_id: str = "t1", run: int = -1) -> Story:
        """Work ends well, and its task with it."""
        return self.end(run=run).event("task.completed", task_id)

    def time_out(self, reason: str = "run_timeout", task_id: str = "t1") -> Story:
        """Work takes too long, and so does its task."""
        return self.end(Outcome.TIMEOUT, reason=reason).event("task.timeout", task_id, reason=reason)

    def listen(self, task_id: str = "") -> Story:
        """Somebody has heard everything so far."""
        due = [commit.event for commit in self.history.commits if task_id in ("", commit.event.task_id)]
        heard = [Heard("connected", 0), *(Heard("event", event.revision, event) for event in due)]
        self.history.listenings.append(Listening(task_id=task_id, heard=heard))
        return self

    def late(self, outcome: str, attempt: int = 1, task_id: str = "t1") -> Story:
        """The database keeps what was told too late."""
        late = LateResult(attempt, FENCES + attempt, "a1", 0, outcome)
        self.rows[task_id]["late_results"] = [late]
        return self

    def told(self) -> History:
        """The history, and the rows that it leaves behind."""
        self.history.kept = [self._row(task_id, fields) for task_id, fields in self.rows.items()]
        return self.history

    def _row(self, task_id: str, fields: dict[str, object]) -> Kept:
        attempt = self._attempts.get(task_id)
        row: dict[str, object] = {
            "id": task_id,
            "status": TaskStatus(self._statuses[task_id]),
            "ref": ref_of(task_id, attempt[0]) if attempt else None,
            "may_have_run": self._statuses[task_id] in {"lost", "unknown"},
            **fields,
        }
        return Kept(**row)  # type: ignore[arg-type]  # names of fields
