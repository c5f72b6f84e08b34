"""How much the machines are run: pytest tests/machines --hypothesis-profile=deep is a night's worth."""

from __future__ import annotations

import logging

import pytest
import structlog
from hypothesis import HealthCheck, settings

DEEP = "deep"

settings.register_profile(DEEP, suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True)
def silence(log_lines_go_to_the_report: None) -> None:
    """What is refused or damaged on purpose is logged, thousands of times."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
