"""Fairness keys: they take turns by their weights, however much of one of them waits."""

from __future__ import annotations

from itertools import groupby

import pytest

from nodelink.task import TaskSpec
from nodelink_server.core.clock import ControlTime
from nodelink_server.core.fairness import MOST_KEYS, STEP_MS, Fairness
from nodelink_server.core.ranking import Ranking
from nodelink_server.core.task import Task
from tests.support.clock import ManualClock
from tests.support.core_parts import make_spec, make_task


class Line:
    """A pool whose tasks become ready, and are taken one after the other."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.control = ControlTime(self.clock)
        self.fairness = Fairness(self.control)
        self.ranking = Ranking(self.control, self.fairness)
        self._waiting: list[tuple[int, int, Task]] = []
        self._count = 0

    def ready(self, key: str, count: int, **fields: object) -> None:
        """So many tasks of a key become ready."""
        for _ in range(count):
            spec = make_spec(fairness_key=key, **fields)  # type: ignore[arg-type]  # names of fields
            standing = self.ranking.of(spec)
            task = make_task(f"{key}-{self._count}", rank=standing.rank, fair_tag=standing.fair_tag)
            object.__setattr__(task, "spec", spec)
            self._waiting.append((standing.rank, self._count, task))
            self._count += 1

    def take(self, count: int) -> list[str]:
        """The keys of the first so many, which are given to agents."""
        taken = []
        for _ in range(count):
            first = min(self._waiting)
            self._waiting.remove(first)
            self.fairness.took(first[2])
            taken.append(first[2].spec.fairness_key)
        return taken

    def wait(self, seconds: float) -> None:
        """Let control time go by."""
        for _ in range(int(seconds)):
            self.clock.advance(1)
            self.control.committed()


@pytest.fixture
def line() -> Line:
    return Line()


def test_a_key_with_little_goes_beside_one_with_much(line: Line) -> None:
    line.ready("red", 100)
    assert line.take(10) == ["red"] * 10
    line.wait(5)
    line.ready("blue", 3)

    assert line.take(7).count("blue") == 3


def test_keys_share_by_their_weights(line: Line) -> None:
    line.ready("red", 60)
    line.ready("blue", 60, fairness_weight=3)

    taken = line.take(40)
    assert taken.count("blue") in (29, 30, 31)
    assert max(len(list(run)) for _, run in groupby(taken)) <= 4


def test_a_key_that_rested_has_no_credit(line: Line) -> None:
    line.ready("red", 1)
    line.take(1)
    line.wait(3_600)
    line.ready("blue", 10)
    line.ready("red", 10)

    assert sorted(line.take(4)) == ["blue", "blue", "red", "red"]


def test_tasks_without_a_key_go_by_their_age_as_ever(line: Line) -> None:
    line.ready("", 3)
    line.wait(60)
    line.ready("", 2, priority=51)
    line.wait(1)
    line.ready("", 1, priority=51)

    assert [task.id for _, _, task in sorted(line._waiting)] == ["-0", "-1", "-2", "-3", "-4", "-5"]


def test_a_task_without_a_key_is_not_held_up_by_a_backlog_with_one(line: Line) -> None:
    line.ready("red", 100)
    line.take(5)
    line.ready("", 1)

    assert "" in line.take(2)


def test_after_a_restart_a_key_goes_on_behind_what_waits_of_it(line: Line) -> None:
    line.ready("red", 10)
    line.take(2)
    first, last = line._waiting[0][2].fair_tag, line._waiting[-1][2].fair_tag
    assert first is not None
    assert last is not None
    line.fairness = Fairness(line.control)
    line.fairness.restore({("default", "red"): (first, last)})
    line.ranking = Ranking(line.control, line.fairness)
    line.ready("red", 1)
    line.ready("blue", 1)

    assert line._waiting[-2][2].fair_tag == last + STEP_MS
    assert line._waiting[-1][2].fair_tag == first


def test_pools_have_lines_of_their_own(line: Line) -> None:
    line.ready("red", 50)
    line.take(40)

    place, _ = line.fairness.place(TaskSpec(type="echo", pool="other"))
    assert place == line.control.now()


def test_what_makes_no_difference_is_forgotten(line: Line) -> None:
    line.ready("red", 1)
    line.take(1)
    line.wait(STEP_MS / 1000 + 1)
    line.fairness.tidy()

    assert not line.fairness._lasts
    assert not line.fairness._ends


def test_callers_cannot_fill_memory_with_keys(line: Line) -> None:
    for number in range(MOST_KEYS + 10):
        line.fairness.place(TaskSpec(type="echo", fairness_key=f"k{number}"))
    assert len(line.fairness._lasts["default"]) <= MOST_KEYS
