"""Every input that a fuzzer found interesting once is tried again, and so is what is made of it by small changes."""

from __future__ import annotations

import logging
import random

import pytest
import structlog

from tests.fuzz.corpus import CORPUS, inputs_of
from tests.fuzz.targets import TARGETS

MOST_BYTES = 200_000
CHANGED = 3
SLOW = frozenset({"agent_stream", "server_stream"})


@pytest.fixture(autouse=True)
def silence(log_lines_go_to_the_report: None) -> None:
    """What is refused is logged, thousands of times."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


@pytest.mark.parametrize("target", TARGETS)
def test_no_input_that_is_kept_does_harm(target: str) -> None:
    inputs = inputs_of(target)
    assert inputs
    for one in inputs:
        TARGETS[target](one)


@pytest.mark.parametrize("target", sorted(set(TARGETS) - SLOW))
def test_no_small_change_of_it_does_harm(target: str) -> None:
    chance = random.Random(target)
    for one in inputs_of(target):
        for _ in range(CHANGED):
            TARGETS[target](changed(one, chance))


def changed(data: bytes, chance: random.Random) -> bytes:
    """The same with a byte changed, a part left out or doubled, or its end cut off."""
    place, end = sorted((chance.randint(0, len(data)), chance.randint(0, len(data))))
    return chance.choice(
        (
            data[:place] + chance.randbytes(1) + data[place + 1 :],
            data[:place] + data[end:],
            data[:end] + data[place:],
            data[:end],
        )
    )


def test_the_corpus_is_small_and_all_of_it_is_used() -> None:
    files = sorted(CORPUS.iterdir())
    assert [file.name for file in files] == sorted(f"{target}.txt" for target in TARGETS)
    assert sum(file.stat().st_size for file in files) < MOST_BYTES
