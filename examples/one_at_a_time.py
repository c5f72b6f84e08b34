"""Run a command that must never run twice, one at a time with others of its lock, and say so if its end is in doubt.

python examples/one_at_a_time.py 127.0.0.1:50051 'deploy eu-1' ./deploy.sh
"""

from __future__ import annotations

import sys

from nodelink.client import Client
from nodelink.task import TERMINAL, TaskStatus

IN_DOUBT = 75


def main(server: str, lock: str, command: list[str]) -> int:
    """Run one command under a lock. Returns its exit code, or 75 if nobody can tell how it ended."""
    with Client(server) as client:
        task = client.submit("shell", {"command": command}, execution="exclusive", lock=lock)
        for event in client.watch(task_id=task.id):
            if event.status is TaskStatus.UNKNOWN:
                sys.stderr.write(f"nobody can tell how {task.id} goes on; its lock is kept: docs/doubt.md\n")
                return IN_DOUBT
            if event.name == "task.pending":
                sys.stderr.write(f"{task.id} waits: {task.get().message}\n")
            if event.status in TERMINAL:
                break
        for part in task.stream_logs():
            sys.stdout.write(part.data.decode(errors="replace"))
        return task.result().exit_code or 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
