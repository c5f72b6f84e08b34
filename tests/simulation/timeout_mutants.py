"""Servers and agents that break a rule of extending what runs."""

from __future__ import annotations

from typing import Any

from nodelink.task import Finished, Reason
from nodelink.values import evolve
from nodelink_agent.core.work import Work


def tells_no_agent_of_extensions(manager: Any) -> None:
    """An agent hears of an extension when it connects the next time, and not before."""
    manager.rooms.consequences._extend_command = lambda task: None


def forgets_extensions_on_reconnect(manager: Any) -> None:
    """An extension is told once, and may be lost with a link."""
    manager.rooms.reconciler._extend_command = lambda task: None


def stops_what_has_longer(manager: Any) -> None:
    """Work that was extended is overdue when it would have been without that."""
    manager.rooms.timers._has_longer = lambda task, ref: False


def forgets_extensions_of_the_time_in_all(manager: Any) -> None:
    """A task that is given more time in all has no more than before."""
    extensions = manager.rooms.extensions
    extended = extensions._extended

    def forgetful(task: Any, limits: Any, *, heard: int | None = None) -> Any:
        return extended(task, limits._replace(total_timeout_ms=None), heard=heard)

    extensions._extended = forgetful


def hears_nothing_of_what_work_gives_itself(manager: Any) -> None:
    """That work has given itself other limits is no news."""
    manager.rooms.processor._extended = lambda task, update: None


def takes_silence_for_a_long_run(core: Any) -> None:
    """Work that was stopped because it was silent is said to have taken too long."""
    outbox = core._outbox
    results = outbox.results

    def imprecise(responses: Any) -> None:
        results([_imprecise(response) for response in responses])

    outbox.results = imprecise


def ignores_extensions(core: Any) -> None:
    """Whatever the server says, an agent keeps to the limits of the start."""
    core.extend = lambda commands, *, now: Work()


def ignores_extensions_of_what_has_not_begun(core: Any) -> None:
    """What an agent is told of work that it has yet to begin is lost."""
    core._holdings.attempts.take_limits = lambda ref: None


def _imprecise(response: Any) -> Any:
    update = response.update
    if not isinstance(update, Finished) or update.reason is not Reason.HEARTBEAT_TIMEOUT:
        return response
    return response._replace(update=evolve(update, reason=Reason.RUN_TIMEOUT))
