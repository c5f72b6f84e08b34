"""Dramatiq over redis. Loaded by its worker and by the job."""

from __future__ import annotations

import os
from collections.abc import Sequence

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

WAIT_MS = 120_000

backend = RedisBackend(url=os.environ["PEER_RESULTS"])
broker = RedisBroker(url=os.environ["PEER_BROKER"])
broker.add_middleware(Results(backend=backend))
dramatiq.set_broker(broker)


def _echo(text: str) -> str:
    return text


echo = dramatiq.actor(actor_name="echo", store_results=True)(_echo)


async def echo_all(texts: Sequence[str]) -> Sequence[str]:
    """A task for each text, and their results in order."""
    messages = [echo.send(text) for text in texts]
    return [str(message.get_result(backend=backend, block=True, timeout=WAIT_MS)) for message in messages]
