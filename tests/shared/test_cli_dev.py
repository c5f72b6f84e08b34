"""What `nodelink dev` does with an interrupt, whenever it comes."""

from __future__ import annotations

import asyncio
import signal

import pytest

from nodelink.cli.dev import Interrupted, _until
from nodelink.cli.follow import Interrupts


async def test_an_interrupt_that_comes_just_as_a_wait_ends_is_not_lost() -> None:
    came: Interrupts = asyncio.Queue()
    came.put_nowait(signal.SIGTERM)

    with pytest.raises(Interrupted):
        await _until(asyncio.sleep(0), came)
