"""The one table of a run, for people: figures, ratios with their goals, and what could not be measured."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.measurement import Measurement
from benchmarks.ratios import Ratio, best_peer, values_of
from benchmarks.runner import Run
from benchmarks.text_table import lines_of

Row = tuple[str, str, str, str]


def table(run: Run) -> str:
    """The whole table."""
    rows: list[Row] = [("", "median", "rounds", "")]
    for measurement in run.measurements:
        rows += _figures(run, measurement)
    ratios = list(_ratios(run))
    if ratios:
        rows += [("", "", "", ""), ("ratio", "", "goal", ""), *ratios]
    missing = [f"not measured: {name}: {why}" for name, why in run.not_measured.items()]
    return "\n".join([*lines_of(rows), *missing, _noise(run)])


def _figures(run: Run, measurement: Measurement) -> Iterator[Row]:
    mark = "" if run.was_quiet(measurement.name) else "not quiet"
    for figure in measurement.figures:
        values = run.values.get(figure.key)
        if values:
            reach = f"{number(min(values))} to {number(max(values))}"
            yield (figure.name, f"{number(run.medians[figure.key])} {figure.unit}", reach, mark)


def _ratios(run: Run) -> Iterator[Row]:
    medians = run.medians
    values = values_of(medians, run.ratios)
    for ratio in run.ratios:
        if ratio.key in values:
            name = f"{ratio.name} ({_best(run)})" if ratio.is_to_best_peer else ratio.name
            yield (name, number(values[ratio.key]), *_goal(ratio, values[ratio.key]))


def _best(run: Run) -> str:
    """The name of the best peer of this run."""
    best = best_peer(run.medians)
    return next(figure.name for one in run.measurements for figure in one.figures if figure.key == best)


def _goal(ratio: Ratio, value: float) -> tuple[str, str]:
    if ratio.goal is None:
        return ("", "")
    return (str(ratio.goal), "holds" if ratio.goal.holds(value) else "missed")


def _noise(run: Run) -> str:
    noisy = [(name, max(busy)) for name, busy in run.busy.items() if not run.was_quiet(name)]
    if not noisy:
        return "The machine was quiet before every round."
    worst = max(busy for _, busy in noisy)
    return (
        f"The machine was NOT quiet: before {len(noisy)} of {len(run.busy)} measurements others used up to {worst:.0%} "
        "of it. These figures are not for the record."
    )


def number(value: float) -> str:
    """Three digits that count, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
