"""The rooms of the core, put together. Each is given only what it needs, and made when it is first needed."""

# ruff: noqa: D102 - each room says itself what it is

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from nodelink.task import DEFAULT_GRACE_MS, Finished
from nodelink_server.core.accounts import Accounts
from nodelink_server.core.admission import Admission
from nodelink_server.core.agents import AgentRegistry
from nodelink_server.core.answers import Answers
from nodelink_server.core.approvals import Approvals
from nodelink_server.core.archive import Archive
from nodelink_server.core.artifacts import Artifacts
from nodelink_server.core.asked import AskedSpecs
from nodelink_server.core.assignment import AssignmentDelays
from nodelink_server.core.attempt_access import AttemptAccess
from nodelink_server.core.blobs import Blobs
from nodelink_server.core.brake import Brake
from nodelink_server.core.bulk import Bulk
from nodelink_server.core.channel import ResponseChannel
from nodelink_server.core.checkpoints import Checkpoints, Shelf
from nodelink_server.core.cleanup import Cleanup
from nodelink_server.core.clock import ControlTime
from nodelink_server.core.consequences import Consequences
from nodelink_server.core.contacts import Contacts
from nodelink_server.core.cordons import MOST_FAILED_STARTS, FailedStarts
from nodelink_server.core.counting import Counting
from nodelink_server.core.decisions import Decisions
from nodelink_server.core.delayed_acks import DelayedAcks
from nodelink_server.core.drains import Drains
from nodelink_server.core.errands import Errands
from nodelink_server.core.events import EventBus
from nodelink_server.core.expiry import Expiry
from nodelink_server.core.extensions import Extensions
from nodelink_server.core.fairness import Fairness
from nodelink_server.core.grants import Grants
from nodelink_server.core.leases import Leases, Patience
from nodelink_server.core.ledger import Ledger
from nodelink_server.core.levels import Levels
from nodelink_server.core.limit_views import LimitViews
from nodelink_server.core.limits import Limits
from nodelink_server.core.logbook import LogBook
from nodelink_server.core.lookup import Lookup
from nodelink_server.core.losses import Losses
from nodelink_server.core.observer import Observer
from nodelink_server.core.pace import Pace
from nodelink_server.core.pauses import Pauses
from nodelink_server.core.pausing import Pausing
from nodelink_server.core.plan_views import PlanViews
from nodelink_server.core.plans import Plans
from nodelink_server.core.ports import Change, Clock, Store
from nodelink_server.core.priorities import Priorities
from nodelink_server.core.processor import Final, ResponseProcessor
from nodelink_server.core.pulse import Pulse
from nodelink_server.core.ranking import Ranking
from nodelink_server.core.reconcile import Reconciler
from nodelink_server.core.registry import TaskRegistry
from nodelink_server.core.replacing import Replacing
from nodelink_server.core.reports import Reports
from nodelink_server.core.retries import Retries
from nodelink_server.core.reviving import Reviving
from nodelink_server.core.scheduler import Scheduler
from nodelink_server.core.sends import Sends
from nodelink_server.core.session import AgentSession
from nodelink_server.core.submissions import Submissions
from nodelink_server.core.takebacks import TakeBacks
from nodelink_server.core.tally import Tally
from nodelink_server.core.task import Task
from nodelink_server.core.timers import Timers
from nodelink_server.core.vitals import Vitals
from nodelink_server.core.waiting import Waiting
from nodelink_server.core.why import Explanations
from nodelink_server.core.workspace_states import WorkspaceStates
from nodelink_server.core.workspaces import Workspaces


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What can be set about the core. Seconds, unless the name says otherwise."""

    channel_size: int = 100
    cleanup_delay: float = 5.0
    cleanup_interval: float = 300.0
    retention: float = 30 * 24 * 3600.0
    heartbeat: float = 5.0
    patience: Patience = field(default_factory=Patience)
    hello_rate: float = 100.0
    window: int = 10_000
    max_live_tasks: int = 0
    max_running: int = 0
    priority_rules: Mapping[str, int] = field(default_factory=dict)
    max_listeners: int = 5_000
    assignment: AssignmentDelays = field(default_factory=AssignmentDelays)
    blob_quota: int = 10 << 30
    blob_retention: float = 7 * 24 * 3600.0
    start_paused: bool = False
    checkpoint_interval: float = 300.0
    checkpoints_kept: int = 3
    approval_timeout: float = 24 * 3600.0


class Rooms:
    """The core of one server, room by room."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        new_id: Callable[[], str],
        options: Options,
        observer: Observer | None = None,
        shelf: Shelf | None = None,
    ) -> None:
        self._store = store
        self._shelf = shelf
        self._clock = clock
        self._new_id = new_id
        self._options = options
        self._observer = observer

    @cached_property
    def tally(self) -> Tally:
        return Tally()

    @cached_property
    def accounts(self) -> Accounts:
        return Accounts(clock=self._clock, tally=self.tally)

    @cached_property
    def registry(self) -> TaskRegistry:
        return TaskRegistry()

    @cached_property
    def events(self) -> EventBus:
        return EventBus(
            store=self._store, clock=self._clock, tally=self.tally, most_listeners=self._options.max_listeners
        )

    @cached_property
    def control(self) -> ControlTime:
        return ControlTime(self._clock)

    @cached_property
    def fairness(self) -> Fairness:
        return Fairness(self.control)

    @cached_property
    def ranking(self) -> Ranking:
        return Ranking(self.control, self.fairness)

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(
            store=self._store,
            clock=self._clock,
            control=self.control,
            tally=self.tally,
            accounts=self.accounts,
            follow=self._follow,
            publish=self.events.publish,
        )

    @cached_property
    def limits(self) -> Limits:
        return Limits(self.control, max_running=self._options.max_running, on_room=self._gate_opened)

    @cached_property
    def pauses(self) -> Pauses:
        return Pauses()

    @cached_property
    def checkpoints(self) -> Checkpoints:
        return Checkpoints(
            shelf=self._shelf,
            clock=self._clock,
            new_id=self._new_id,
            tally=self.tally,
            interval=self._options.checkpoint_interval,
            kept=self._options.checkpoints_kept,
        )

    @cached_property
    def reviving(self) -> Reviving:
        return Reviving(losses=self.losses, ranking=self.ranking)

    @cached_property
    def pausing(self) -> Pausing:
        return Pausing(
            pauses=self.pauses,
            ledger=self.ledger,
            errands=self.errands,
            clock=self._clock,
            withdraw=self.grants.withdraw_paused,
            look_over=self.scheduler.look_over,
        )

    @cached_property
    def leases(self) -> Leases:
        return Leases(registry=self.registry, control=self.control, patience=self._options.patience)

    @cached_property
    def losses(self) -> Losses:
        return Losses(self.ranking)

    @cached_property
    def brake(self) -> Brake:
        return Brake(control=self.control, brake_ms=self._options.patience.brake)

    @cached_property
    def sends(self) -> Sends:
        return Sends(self._clock, self._options.assignment)

    @cached_property
    def scheduler(self) -> Scheduler:
        return Scheduler(
            store=self._store,
            registry=self.registry,
            clock=self._clock,
            window=self._options.window,
            limits=self.limits,
            fairness=self.fairness,
            sends=self.sends,
            pauses=self.pauses,
        )

    @cached_property
    def takebacks(self) -> TakeBacks:
        return TakeBacks(store=self._store, ledger=self.ledger, clock=self._clock)

    @cached_property
    def grants(self) -> Grants:
        return Grants(
            store=self._store,
            ledger=self.ledger,
            scheduler=self.scheduler,
            registry=self.registry,
            limits=self.limits,
            clock=self._clock,
            tally=self.tally,
            lease_ms=self._options.patience.lease,
            start_lease_ms=self._options.patience.start_lease,
            take_back=self.takebacks.add,
            requeued=self._requeued,
        )

    @cached_property
    def pulse(self) -> Pulse:
        return Pulse(
            registry=self.registry,
            leases=self.leases,
            ledger=self.ledger,
            clock=self._clock,
            counting=Counting(ledger=self.ledger, tally=self.tally),
            is_offered=self.grants.is_under_way,
        )

    @cached_property
    def contacts(self) -> Contacts:
        return Contacts(ledger=self.ledger, clock=self._clock)

    @cached_property
    def delayed_acks(self) -> DelayedAcks:
        return DelayedAcks(self._clock)

    @cached_property
    def agents(self) -> AgentRegistry:
        return AgentRegistry(
            ledger=self.ledger,
            scheduler=self.scheduler,
            clock=self._clock,
            control=self.control,
            contacts=self.contacts,
            leases=self.leases,
            brake=self.brake,
            admission=Admission(tally=self.tally, rate=self._options.hello_rate),
            pace=Pace(self._options.heartbeat, lease=self._options.patience.lease / 1000),
            take_back=self.takebacks.add,
            ended=self.grants.end_session,
            on_beat=self.pulse.beat,
            on_owed=self.delayed_acks.owe,
        )

    @cached_property
    def drains(self) -> Drains:
        return Drains(
            agents=self.agents,
            leases=self.leases,
            ledger=self.ledger,
            clock=self._clock,
            control=self.control,
            hand_back=self.grants.hand_back,
        )

    @cached_property
    def logs(self) -> LogBook:
        return LogBook(
            store=self._store,
            registry=self.registry,
            clock=self._clock,
            publish=self.events.publish,
            is_heard=self.events.has_room,
        )

    @cached_property
    def channel(self) -> ResponseChannel:
        return ResponseChannel(capacity=self._options.channel_size, tally=self.tally)

    @cached_property
    def processor(self) -> ResponseProcessor:
        return ResponseProcessor(
            channel=self.channel,
            ledger=self.ledger,
            store=self._store,
            registry=self.registry,
            clock=self._clock,
            tally=self.tally,
            losses=self.losses,
            extended=self.extensions.said,
            retries=Retries(self.control),
            plans=Plans(self.control, timeout_ms=int(self._options.approval_timeout * 1000)),
            publish=self.events.publish,
            accepted=self.grants.accepted,
            declined=self.grants.declined,
            ended=_cordon_if_unfit(FailedStarts(self._clock), self.agents),
            is_overdue=self.drains.is_overdue,
        )

    @cached_property
    def timers(self) -> Timers:
        return Timers(
            store=self._store,
            ledger=self.ledger,
            registry=self.registry,
            agents=self.agents,
            contacts=self.contacts,
            expiry=Expiry(
                leases=self.leases,
                brake=self.brake,
                losses=self.losses,
                ledger=self.ledger,
                clock=self._clock,
                tally=self.tally,
            ),
            is_promised=self.scheduler.is_promised,
            is_to_be_skipped=self.limits.is_to_be_skipped,
            withdraw_offers=self.grants.withdraw_unanswered,
            look_over=self.scheduler.look_over,
            look_seconds=self._options.assignment.look_seconds,
            wake_rested=self.scheduler.wake_rested,
            stop_drained=self.drains.stop_overdue,
            clock=self._clock,
            control=self.control,
            ranking=self.ranking,
            tally=self.tally,
        )

    @cached_property
    def vitals(self) -> Vitals:
        return Vitals(
            clock=self._clock,
            writer=self.ledger,
            dispatch={
                "the scheduler": self.scheduler,
                "the taking back of grants": self.takebacks,
                "the response processor": self.processor,
                "the timer": self.timers,
            },
            feeding_since=self.grants.feeding_since,
        )

    @cached_property
    def cleanup(self) -> Cleanup:
        return Cleanup(
            store=self._store,
            registry=self.registry,
            clock=self._clock,
            tally=self.tally,
            delay_seconds=self._options.cleanup_delay,
            interval_seconds=self._options.cleanup_interval,
            retention_seconds=self._options.retention,
            tidy=self._tidy,
            forget_blobs=self.blobs.sweep,
        )

    @cached_property
    def consequences(self) -> Consequences:
        return Consequences(
            registry=self.registry,
            scheduler=self.scheduler,
            agents=self.agents,
            leases=self.leases,
            limits=self.limits,
            grants=self.grants,
            timers=self.timers,
            cleanup=self.cleanup,
            logbook=self.logs,
            accounts=self.accounts,
            replacing=self.replacing,
            sends=self.sends,
            left=self.drains.left,
            extend_command=self.extensions.command,
        )

    @cached_property
    def replacing(self) -> Replacing:
        return Replacing(store=self._store, ledger=self.ledger, limits=self.limits, clock=self._clock)

    @cached_property
    def errands(self) -> Errands:
        return Errands()

    @cached_property
    def workspaces(self) -> Workspaces:
        return Workspaces(store=self._store, ledger=self.ledger, errands=self.errands, clock=self._clock)

    @cached_property
    def blobs(self) -> Blobs:
        return Blobs(
            store=self._store.blobs,
            workspaces=self.workspaces,
            errands=self.errands,
            clock=self._clock,
            tally=self.tally,
            quota=self._options.blob_quota,
            kept_seconds=self._options.blob_retention,
        )

    @cached_property
    def artifacts(self) -> Artifacts:
        return Artifacts(
            store=self._store, ledger=self.ledger, blobs=self.blobs, errands=self.errands, clock=self._clock
        )

    @cached_property
    def workspace_states(self) -> WorkspaceStates:
        return WorkspaceStates(
            store=self._store.blobs,
            ledger=self.ledger,
            blobs=self.blobs,
            workspaces=self.workspaces,
            errands=self.errands,
            clock=self._clock,
        )

    @cached_property
    def attempt_access(self) -> AttemptAccess:
        return AttemptAccess(store=self._store, agents=self.agents)

    @cached_property
    def limit_views(self) -> LimitViews:
        return LimitViews(
            store=self._store,
            limits=self.limits,
            registry=self.registry,
            errands=self.errands,
            clock=self._clock,
            max_running=self._options.max_running,
            scheduler=self.scheduler,
        )

    @cached_property
    def reconciler(self) -> Reconciler:
        return Reconciler(
            store=self._store,
            ledger=self.ledger,
            leases=self.leases,
            logbook=self.logs,
            losses=self.losses,
            clock=self._clock,
            start_of=self.grants.start_of,
            extend_command=self.extensions.command,
        )

    @cached_property
    def extensions(self) -> Extensions:
        return Extensions(
            store=self._store, ledger=self.ledger, clock=self._clock, control=self.control, knows=self.agents.knows
        )

    @cached_property
    def answers(self) -> Answers:
        return Answers(store=self._store, clock=self._clock)

    @cached_property
    def bulk(self) -> Bulk:
        return Bulk(
            store=self._store,
            ledger=self.ledger,
            ranking=self.ranking,
            clock=self._clock,
            is_promised=self.scheduler.is_promised,
        )

    @cached_property
    def decisions(self) -> Decisions:
        return Decisions(
            store=self._store,
            ledger=self.ledger,
            ranking=self.ranking,
            clock=self._clock,
            leave_alone=_tell_agent_of(self.agents),
        )

    @cached_property
    def approvals(self) -> Approvals:
        return Approvals(
            store=self._store, ledger=self.ledger, ranking=self.ranking, clock=self._clock, tally=self.tally
        )

    @cached_property
    def asked(self) -> AskedSpecs:
        return AskedSpecs(self.agents.types, self.workspaces, Priorities(self._options.priority_rules))

    @cached_property
    def submissions(self) -> Submissions:
        return Submissions(
            store=self._store,
            ledger=self.ledger,
            scheduler=self.scheduler,
            grants=self.grants,
            limits=self.limits,
            ranking=self.ranking,
            asked=self.asked,
            clock=self._clock,
            new_id=self._new_id,
            tally=self.tally,
            submitting=self._observer.submitting if self._observer is not None else None,
        )

    @cached_property
    def lookup(self) -> Lookup:
        return Lookup(
            store=self._store,
            agents=self.agents,
            scheduler=self.scheduler,
            levels=Levels(store=self._store, clock=self._clock),
            limits=self.limits,
            pauses=self.pauses,
            checkpoints=self.checkpoints,
            leases=self.leases,
            clock=self._clock,
            sends=self.sends,
            delays=self._options.assignment,
        )

    @cached_property
    def plan_views(self) -> PlanViews:
        return PlanViews(lookup=self.lookup, clock=self._clock, control=self.control)

    @cached_property
    def waiting(self) -> Waiting:
        return Waiting(
            store=self._store,
            registry=self.registry,
            consequences=self.consequences,
            clock=self._clock,
            read=self.lookup.get,
        )

    @cached_property
    def reports(self) -> Reports:
        return Reports(
            store=self._store,
            accounts=self.accounts,
            lookup=self.lookup,
            clock=self._clock,
            channel=self.channel,
            tally=self.tally,
        )

    @cached_property
    def archive(self) -> Archive:
        return Archive(
            store=self._store,
            accounts=self.accounts,
            ledger=self.ledger,
            clock=self._clock,
            interval_seconds=self._options.cleanup_interval,
            retention_seconds=self._options.retention,
        )

    @cached_property
    def why(self) -> Explanations:
        return Explanations(
            store=self._store,
            agents=self.agents,
            scheduler=self.scheduler,
            limits=self.limits,
            pauses=self.pauses,
            tally=self.tally,
            clock=self._clock,
            sends=self.sends,
            control=self.control,
        )

    # -- what would be a circle, told when it happens -----------------------------------------------------------------

    def _follow(self, changes: Sequence[Change]) -> None:
        self.consequences.follow(changes)
        if self._observer is not None:
            self._observer.committed(changes)

    def _requeued(self, task: Task) -> None:
        self.timers.queued(task)

    def _gate_opened(self) -> None:
        self.scheduler.look_over()

    def _tidy(self) -> None:
        for room in (self.scheduler, self.limits, self.fairness):
            room.tidy()


def _cordon_if_unfit(failed_starts: FailedStarts, agents: AgentRegistry) -> Callable[[AgentSession, Final], None]:
    """What keeps an agent from new work when it has failed too many starts in a row."""

    def ended(session: AgentSession, final: Final) -> None:
        if isinstance(final, Finished) and failed_starts.ended(session.agent_id, final):
            why = final.error.message if final.error is not None else ""
            agents.cordon(session.agent_id, f"{MOST_FAILED_STARTS} starts in a row failed within a minute: {why}")

    return ended


def _tell_agent_of(agents: AgentRegistry) -> Callable[[Task], None]:
    """What has an agent stop a task of which nobody wants to hear any more."""

    def leave_alone(task: Task) -> None:
        session = agents.session(task.attempt.agent_id) if task.attempt is not None else None
        if session is not None:
            session.withdraw(task.ref, grace_ms=DEFAULT_GRACE_MS)

    return leave_alone
