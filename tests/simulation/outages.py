"""When nobody could be served, and when everybody fell silent: for so long, and for a grace, nothing may run out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodelink_server.core.assembly import Options
from tests.checking.history import History, Spared
from tests.simulation.loop import virtual_loop
from tests.simulation.servers import PROCESS, ServerHost

if TYPE_CHECKING:
    from tests.simulation.weather import Weather

LOOK_SECONDS = 1.0
SHORTEST_SECONDS = 4.5
"""Shorter outages of one life of the server need not be noticed by it."""
NOTICED_SECONDS = 1.5
"""After this the first commit of an outage has failed: what it was to say was decided before."""
RATE = 0.03
SILENT_PERIODS = 2.0
"""At the latest after three periods an agent is silent; the brake is counted from then."""


class Outages:
    """Looks whether the server could commit, and writes down when nothing may expire."""

    def __init__(self, server: ServerHost, weather: Weather, *, history: History, options: Options) -> None:
        self._server = server
        self._weather = weather
        self._history = history
        self._options = options
        self._loop = virtual_loop()
        self._since: float | None = 0.0
        self._life: object = None

    def end(self) -> None:
        """The run is over."""
        brake = self._options.patience.brake / 1000 * (1 - RATE) + SILENT_PERIODS * self._options.heartbeat - 2.0
        for at, life in self._weather.silences:
            if life is self._server.life:  # the brake is forgotten with the server
                self._history.spared.append(Spared(at, at + brake, "everybody had fallen silent"))

    def look(self) -> None:
        """See how it stands: to be called every `LOOK_SECONDS`."""
        now = self._loop.time()
        if not self._serves():
            self._since = now if self._since is None else self._since
            return
        is_new = self._server.life is not self._life
        self._life = self._server.life
        if self._since is None:
            return
        if is_new or now - self._since > SHORTEST_SECONDS:
            grace = self._options.patience.grace / 1000 * (1 - RATE) - 1.0
            begin = self._since + NOTICED_SECONDS
            self._history.spared.append(Spared(begin, now - LOOK_SECONDS + grace, "an outage"))
        self._since = None

    def _serves(self) -> bool:
        is_stalled = self._loop.is_stalled(PROCESS)
        return self._server.manager is not None and not is_stalled and not self._weather.is_away
