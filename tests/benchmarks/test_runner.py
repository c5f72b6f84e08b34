"""Rounds, and what becomes of a measurement that fails."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks.measurement import CannotMeasure, Figure, Measurement
from benchmarks.quiet import Silence
from benchmarks.runner import Run, run_rounds


def counting(name: str, log: list[str], *, fails: Exception | None = None, in_round: int = 1) -> Measurement:
    """Gives 1, 2, 3, …, and fails in a round."""

    async def run(directory: Path) -> Mapping[str, float]:
        (directory / "left behind").touch(exist_ok=False)
        log.append(name)
        if fails and log.count(name) == in_round:
            raise fails
        return {name: float(log.count(name))}

    return Measurement(name=name, how="", figures=(Figure(key=name, name=name, unit="x"),), run=run)


async def measured(*measurements: Measurement, rounds: int, busy: float = 0.0) -> Run:
    async def listen() -> Silence:
        return Silence(busy)

    run = Run(measurements)
    await run_rounds(run, rounds=rounds, parent=None, listen=listen, tell=lambda what: None)
    return run


async def test_a_round_of_everything_is_measured_before_the_next_begins() -> None:
    log: list[str] = []

    run = await measured(counting("a", log), counting("b", log), rounds=3)

    assert log == ["a", "b", "a", "b", "a", "b"]
    assert run.values == {"a": [1.0, 2.0, 3.0], "b": [1.0, 2.0, 3.0]}
    assert run.medians == {"a": 2.0, "b": 2.0}


async def test_what_cannot_be_measured_is_named_and_left_out() -> None:
    log: list[str] = []

    run = await measured(counting("a", log, fails=CannotMeasure("no redis")), counting("b", log), rounds=2)

    assert log == ["a", "b", "b"]
    assert run.not_measured == {"a": "no redis"}
    assert not run.failed


async def test_what_breaks_keeps_its_earlier_rounds_and_is_told() -> None:
    log: list[str] = []

    run = await measured(counting("a", log, fails=AssertionError("9 of 10"), in_round=2), rounds=3)

    assert run.values == {"a": [1.0]}
    assert run.not_measured == {"a": "it broke: AssertionError('9 of 10')"}
    assert run.failed == {"a"}


async def test_a_busy_machine_is_remembered_with_what_was_measured() -> None:
    run = await measured(counting("a", []), rounds=2, busy=0.5)

    assert run.busy == {"a": [0.5, 0.5]}
    assert not run.is_quiet
