"""Files on their way up and down, with a line that tells how far they have come."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from nodelink.cli.progress import ProgressLine

if TYPE_CHECKING:
    from nodelink.client import AsyncClient
    from nodelink.client.blobs import Moved

STANDARD_OUTPUT = Path("-")
MIB = 1 << 20


@contextmanager
def shown_progress() -> Iterator[Moved]:
    """What is to be told how far a transfer has come. The line is gone at its end."""
    line = ProgressLine()

    def moved(offset: int, size: int) -> None:
        line.show(offset / size if size else 1.0, f"{offset // MIB:,} of {size // MIB:,} MiB")

    try:
        yield moved
    finally:
        line.clear()


async def download_to(client: AsyncClient, sha256: str, path: Path) -> None:
    """Have bytes in a file, checked, or (`-`) on standard output as they come."""
    if path == STANDARD_OUTPUT:
        async with aclosing(client.artifacts.read(sha256)) as pieces:
            async for data in pieces:
                sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    with shown_progress() as moved:
        await client.artifacts.download(sha256, path, moved=moved)
