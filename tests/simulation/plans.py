"""What a simulated task is going to do: drawn by chance when it is submitted, and carried in its payload."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, fields
from functools import lru_cache

from nodelink.task import LogStream, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The course of one task's work.

    `seconds` 0: done at once, inline. `obeys`: ends soon after a stop, else when it is killed. `gap`: a run of its
    standard output, from and to, that its agent could not keep. `poison`: the process dies in which it is done, unless
    that is one of its own. `fails`: how many of its first attempts fail before it comes to its outcome. `asks`: for how
    many seconds a failure asks to wait before the next attempt. `more`: how many it gives itself after its first step.
    """

    token: str
    seconds: float = 0.0
    outcome: str = Outcome.COMPLETED
    stdout: int = 0
    stderr: int = 0
    steps: int = 1
    obeys: bool = True
    tree_gone: bool = True
    gap: tuple[int, int] | None = None
    poison: bool = False
    fails: int = 0
    asks: float = 0.0
    more: float = 0.0

    def outcome_of(self, attempt: int) -> Outcome:
        """How an attempt ends that is left alone."""
        return Outcome.FAILED if attempt <= self.fails else Outcome(self.outcome)

    @property
    def payload(self) -> bytes:
        """The plan as a task carries it."""
        return json.dumps({name: getattr(self, name) for name in FIELDS}).encode()

    def length(self, stream: LogStream) -> int:
        """How much it prints if it is left alone."""
        return self.stdout if stream is LogStream.STDOUT else self.stderr


FIELDS = tuple(one.name for one in fields(Plan))


@lru_cache(maxsize=1_000)  # what a task is going to do is asked where it is accepted, where it runs, and in the end
def plan_of(payload: bytes) -> Plan:
    """The plan that a task carries."""
    found = json.loads(payload)
    if found.get("gap") is not None:
        found["gap"] = tuple(found["gap"])
    return Plan(**found)


LONGEST_WORK = 35.0
"""Seconds that work takes at most in most worlds."""


def draw_plan(token: str, type: str, chance: random.Random, *, longest: float = LONGEST_WORK) -> Plan:
    """A course of work: mostly short, sometimes long, silent or talkative, seldom unruly. An echo is done at once."""
    if type == "echo":
        return Plan(token=token, outcome=_outcome(chance))
    stdout = _length(chance)
    gap = None
    if stdout > 2_000 and chance.random() < 0.2:
        begin = chance.randrange(stdout - 1_000)
        gap = (begin, begin + chance.randrange(1, 1_000))
    return Plan(
        token=token,
        seconds=chance.uniform(*chance.choice(((0.01, 1.0), (0.5, 5.0), (2.0, 20.0), (10.0, longest)))),
        outcome=_outcome(chance),
        stdout=stdout,
        stderr=_length(chance) if chance.random() < 0.3 else 0,
        steps=chance.randrange(1, 5),
        obeys=chance.random() < 0.8,
        tree_gone=chance.random() < 0.95,
        gap=gap,
        poison=type == "render" and chance.random() < 0.05,
    )


def _outcome(chance: random.Random) -> str:
    return Outcome.COMPLETED if chance.random() < 0.8 else Outcome.FAILED


def _length(chance: random.Random) -> int:
    luck = chance.random()
    if luck < 0.4:
        return 0
    if luck < 0.9:
        return chance.randrange(1, 4_000)
    return chance.randrange(4_000, 200_000) if luck < 0.99 else chance.randrange(4_500_000, 6_000_000)
