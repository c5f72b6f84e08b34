"""Submit many tasks one by one, which is as fast as a batch, and wait for all of them.

python examples/many_at_once.py 127.0.0.1:50051 1000
"""

from __future__ import annotations

import asyncio
import sys

from nodelink.client import AsyncClient


async def main(server: str, count: int) -> None:
    """Submit so many echo tasks and wait until each has ended."""
    async with AsyncClient(server) as client:
        handles = [client.submit("echo", {"number": number}) for number in range(count)]
        await client.flush()  # now they are durable
        results = await client.wait_all(handles)
    completed = sum(result.succeeded for result in results)
    sys.stdout.write(f"{completed} of {count} completed\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
