"""When many agents of a pool fall silent together, it is the network and not they: then nothing expires for a while."""

from __future__ import annotations

from collections import OrderedDict, defaultdict

from nodelink_server.core.clock import ControlTime

WINDOW_MS = 60_000
LEAST_SILENT = 3


class Brake:
    """Who has fallen silent of late, by pool, in control time."""

    def __init__(self, *, control: ControlTime, brake_ms: int) -> None:
        self._control = control
        self._brake_ms = brake_ms
        self._silent: dict[str, OrderedDict[str, int]] = defaultdict(OrderedDict)
        """By pool, when each agent fell silent last, the first of them first."""
        self._until: dict[str, int] = {}

    def fell_silent(self, pool: str, agent_id: str, *, connected: int) -> bool:
        """An agent's session has ended without a goodbye, and so many of its pool are connected still.

        Returns whether that pulls the brake for its pool.
        """
        now = self._control.now()
        silent = self._silent[pool]
        silent[agent_id] = now
        silent.move_to_end(agent_id)
        while silent[next(iter(silent))] <= now - WINDOW_MS:
            silent.popitem(last=False)
        if len(silent) < LEAST_SILENT or len(silent) < connected:
            return False
        news = not self.is_on(pool)
        self._until[pool] = now + self._brake_ms
        return news

    def came_back(self, pool: str, agent_id: str) -> None:
        """An agent is heard of again."""
        silent = self._silent.get(pool)
        if silent is None:
            return
        silent.pop(agent_id, None)
        if not silent:
            del self._silent[pool]

    def is_on(self, pool: str) -> bool:
        """Whether nothing of a pool may expire now."""
        until = self._until.get(pool)
        if until is None:
            return False
        if until > self._control.now():
            return True
        del self._until[pool]
        return False
