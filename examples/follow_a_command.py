"""Run a command through the server, show its output while it runs, and tell how it ended.

python examples/follow_a_command.py 127.0.0.1:50051 uname -a
"""

from __future__ import annotations

import sys

from nodelink.client import Client


def main(server: str, command: list[str]) -> int:
    """Run one command. Returns its exit code."""
    with Client(server) as client:
        task = client.submit("shell", {"command": command}, timeout="1m")
        for part in task.stream_logs():
            sys.stdout.write(part.data.decode(errors="replace"))
        result = task.result()
    sys.stderr.write(f"{result.task_id} {result.status} after {result.metrics.run_seconds:.3f} s\n")
    return result.exit_code or 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
