"""The core's tests run in virtual time: waiting costs nothing, and a test that can never end fails at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest

from tests.simulation.loop import VirtualLoop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"virtual": VirtualLoop}
