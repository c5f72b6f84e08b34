"""How much needless work, doubt and loss the simulated weather may cause, measured over many seeds."""

from __future__ import annotations

from tests.checking.gates import Gate

LEAST_TASKS = 1_500
"""Over fewer tasks than this, chance alone could break a gate."""
GATES = (
    Gate("reruns", 10.0),
    Gate("doubts", 60.0),
    Gate("needless_losses", 12.0),
)
"""Several times what was measured when they were set: 0.4, 12 and 1.3 among a thousand tasks."""
