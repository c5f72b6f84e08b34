"""The promises, asked of a history: a simulated one, or one of real processes. Each rule looks at one promise and names
every place where it was broken.

Nothing here knows how NodeLink works: the legal orders of events are written down once more, from the table of
statuses.
"""

from __future__ import annotations

from tests.checking import (
    arrivals,
    asking,
    loading,
    losses,
    pausing,
    placing,
    plans,
    retries,
    starts,
    statuses,
    telling,
    timeouts,
)
from tests.checking.history import History
from tests.checking.past import read_once
from tests.checking.rule import Rule, Skipped, Violation

RULES: tuple[Rule, ...] = (
    *asking.RULES,
    *arrivals.RULES,
    *statuses.RULES,
    *starts.RULES,
    *losses.RULES,
    *retries.RULES,
    *timeouts.RULES,
    *placing.RULES,
    *pausing.RULES,
    *loading.RULES,
    *plans.RULES,
    *telling.RULES,
)


def check(history: History) -> list[Violation]:
    """Every violation of every rule that this history can be asked. Empty: all those promises were kept."""
    lasting = loading.what_lasts(history)
    asked = [rule for rule in RULES if rule.needs <= history.knows]
    with read_once(lasting):
        return [Violation(rule.name, what) for rule in asked for what in rule.ask(lasting)]


def skipped(history: History) -> list[Skipped]:
    """The rules that `check` does not ask of this history, and what it lacks for each."""
    return [Skipped(rule.name, rule.needs - history.knows) for rule in RULES if not rule.needs <= history.knows]
