"""The job that peers do, and the reason when a peer cannot be installed."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence

import pytest

from benchmarks.peers.installed import ROOT, missing, versions
from benchmarks.peers.job import PAYLOAD, WARM_UP, WARM_UP_SINGLES, measure
from benchmarks.peers.table import PEERS, Peer


class FakePeer:
    """Echoes, and remembers how many tasks it was given at a time."""

    def __init__(self, result: str = PAYLOAD) -> None:
        self.asked: list[int] = []
        self._result = result

    async def echo_all(self, texts: Sequence[str]) -> Sequence[str]:
        """The results."""
        self.asked.append(len(texts))
        return [self._result] * len(texts)


async def test_all_tasks_are_given_at_once_and_then_one_at_a_time() -> None:
    peer = FakePeer()

    found = await measure(peer.echo_all, tasks=1_000, singles=3, pids=[os.getppid()])

    warm_up, singles = [1, WARM_UP], [1] * (WARM_UP_SINGLES + 3)
    assert peer.asked == [*warm_up, 1_000, *singles]
    assert found.keys() == {"seconds", "cpu_seconds", "singles"}


async def test_wrong_results_are_no_measurement() -> None:
    with pytest.raises(AssertionError, match="or wrong ones"):
        await measure(FakePeer("something else").echo_all, tasks=10, singles=1, pids=[])


def test_the_payload_has_the_size_that_the_goals_have() -> None:
    assert len(PAYLOAD.encode()) == 64


async def test_a_part_that_cannot_be_installed_has_a_reason() -> None:
    assert await missing(["gearman"]) == {"gearman": "usage: scripts/peers clients|arq|redis|rabbitmq"}


def test_the_versions_of_every_peer_are_known() -> None:
    assert versions().keys() >= {"celery", "dramatiq", "huey", "taskiq", "arq", "redis", "redis (arq)"}


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.key)
def test_a_peer_s_app_and_parts_are_there(peer: Peer) -> None:
    script = (ROOT / "scripts" / "peers").read_text()

    assert importlib.util.find_spec(f"benchmarks.peers.{peer.app}")
    assert all(f"\n    {part}) " in script for part in peer.parts)
