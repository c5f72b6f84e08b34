"""What tasks take of their agent."""

from __future__ import annotations

import pytest

from nodelink.taken import NOTHING, ONE_SLOT, Taken, taken_by, total
from nodelink.task import TaskSpec


@pytest.mark.parametrize(
    "spec, taken",
    [
        (TaskSpec(type="echo"), ONE_SLOT),
        (TaskSpec(type="echo", slots=3), Taken(3, {})),
        (TaskSpec(type="echo", resources={"cpu": 500}), Taken(1, {"cpu": 500})),
    ],
)
def test_a_task_takes_what_it_asks_for_and_a_slot_at_least(spec: TaskSpec, taken: Taken) -> None:
    assert taken_by(spec) == taken


def test_what_several_take_is_added_up_by_name() -> None:
    parts = [Taken(1, {"cpu": 500}), ONE_SLOT, Taken(3, {"cpu": 1_000, "gpu": 2_000})]
    assert total(parts) == Taken(5, {"cpu": 1_500, "gpu": 2_000})
    assert total([]) == NOTHING
