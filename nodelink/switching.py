"""How threads share the interpreter in a server and in an agent.

Each has one thread that thinks, the event loop, and others that write to the disk. A thread that comes back from the
disk gets the interpreter at once only if the loop happens to wait for something; else after the switch interval. With
Python's 5 ms a commit of a loaded server, which comes back several times, took longer to ask than to write.
"""

from __future__ import annotations

import sys

SWITCH_SECONDS = 0.000_5


def switch_often() -> None:
    """Have a thread give way soon to one that waits."""
    sys.setswitchinterval(SWITCH_SECONDS)
