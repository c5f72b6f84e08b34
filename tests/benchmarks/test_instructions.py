"""The guard over what the server's own code costs a task: the counting itself, and that it has not become dearer."""

from __future__ import annotations

import json

import pytest

from benchmarks import hot_path
from benchmarks import instructions as counting
from benchmarks.instructions import COUNTED, exceeding, instructions, kept, ratios


@pytest.mark.parametrize("part", hot_path.PARTS)
def test_each_part_comes_to_its_end(part: str) -> None:
    measured = []

    async def around(work: hot_path.Work) -> None:
        measured.append(part)
        await work()

    hot_path.run(part, 1, around)
    assert measured == [part]


def test_what_has_become_dearer_is_named() -> None:
    before = {"core": 20.0, "store": 10.0}

    assert exceeding({"core": 20.9, "store": 10.4}, before, 0.05) == []
    assert exceeding({"core": 21.1, "store": 9.0}, before, 0.05) == [
        "core: 21.10 times the reference; at most 21.00 is expected"
    ]


def test_ratios_are_beside_the_reference() -> None:
    assert ratios({"core": 300.0, "store": 150.0, "reference": 30.0}) == {"core": 10.0, "store": 5.0}


def test_elsewhere_more_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "make", lambda: "of another make")
    assert kept()[1] == counting.MOST_MORE_ELSEWHERE

    monkeypatch.setattr(counting, "make", lambda: json.loads(counting.KEPT.read_text())["make"])
    assert kept()[1] == counting.MOST_MORE


@pytest.mark.valgrind
@pytest.mark.slow
@pytest.mark.timeout(900)  # six runs of valgrind, which is slow, and slower still beside other tests
def test_no_task_takes_more_instructions_than_it_did() -> None:
    counts = {part: instructions(part) for part in hot_path.PARTS}
    before, most_more = kept()

    assert set(before) == set(COUNTED)
    assert exceeding(ratios(counts), before, most_more) == [], (
        "if that is meant: python -m benchmarks.instructions --keep"
    )
