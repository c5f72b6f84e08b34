"""Celery, over redis or RabbitMQ. Loaded by its worker and by the job."""

from __future__ import annotations

import os
from collections.abc import Sequence

from celery import Celery

WAIT_SECONDS = 120
TUNED = {
    "worker_prefetch_multiplier": 128,  # tasks that last no time at all: fetched many at a time
    "worker_disable_rate_limits": True,
    "worker_send_task_events": False,
    "task_send_sent_event": False,
    "broker_heartbeat": 0,
    "result_expires": None,
    "result_persistent": False,
}

app = Celery("peers", broker=os.environ["PEER_BROKER"], backend=os.environ["PEER_RESULTS"])
if os.environ.get("PEER_TUNED"):
    app.conf.update(TUNED)


def _echo(text: str) -> str:
    return text


echo = app.task(name="echo")(_echo)


async def echo_all(texts: Sequence[str]) -> Sequence[str]:
    """A task for each text, and their results in order."""
    results = [echo.delay(text) for text in texts]
    return [str(result.get(timeout=WAIT_SECONDS)) for result in results]
