"""What simulated callers ask for of where their tasks run and what they share. The first agent can run all of it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from nodelink.selectors import selects
from nodelink.task import OnConflict, Rate, WhenTaken
from tests.checking.history import Request
from tests.simulation.agents import AgentHost

SIDES = ("left", "right")
SELECTORS = ("side=left", "side!=right", "!nowhere", "machine=agent0", "machine")
LIMITS: Sequence[Mapping[str, int]] = ({"db": 1}, {"db": 1, "api": 1}, {"db": 2}, {"api": 1}, {"db": 2, "api": 2})
RATE = Rate(2, 6_000)
FAIR = ("red", "red", "blue")
UNIQUE = ("deploy", "backup")
WORKSPACES = ("site", "network")
CONFLICTS = (OnConflict.FAIL, OnConflict.REPLACE, OnConflict.USE_EXISTING)


def draw_crowd(chance: random.Random) -> float:
    """How many of the tasks of a world share limited places: few, or in some worlds nearly all."""
    return 0.9 if chance.random() < 0.15 else 0.2


def draw_placing(
    chance: random.Random, request: Request, machines: Sequence[AgentHost], crowd: float
) -> dict[str, object]:
    """Fields of a task, most of them mostly as by default; what the checker is to know of them is noted."""
    fields: dict[str, object] = {}
    if chance.random() < 0.15:
        selector = fields["selector"] = chance.choice(SELECTORS)
        request.machines = frozenset(one.name for one in machines if selects(selector, one.labels))
    if chance.random() < 0.15:
        request.slots = chance.randint(1, machines[0].slots)
        fields["slots"] = request.slots
    if chance.random() < 0.1:
        fields["resources"], request.alone = {"key": 1_000}, True
    if chance.random() < crowd:
        request.limits = chance.choice(LIMITS)
        fields["limits"] = request.limits
    if chance.random() < 0.07:
        fields["rates"] = {"mail": RATE}
        request.rate = ("mail", RATE.most, RATE.per_ms / 1000)
    if chance.random() < 0.2:
        fields["fairness_key"] = chance.choice(FAIR)
        fields["fairness_weight"] = chance.choice((1, 1, 3))
    if request.lock and chance.random() < 0.15:
        fields["when_taken"], request.skips = WhenTaken.SKIP, True
    if chance.random() < 0.1:
        request.unique = chance.choice(UNIQUE)
        fields["unique_key"], fields["on_conflict"] = request.unique, chance.choice(CONFLICTS)
    if chance.random() < 0.08:
        request.workspace = fields["workspace"] = chance.choice(WORKSPACES)
    return fields
