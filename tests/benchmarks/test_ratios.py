"""Ratios, their figures and their goals."""

from __future__ import annotations

import pytest

from benchmarks.peers.table import CELERY, PEERS
from benchmarks.ratios import RATIOS, at_least, at_most, best_peer, values_of
from benchmarks.suites import FULL, full

MEDIANS = {
    "nodelink.stream.rate": 9_000.0,
    "nodelink.stream.cpu": 0.1,
    "nodelink.one.p50": 4.0,
    "nodelink.one.p99": 9.0,
    "nodelink.shell.rate": 600.0,
    "raw.stream256.rate": 300_000.0,
    "raw.ping.p50": 0.5,
    "raw.ping.p99": 1.0,
    "raw.sync.p50": 0.25,
    "raw.sync.p99": 1.0,
    "raw.spawn1.rate": 800.0,
    "raw.spawn8.rate": 1_000.0,
    f"{CELERY}.rate": 300.0,
    f"{CELERY}.cpu": 3.0,
    "peer.huey.rate": 1_800.0,
    "peer.huey.p50": 100_000.0,
}


def test_ratios_are_of_the_figures_that_they_name() -> None:
    values = values_of(MEDIANS)

    assert {key: round(value, 4) for key, value in values.items()} == {
        "stream_to_best_peer": 5.0,
        "stream_to_celery": 30.0,
        "cpu_to_celery": 0.0333,
        "stream_to_raw": 0.03,
        "one_task_p50": 4.0,
        "one_task_p99": 3.0,
        "shell_to_spawn": 0.6,
    }


def test_the_best_peer_is_the_one_with_the_most_tasks_a_second() -> None:
    assert best_peer(MEDIANS) == "peer.huey.rate"


def test_without_peers_there_is_no_ratio_to_them() -> None:
    alone = {key: value for key, value in MEDIANS.items() if not key.startswith("peer.")}

    assert not {"stream_to_best_peer", "stream_to_celery", "cpu_to_celery"} & values_of(alone).keys()


def test_every_ratio_is_of_figures_that_the_full_suite_has() -> None:
    figures = [figure.key for one in full(FULL) for figure in one.figures]

    assert values_of(dict.fromkeys(figures, 1.0)).keys() == {ratio.key for ratio in RATIOS}
    assert len(figures) == len(set(figures))


@pytest.mark.parametrize("value, least, most", [(2.9, False, True), (3.0, True, True), (3.1, True, False)])
def test_a_goal_is_reached_at_its_limit(value: float, least: bool, most: bool) -> None:
    assert (at_least(3).holds(value), at_most(3).holds(value)) == (least, most)


def test_every_peer_has_a_key_of_its_own() -> None:
    assert len({peer.key for peer in PEERS}) == len({peer.name for peer in PEERS}) == len(PEERS)
