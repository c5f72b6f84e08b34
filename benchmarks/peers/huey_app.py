"""Huey over redis. Loaded by its consumer and by the job."""

from __future__ import annotations

import os
from collections.abc import Sequence

from huey import RedisHuey

WAIT_SECONDS = 120

# A result is announced and not polled for: in Huey that is the fastest way to wait for one.
huey = RedisHuey("peers", url=os.environ["PEER_BROKER"], notify_result=True)


def _echo(text: str) -> str:
    return text


echo = huey.task(name="echo")(_echo)


async def echo_all(texts: Sequence[str]) -> Sequence[str]:
    """A task for each text, and their results in order."""
    results = [echo(text) for text in texts]
    return [str(result.get(blocking=True, timeout=WAIT_SECONDS)) for result in results]
