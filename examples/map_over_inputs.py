"""Run one command for each line of standard input, a few at a time, and print the results in the order of the lines.

seq 100 | python examples/map_over_inputs.py 127.0.0.1:50051 wc -c
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from nodelink.client import Client


def payloads(command: list[str], lines: Iterable[str]) -> Iterator[dict[str, object]]:
    """The payload of a shell task for each line, which becomes the standard input of the command."""
    for line in lines:
        yield {"command": command, "stdin": line}


def main(server: str, command: list[str]) -> int:
    """Run the command for each line. Returns how many times it failed."""
    failed = 0
    with Client(server) as client:
        for result in client.map("shell", payloads(command, sys.stdin), window=16, timeout="1m"):
            printed = b"".join(part.data for part in client.stream_logs(result.task_id, stream="stdout"))
            sys.stdout.write(printed.decode(errors="replace"))
            failed += not result.succeeded
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
