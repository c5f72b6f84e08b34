"""Run a command through the server, show its output while it runs, and tell how it ended.

python examples/follow_a_command.py 127.0.0.1:50051 uname -a
"""

from __future__ import annotations

import sys

from nodelink.client import Client, new_task


def main(server: str, command: list[str]) -> int:
    """Run one command. Returns its exit code."""
    with Client(server) as client:
        task = client.submit(new_task("shell", {"command": command}, timeout="1m"))
        for page in client.follow(task.id):
            for part in page.parts:
                sys.stdout.write(part.data.decode(errors="replace"))
        ended = client.wait(task.id)
        result = client.result(task.id)
    sys.stderr.write(f"{ended.id} {ended.status} after {result.metrics.run_seconds:.3f} s\n")
    return result.exit_code or 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
