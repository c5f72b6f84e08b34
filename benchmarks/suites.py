"""What is measured: quickly, and in full with the peers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.durable import rest, sdk, sdk_accepting, shell, stream, with_agents
from benchmarks.measurement import Measurement
from benchmarks.peers.running import peer_measurement
from benchmarks.peers.table import PEERS
from benchmarks.raw_limits import raw_grpc, raw_spawn, raw_sqlite, raw_sync
from benchmarks.under_load import under_load


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much of each thing is measured in a round."""

    tasks: int = 25_600
    singles: int = 300
    sdk_tasks: int = 5_000
    shell_tasks: int = 1_000
    rest_tasks: int = 1_000
    peer_tasks: int = 2_000
    slots: int = 1_024


QUICK = Sizes()
FULL = Sizes(tasks=51_200, singles=500, sdk_tasks=10_000, shell_tasks=2_000)
ROUNDS = 3


def quick(sizes: Sizes) -> Sequence[Measurement]:
    """The raw limits of the machine, and NodeLink beside them."""
    return (
        raw_grpc(frames=(256,), items=sizes.tasks * 2, pings=sizes.singles),
        raw_sync(sizes.singles),
        raw_sqlite(sizes.tasks),
        raw_spawn(sizes.shell_tasks // 2),
        stream(tasks=sizes.tasks, singles=sizes.singles, slots=sizes.slots),
        sdk_accepting(tasks=sizes.sdk_tasks),
        shell(sizes.shell_tasks),
    )


def full(sizes: Sizes) -> Sequence[Measurement]:
    """Everything: also other ways in, more agents, a loaded server, and the peers."""
    return (
        raw_grpc(frames=(1, 64, 256), items=sizes.tasks * 2, pings=sizes.singles),
        *quick(sizes)[1:],
        sdk(tasks=sizes.sdk_tasks, slots=sizes.slots),
        rest(batched=sizes.rest_tasks * 10, single=sizes.rest_tasks, slots=sizes.slots),
        with_agents(4, tasks=sizes.tasks, slots=sizes.slots),
        with_agents(16, tasks=sizes.tasks, slots=sizes.slots),
        under_load(peak_tasks=sizes.tasks // 2, probes=sizes.singles // 2, slots=sizes.slots),
        *(peer_measurement(peer, tasks=sizes.peer_tasks, singles=sizes.singles // 2) for peer in PEERS),
    )


class NothingChosen(Exception):
    """No measurement has such a name; the message says which there are."""


def chosen(measurements: Sequence[Measurement], only: str | None) -> Sequence[Measurement]:
    """Those whose names hold a text. Raises NothingChosen."""
    if only is None:
        return measurements
    found = [one for one in measurements if only.lower() in one.name.lower()]
    if not found:
        raise NothingChosen(f"--only {only}: there are {', '.join(one.name for one in measurements)}")
    return found
