"""The suites of scale and of memory: their ratios have figures, and every part can be measured, if only a little."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from benchmarks.measurement import Measurement
from benchmarks.memory.suite import MEMORY_RATIOS, MemorySizes, memory
from benchmarks.memory.suite import PARTS as MEMORY_PARTS
from benchmarks.ratios import Ratio, values_of
from benchmarks.results import as_json
from benchmarks.runner import Run
from benchmarks.scale.suite import PARTS as SCALE_PARTS
from benchmarks.scale.suite import SCALE_RATIOS, ScaleSizes, scale
from benchmarks.table import table

SCALE, MEMORY = ScaleSizes(size=0.001, waiting=(10, 20)), MemorySizes(size=0.01, minutes=0.05)


@pytest.mark.parametrize(
    "measurements, ratios",
    [(scale(ScaleSizes()), SCALE_RATIOS), (memory(MemorySizes()), MEMORY_RATIOS)],
    ids=["scale", "memory"],
)
def test_every_ratio_is_of_figures_that_the_suite_has(
    measurements: Sequence[Measurement], ratios: Sequence[Ratio]
) -> None:
    figures = [figure.key for one in measurements for figure in one.figures]

    assert values_of(dict.fromkeys(figures, 1.0), ratios).keys() == {ratio.key for ratio in ratios}
    assert len(figures) == len(set(figures))


def test_a_run_tells_its_own_ratios_in_the_table_and_as_json() -> None:
    run = Run(memory(MemorySizes(), ["steady"]), MEMORY_RATIOS)
    run.values.update({"memory.steady.first": [100.0], "memory.steady.last": [80.0]})

    told = as_json(run, suite="memory", machine={})

    lines = [line.split("  ") for line in table(run).splitlines()]
    assert any(
        line[0] == "throughput, last tenth of the steady load ÷ first" and line[-1] == "missed" for line in lines
    )
    assert told["ratios"] == {
        "memory_throughput": {
            "name": "throughput, last tenth of the steady load ÷ first",
            "value": 0.8,
            "goal": ">= 0.9",
            "holds": False,
        }
    }


def test_parts_are_measured_in_the_order_in_which_they_are_named() -> None:
    assert [one.name for one in scale(ScaleSizes(), ["output", "agents"])] == ["scale: output", "scale: idle agents"]


@pytest.mark.slow
@pytest.mark.parametrize("part", SCALE_PARTS)
async def test_each_part_at_scale_can_be_measured(part: str, tmp_path: Path) -> None:
    await _is_measured(scale, SCALE, part, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("part", MEMORY_PARTS)
async def test_each_part_of_memory_can_be_measured(part: str, tmp_path: Path) -> None:
    await _is_measured(memory, MEMORY, part, tmp_path)


async def _is_measured(suite: Callable[..., Sequence[Measurement]], sizes: object, part: str, directory: Path) -> None:
    [measurement] = suite(sizes, [part])

    found = await measurement.run(directory)

    assert {figure.key for figure in measurement.figures} <= found.keys()
