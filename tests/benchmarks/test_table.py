"""The table that people read."""

from __future__ import annotations

from pathlib import Path

from benchmarks.measurement import Figure, Measurement
from benchmarks.runner import Run
from benchmarks.table import number, table


async def _nothing(directory: Path) -> dict[str, float]:
    return {}


def measurement(name: str, key: str, unit: str = "tasks/s") -> Measurement:
    return Measurement(name=name, how="", figures=(Figure(key=key, name=name, unit=unit),), run=_nothing)


def run_of(values: dict[str, list[float]], *, busy: float = 0.0) -> Run:
    """A run of a stream, the raw stream and a peer."""
    run = Run(
        (
            measurement("stream", "nodelink.stream.rate"),
            measurement("raw", "raw.stream256.rate", "items/s"),
            measurement("Huey", "peer.huey.rate"),
            measurement("arq", "peer.arq.rate"),
        )
    )
    run.values.update(values)
    run.busy["stream"] += [0.0, busy]
    run.busy["raw"] += [0.0, 0.0]
    return run


MEASURED = {
    "nodelink.stream.rate": [9_000.0, 10_000.0, 11_000.0],
    "raw.stream256.rate": [50_000.0],
    "peer.huey.rate": [2_000.0],
}


def test_the_table_has_figures_and_ratios_with_their_goals() -> None:
    assert table(run_of(MEASURED)).splitlines() == [
        "                                          median          rounds",
        "stream                                    10,000 tasks/s  9,000 to 11,000",
        "raw                                       50,000 items/s  50,000 to 50,000",
        "Huey                                      2,000 tasks/s   2,000 to 2,000",
        "",
        "ratio                                                     goal",
        "durable tasks/s ÷ best peer (Huey)        5               >= 15             missed",
        "durable tasks/s ÷ raw stream echo at 256  0.2             >= 0.1            holds",
        "The machine was quiet before every round.",
    ]


def test_what_was_measured_on_a_busy_machine_is_marked() -> None:
    lines = table(run_of(MEASURED, busy=0.4)).splitlines()

    assert [line.endswith("not quiet") for line in lines[1:3]] == [True, False]
    assert "NOT quiet" in lines[-1]
    assert "40%" in lines[-1]


def test_what_was_not_measured_is_named_with_the_reason() -> None:
    run = run_of(MEASURED)
    run.not_measured["arq"] = "there is no apt-get"

    assert "not measured: arq: there is no apt-get" in table(run)


def test_numbers_have_the_digits_that_count() -> None:
    assert [number(value) for value in (123_456.7, 99.94, 1.2345, 0.01667)] == ["123,457", "99.9", "1.23", "0.0167"]
