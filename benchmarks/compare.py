"""How ratios have changed since an earlier run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.ratios import RATIOS, Ratio
from benchmarks.results import Earlier
from benchmarks.text_table import lines_of

NOTABLE = 0.10
"""A change by less is most likely noise."""


def comparison(earlier: Earlier, now: Mapping[str, float], *, is_quiet: bool, ratios: Sequence[Ratio] = RATIOS) -> str:
    """A table of the ratios that either run has, for people."""
    rows = [("ratio", f"then ({earlier.commit or 'no commit'})", "now", "change", "")]
    rows += [
        _row(ratio, earlier.ratios.get(ratio.key), now.get(ratio.key))
        for ratio in ratios
        if _is_known(ratio, earlier, now)
    ]
    noise = [name for name, quiet in (("then", earlier.is_quiet), ("now", is_quiet)) if not quiet]
    return "\n".join([*lines_of(rows), *([f"The machine was not quiet {' and '.join(noise)}."] if noise else [])])


def _is_known(ratio: Ratio, earlier: Earlier, now: Mapping[str, float]) -> bool:
    return ratio.key in earlier.ratios or ratio.key in now


def _row(ratio: Ratio, then: float | None, now: float | None) -> tuple[str, str, str, str, str]:
    if then is None or now is None:
        return (ratio.name, _number(then), _number(now), "", "not measured in both")
    change = now / then - 1 if then else 0.0
    return (ratio.name, _number(then), _number(now), f"{change:+.1%}", verdict(change, ratio.is_better_when_more))


def verdict(change: float, is_better_when_more: bool) -> str:
    """What a change means; empty if it is too small to mean anything."""
    if abs(change) < NOTABLE:
        return ""
    return "better" if (change > 0) == is_better_when_more else "worse"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
