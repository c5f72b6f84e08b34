"""The rooms of the core, put together. Each is given only what it needs; the lines are in the order of need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nodelink_server.core.accounts import Accounts
from nodelink_server.core.agents import AgentRegistry
from nodelink_server.core.archive import Archive
from nodelink_server.core.channel import ResponseChannel
from nodelink_server.core.cleanup import Cleanup
from nodelink_server.core.clock import ControlTime
from nodelink_server.core.consequences import Consequences
from nodelink_server.core.contacts import Contacts
from nodelink_server.core.events import EventBus
from nodelink_server.core.grants import Grants
from nodelink_server.core.ledger import Ledger
from nodelink_server.core.levels import Levels
from nodelink_server.core.logbook import LogBook
from nodelink_server.core.lookup import Lookup
from nodelink_server.core.observer import Observer
from nodelink_server.core.ports import Change, Clock, Store
from nodelink_server.core.processor import ResponseProcessor
from nodelink_server.core.ranking import Ranking
from nodelink_server.core.reconcile import Reconciler
from nodelink_server.core.registry import TaskRegistry
from nodelink_server.core.reports import Reports
from nodelink_server.core.scheduler import Scheduler
from nodelink_server.core.submissions import Submissions
from nodelink_server.core.tally import Tally
from nodelink_server.core.timers import Timers
from nodelink_server.core.vitals import Vitals
from nodelink_server.core.waiting import Waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What can be set about the core. Seconds, unless the name says otherwise."""

    channel_size: int = 100
    cleanup_delay: float = 5.0
    cleanup_interval: float = 300.0
    retention: float = 30 * 24 * 3600.0
    heartbeat: float = 5.0
    window: int = 10_000
    max_live_tasks: int = 0
    max_listeners: int = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooms:
    """The core, room by room."""

    tally: Tally
    accounts: Accounts
    registry: TaskRegistry
    events: EventBus
    control: ControlTime
    ledger: Ledger
    scheduler: Scheduler
    grants: Grants
    contacts: Contacts
    agents: AgentRegistry
    logs: LogBook
    channel: ResponseChannel
    processor: ResponseProcessor
    timers: Timers
    vitals: Vitals
    cleanup: Cleanup
    consequences: Consequences
    reconciler: Reconciler
    submissions: Submissions
    lookup: Lookup
    waiting: Waiting
    reports: Reports
    archive: Archive


def assemble(
    store: Store, clock: Clock, new_id: Callable[[], str], options: Options, observer: Observer | None = None
) -> Rooms:
    """Make the rooms of one server."""

    def follow(changes: Sequence[Change]) -> None:
        consequences.follow(changes)  # made below: it needs the rooms that need the ledger
        if observer is not None:
            observer.committed(changes)

    tally = Tally()
    accounts = Accounts(clock=clock, tally=tally)
    registry = TaskRegistry()
    events = EventBus(store=store, clock=clock, tally=tally, most_listeners=options.max_listeners)
    control = ControlTime(clock)
    ranking = Ranking(control)
    ledger = Ledger(
        store=store,
        clock=clock,
        control=control,
        tally=tally,
        accounts=accounts,
        follow=follow,
        publish=events.publish,
    )
    scheduler = Scheduler(store=store, registry=registry, clock=clock, window=options.window)
    grants = Grants(
        store=store,
        ledger=ledger,
        scheduler=scheduler,
        registry=registry,
        clock=clock,
        tally=tally,
    )
    contacts = Contacts(ledger=ledger, clock=clock, silence_seconds=3 * options.heartbeat)
    agents = AgentRegistry(
        ledger=ledger,
        scheduler=scheduler,
        clock=clock,
        contacts=contacts,
        silence_seconds=3 * options.heartbeat,
        take_back=grants.take_back,
    )
    logs = LogBook(
        store=store,
        registry=registry,
        clock=clock,
        publish=events.publish,
        is_heard=events.has_room,
    )
    channel = ResponseChannel(capacity=options.channel_size, tally=tally)
    processor = ResponseProcessor(
        channel=channel,
        ledger=ledger,
        store=store,
        registry=registry,
        clock=clock,
        tally=tally,
        publish=events.publish,
    )
    timers = Timers(
        store=store,
        ledger=ledger,
        registry=registry,
        agents=agents,
        contacts=contacts,
        clock=clock,
        control=control,
        ranking=ranking,
        tally=tally,
    )
    vitals = Vitals(
        clock=clock,
        writer=ledger,
        dispatch={
            "the scheduler": scheduler,
            "the taking back of grants": grants,
            "the response processor": processor,
            "the timer": timers,
        },
        feeding_since=grants.feeding_since,
    )
    cleanup = Cleanup(
        store=store,
        registry=registry,
        clock=clock,
        tally=tally,
        delay_seconds=options.cleanup_delay,
        interval_seconds=options.cleanup_interval,
        retention_seconds=options.retention,
        tidy=scheduler.tidy,
    )
    consequences = Consequences(
        registry=registry,
        scheduler=scheduler,
        agents=agents,
        grants=grants,
        timers=timers,
        cleanup=cleanup,
        logbook=logs,
        accounts=accounts,
    )
    reconciler = Reconciler(store=store, ledger=ledger, agents=agents, logbook=logs, ranking=ranking, clock=clock)
    submissions = Submissions(
        store=store,
        ledger=ledger,
        scheduler=scheduler,
        grants=grants,
        ranking=ranking,
        clock=clock,
        new_id=new_id,
        types=agents.types,
        tally=tally,
        submitting=observer.submitting if observer is not None else None,
    )
    lookup = Lookup(store=store, agents=agents, scheduler=scheduler, levels=Levels(store=store, clock=clock))
    waiting = Waiting(store=store, registry=registry, consequences=consequences, clock=clock, read=lookup.get)
    reports = Reports(store=store, accounts=accounts, lookup=lookup, clock=clock, channel=channel, tally=tally)
    archive = Archive(
        store=store,
        accounts=accounts,
        ledger=ledger,
        clock=clock,
        interval_seconds=options.cleanup_interval,
        retention_seconds=options.retention,
    )
    return Rooms(
        tally=tally,
        accounts=accounts,
        registry=registry,
        events=events,
        control=control,
        ledger=ledger,
        scheduler=scheduler,
        grants=grants,
        contacts=contacts,
        agents=agents,
        logs=logs,
        channel=channel,
        processor=processor,
        timers=timers,
        vitals=vitals,
        cleanup=cleanup,
        consequences=consequences,
        reconciler=reconciler,
        submissions=submissions,
        lookup=lookup,
        waiting=waiting,
        reports=reports,
        archive=archive,
    )
