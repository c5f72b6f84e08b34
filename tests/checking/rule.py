"""What a rule is: one promise, asked of a history that knows enough for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tests.checking.history import History, Known

Ask = Callable[[History], Iterator[str]]


class Violation(NamedTuple):
    """A promise that was broken: by its rule's name, and where."""

    rule: str
    what: str


class Skipped(NamedTuple):
    """A rule that was not asked, and what the history would have to know for it."""

    rule: str
    missing: frozenset[Known]


@dataclass(frozen=True, slots=True)
class Rule:
    """A promise, and what must be known to judge it. `ask` names every place where it was broken."""

    ask: Ask
    needs: frozenset[Known]

    @property
    def name(self) -> str:
        """The promise in words."""
        return self.ask.__name__


def needs(ask: Ask, *known: Known) -> Rule:
    """A rule that can be asked of whoever knows this."""
    return Rule(ask, frozenset(known))
