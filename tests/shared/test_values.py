"""Values of the hot path are like frozen dataclasses to those who use them."""

from __future__ import annotations

import pytest

from nodelink.task import Execution, TaskSpec
from nodelink.values import evolve


def test_an_evolved_value_differs_in_what_was_changed_and_in_nothing_else() -> None:
    spec = TaskSpec(type="echo", priority=7, metadata={"a": "b"})
    other = evolve(spec, priority=8, execution=Execution.ONCE)
    assert other == TaskSpec(type="echo", priority=8, metadata={"a": "b"}, execution=Execution.ONCE)
    assert spec == TaskSpec(type="echo", priority=7, metadata={"a": "b"})


def test_a_field_that_does_not_exist_is_refused() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        evolve(TaskSpec(type="echo"), nonsense=1)


def test_values_take_keywords_only() -> None:
    with pytest.raises(TypeError):
        TaskSpec("echo")  # type: ignore[call-arg]
