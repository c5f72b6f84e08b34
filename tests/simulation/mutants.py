"""Deliberate breaches of the protocol. Each takes away one rule that a promise rests on, so the checker must find it.

A mutant spoils a fresh server or a fresh agent. It shows what the simulation can see, and so what a clean run is worth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from nodelink_agent.core.agent import AgentCore
from nodelink_server.core.manager import TaskManager
from tests.simulation import agent_mutants, server_mutants


class Spoil(Protocol):
    """Spoils a server's manager or an agent's core. Named after what it does wrong."""

    __name__: str

    def __call__(self, spoiled: Any, /) -> None:
        """Spoil it."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """What is spoiled, and how.

    `is_rare`: it takes more seeds to find it than a test has; a test of the core finds it.
    """

    server: Spoil | None = None
    agent: Spoil | None = None
    is_rare: bool = False


SERVERS: tuple[Spoil, ...] = (
    server_mutants.acknowledges_before_the_commit,
    server_mutants.writes_without_a_guard,
    server_mutants.speaks_before_the_grant_is_durable,
    server_mutants.exceeds_the_task_credit,
    server_mutants.leaks_slots,
    server_mutants.ignores_what_a_hello_lacks,
    server_mutants.runs_once_tasks_again,
    server_mutants.trusts_every_memory,
    server_mutants.lets_old_hellos_win,
    server_mutants.takes_the_ended_for_started,
    server_mutants.forgets_grants_at_a_restart,
    server_mutants.refills_over_what_came_meanwhile,
    server_mutants.ignores_idempotency_keys,
    server_mutants.forgets_what_resuming_listeners_missed,
    server_mutants.appends_output_as_it_comes,
    server_mutants.never_cleans_up,
)
RARE_SERVERS: tuple[Spoil, ...] = (
    server_mutants.believes_stale_results,
    server_mutants.forgets_grants_made_in_vain,
    server_mutants.trusts_hellos_that_were_overtaken,
)
AGENTS: tuple[Spoil, ...] = (
    agent_mutants.drops_results_on_reconnect,
    agent_mutants.hides_what_it_holds,
    agent_mutants.forgets_output_with_the_result,
    agent_mutants.ignores_where_output_is_to_go_on,
)

MUTANTS: Mapping[str, Mutant] = {
    **{spoil.__name__: Mutant(server=spoil) for spoil in SERVERS},
    **{spoil.__name__: Mutant(server=spoil, is_rare=True) for spoil in RARE_SERVERS},
    **{spoil.__name__: Mutant(agent=spoil) for spoil in AGENTS},
}


def spoiled_server(mutant: Mutant) -> Callable[..., TaskManager]:
    """How a server of this mutant is made."""

    def make(**parts: Any) -> TaskManager:
        manager = TaskManager(**parts)
        if mutant.server is not None:
            mutant.server(manager)
        return manager

    return make


def spoiled_agent(mutant: Mutant) -> Callable[..., AgentCore]:
    """How an agent of this mutant is made."""

    def make(**parts: Any) -> AgentCore:
        core = AgentCore(**parts)
        if mutant.agent is not None:
            mutant.agent(core)
        return core

    return make
