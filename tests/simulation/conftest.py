"""Runs of the simulation say nothing by themselves: a seed that fails is replayed with `-v`."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator

import pytest
import structlog

from tests.simulation.campaign import collect_seldom


@pytest.fixture(scope="module", autouse=True)
def seldom_collected() -> Iterator[None]:
    """Runs make much garbage; the rest of the process is not looked at for it."""
    before = gc.get_threshold()
    collect_seldom()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


@pytest.fixture(autouse=True)
def silence(log_lines_go_to_the_report: None) -> None:
    """Thousands of lines about faults that were meant would hide the one that counts, and cost time."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
