"""Deliberate breaches of the protocol. Each takes away one rule that a promise rests on, so the checker must find it.

A mutant spoils a fresh server, a fresh agent, or the machine and the spawners of an agent. It shows what the simulation
can see, and so what a clean run is worth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from nodelink_agent.core.agent import AgentCore
from nodelink_server.core.manager import TaskManager
from tests.checking.history import History
from tests.simulation import (
    agent_mutants,
    checkpoint_mutants,
    duty_mutants,
    host_mutants,
    loss_mutants,
    pausing_mutants,
    placing_mutants,
    plan_mutants,
    retry_mutants,
    server_mutants,
    timeout_mutants,
)
from tests.simulation.world import simulate


class Spoil(Protocol):
    """Spoils something. Named after what it does wrong."""

    __name__: str

    def __call__(self, spoiled: Any, /) -> None:
        """Spoil it."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """What is spoiled, and how: a server's manager, the core of an agent's process, or what an agent stands on."""

    server: Spoil | None = None
    agent: Spoil | None = None
    host: Spoil | None = None


SERVERS: tuple[Spoil, ...] = (
    server_mutants.acknowledges_before_the_commit,
    server_mutants.believes_stale_results,
    server_mutants.writes_without_a_guard,
    server_mutants.speaks_before_the_grant_is_durable,
    server_mutants.starts_what_was_accepted_before_the_commit,
    server_mutants.exceeds_the_task_credit,
    server_mutants.leaks_slots,
    server_mutants.ignores_what_a_hello_lacks,
    server_mutants.runs_once_tasks_again,
    server_mutants.trusts_every_memory,
    server_mutants.lets_old_hellos_win,
    server_mutants.takes_the_ended_for_started,
    server_mutants.forgets_grants_at_a_restart,
    loss_mutants.forgets_the_grace_after_an_outage,
    loss_mutants.never_pulls_the_brake,
    loss_mutants.counts_outages,
    loss_mutants.counts_leases_by_the_wall_clock,
    loss_mutants.extends_what_a_heartbeat_does_not_list,
    loss_mutants.gives_up_whoever_is_silent,
    loss_mutants.hides_that_it_may_have_run,
    loss_mutants.frees_the_lock_in_doubt,
    loss_mutants.takes_gone_for_failed,
    loss_mutants.forgets_who_died,
    loss_mutants.throws_late_results_away,
    loss_mutants.takes_no_lock_in_the_commit,
    loss_mutants.runs_again_under_the_same_fence,
    loss_mutants.cancels_without_asking,
    loss_mutants.says_that_nothing_is_unknown,
    loss_mutants.puts_doubts_to_rest_by_itself,
    duty_mutants.refills_over_what_came_meanwhile,
    duty_mutants.ignores_idempotency_keys,
    duty_mutants.forgets_what_resuming_listeners_missed,
    duty_mutants.appends_output_as_it_comes,
    duty_mutants.never_cleans_up,
    duty_mutants.publishes_before_the_commit,
    duty_mutants.acknowledges_output_before_it_is_stored,
    retry_mutants.never_tries_again,
    retry_mutants.tries_for_ever,
    retry_mutants.tries_again_what_has_succeeded,
    retry_mutants.ignores_how_long_a_failure_asks_to_wait,
    retry_mutants.forgets_retries_at_a_restart,
    retry_mutants.keeps_no_output_of_a_failed_try,
    retry_mutants.forgets_how_long_a_task_may_take,
    timeout_mutants.tells_no_agent_of_extensions,
    timeout_mutants.forgets_extensions_on_reconnect,
    timeout_mutants.hears_nothing_of_what_work_gives_itself,
    timeout_mutants.stops_what_has_longer,
    timeout_mutants.forgets_extensions_of_the_time_in_all,
    placing_mutants.gives_to_whoever_has_room,
    placing_mutants.forgets_drains_when_an_agent_comes_back,
    placing_mutants.sets_priorities_until_the_next_restart,
    placing_mutants.counts_every_task_as_one_slot,
    placing_mutants.forgets_what_an_agent_ran_before_it_came_back,
    placing_mutants.never_lets_go_of_resources,
    placing_mutants.gives_a_place_too_many,
    placing_mutants.ignores_rates,
    placing_mutants.never_looks_who_waits_for_a_place,
    placing_mutants.skips_whatever_may_be_skipped,
    placing_mutants.forgets_unique_keys,
    placing_mutants.never_wakes_what_rests,
    pausing_mutants.pauses_only_once_it_is_durable,
    pausing_mutants.resumes_before_it_is_durable,
    pausing_mutants.forgets_pauses_at_a_restart,
    plan_mutants.applies_what_nobody_has_approved,
    plan_mutants.takes_any_approval,
    plan_mutants.hands_out_another_plan,
    plan_mutants.applies_beside_others,
    plan_mutants.makes_as_many_plans_as_there_are_slots,
    plan_mutants.frees_the_workspace_when_a_plan_is_made,
    plan_mutants.lets_plans_wait_for_ever,
    checkpoint_mutants.draws_the_fences_of_the_lost_server_again,
    checkpoint_mutants.numbers_events_as_the_lost_server_did,
    checkpoint_mutants.takes_what_ran_for_waiting,
    checkpoint_mutants.believes_that_what_ran_runs_on,
    checkpoint_mutants.loads_no_keys,
    checkpoint_mutants.loads_no_locks,
    checkpoint_mutants.loads_no_pauses,
    checkpoint_mutants.loads_what_it_has_loaded_before,
)
AGENTS: tuple[Spoil, ...] = (
    agent_mutants.drops_results_on_reconnect,
    agent_mutants.deletes_results_as_it_sends_them,
    agent_mutants.forgets_output_with_the_result,
    agent_mutants.ignores_where_output_is_to_go_on,
    agent_mutants.hides_what_it_holds,
    agent_mutants.takes_what_is_gone_for_never_begun,
    agent_mutants.says_nothing_of_deaths,
    agent_mutants.starts_before_it_is_written_down,
    agent_mutants.never_writes_results_down,
    agent_mutants.starts_late,
    agent_mutants.starts_offers_without_a_grant,
    agent_mutants.never_ends_a_lease,
    agent_mutants.believes_that_every_heartbeat_arrives,
    agent_mutants.forgets_attempts_that_it_stops,
    agent_mutants.loses_stops,
    agent_mutants.keeps_nothing_of_what_is_done_at_once,
    timeout_mutants.takes_silence_for_a_long_run,
    timeout_mutants.ignores_extensions,
    timeout_mutants.ignores_extensions_of_what_has_not_begun,
)
HOSTS: tuple[Spoil, ...] = (
    host_mutants.never_syncs_its_journal,
    host_mutants.remembers_more_than_it_knows,
    host_mutants.forgets_every_earlier_life,
    host_mutants.has_forgetful_spawners,
    host_mutants.has_spawners_that_tell_ends_too_early,
    host_mutants.gives_up_what_its_spawner_left,
    host_mutants.has_a_clock_that_sleeps,
)

MUTANTS: Mapping[str, Mutant] = {
    **{spoil.__name__: Mutant(server=spoil) for spoil in SERVERS},
    **{spoil.__name__: Mutant(agent=spoil) for spoil in AGENTS},
    **{spoil.__name__: Mutant(host=spoil) for spoil in HOSTS},
}


def simulate_with(seed: int, mutant: Mutant) -> History:
    """The history of one run in which everything is spoiled in this way."""
    return simulate(seed, make_manager=spoiled_server(mutant), make_core=spoiled_agent(mutant), spoil=mutant.host)


def rotated(number: int) -> Sequence[str]:
    """Three mutants by a number: all of them come up as it rises."""
    names = sorted(MUTANTS)
    return [names[(3 * number + step) % len(names)] for step in range(3)]


def spoiled_server(mutant: Mutant) -> Callable[..., TaskManager]:
    """How a server of this mutant is made."""

    def make(**parts: Any) -> TaskManager:
        manager = TaskManager(**parts)
        if mutant.server is not None:
            mutant.server(manager)
        return manager

    return make


def spoiled_agent(mutant: Mutant) -> Callable[..., AgentCore]:
    """How the core of an agent of this mutant is made."""

    def make(**parts: Any) -> AgentCore:
        core = AgentCore(**parts)
        if mutant.agent is not None:
            mutant.agent(core)
        return core

    return make
