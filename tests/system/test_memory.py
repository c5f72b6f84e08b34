"""Round after round of work leaves nothing behind in the server."""

from __future__ import annotations

import pytest

from tests.support.processes import Services, asked_until
from tests.support.rest import Rest

ROUNDS = 5
"""The first ones fill caches, those of SQLite above all."""
BATCHES = 10
BATCH = 1_000

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


async def nothing_held(rest: Rest) -> dict[str, float] | None:
    """The metrics, once they say that memory holds no task, and that none is live: counts may be seconds old."""
    metrics = await rest.metrics()
    held = [metrics.get(f"nodelink_{name}", 0) for name in ("registry_tasks", "tasks_live")]
    return None if any(held) else metrics  # a series without tasks is left out


async def test_ten_thousand_tasks_more_leave_the_server_no_larger(services: Services) -> None:
    server = await services.server("--cleanup-delay", "200ms")
    await services.agent(server, slots=500)
    sizes = []
    async with Rest(server) as rest:
        await rest.online()
        for _ in range(ROUNDS):
            for _ in range(BATCHES):
                await rest.echo(BATCH)
            await rest.all_ended()
            sizes.append(server.memory())
        metrics = await asked_until(lambda: nothing_held(rest), "finished tasks leave memory")

    assert sizes[-1] <= 1.05 * sizes[-2]
    assert metrics["nodelink_tasks_finished_total"] == ROUNDS * BATCHES * BATCH
