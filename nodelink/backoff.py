"""Delays between tries. Pure: chance comes in as a function."""

from __future__ import annotations

from collections.abc import Callable, Iterator


def full_jitter(
    *, initial: float, maximum: float, random: Callable[[], float], multiplier: float = 2.0
) -> Iterator[float]:
    """Endless delays in seconds: each is drawn evenly from 0 up to a bound that grows to `maximum`.

    `random` gives numbers from 0 up to 1. Drawing from the whole range spreads a herd best.
    """
    bound = initial
    while True:
        yield random() * bound
        bound = min(bound * multiplier, maximum)
