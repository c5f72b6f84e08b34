"""Runs of the simulation say nothing by themselves: a seed that fails is replayed with `-v`."""

from __future__ import annotations

import logging

import pytest
import structlog


@pytest.fixture(autouse=True)
def silence(log_lines_go_to_the_report: None) -> None:
    """Thousands of lines about faults that were meant would hide the one that counts, and cost time."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
