"""Submit many tasks at once, and hear of each end as it happens.

python examples/many_at_once.py 127.0.0.1:50051 1000
"""

from __future__ import annotations

import asyncio
import sys

from nodelink.client import AsyncClient, new_task


async def main(server: str, count: int) -> None:
    """Submit so many echo tasks and wait until each has ended."""
    async with AsyncClient(server) as client:
        outcomes = await client.submit_many(new_task("echo", {"number": number}) for number in range(count))
        waiting = {outcome.task_id for outcome in outcomes if outcome.refusal is None}
        ends = await asyncio.gather(*(client.wait(task_id) for task_id in waiting))
    completed = sum(task.status == "completed" for task in ends)
    sys.stdout.write(f"{completed} of {count} completed\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
