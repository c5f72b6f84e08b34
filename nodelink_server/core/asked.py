"""What is asked for, as the server has it: checked, where its workspace wants it, with a priority.

Many tasks are asked for alike, so whoever hands in the same `TaskSpec` again has it looked at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from nodelink.task import Execution, Submission, TaskSpec
from nodelink_server.core.needs import shape_for
from nodelink_server.core.ports import Shape
from nodelink_server.core.priorities import Priorities
from nodelink_server.core.validation import check_own, validate
from nodelink_server.core.workspaces import Workspaces

MOST_REMEMBERED = 1_024
LONGEST_REMEMBERED = 1_024
"""Characters of the metadata of what is remembered: whoever asks for more seldom asks for the same again."""


class Asked(NamedTuple):
    """What was asked for in these `words`, which are valid, and what follows from them for every task."""

    words: TaskSpec
    spec: TaskSpec
    execution: Execution
    shape: Shape


class AskedSpecs:
    """Looks at what is asked for. `types`: the class of each type that can be; more may come, and none changes."""

    def __init__(self, types: Mapping[str, Execution], workspaces: Workspaces, priorities: Priorities) -> None:
        self._types = types
        self._workspaces = workspaces
        self._priorities = priorities
        self._remembered: dict[int, Asked] = {}
        """By the identity of their words, which are kept, so that no others can come to have it."""

    def of(self, submission: Submission) -> Asked:
        """What a submission asks for. Raises `InvalidTask` or `TooLarge`, naming every field that is wrong."""
        words = submission.spec
        asked = self._remembered.get(id(words))
        if asked is not None:
            check_own(submission)
            return asked
        execution = validate(submission, self._types)
        spec = self._priorities.given(self._workspaces.placed(words))
        asked = Asked(words, spec, spec.execution or execution, shape_for(spec))  # its workspace may have named one
        if not words.workspace and _is_small(words):  # what a workspace says may change
            self._remember(asked)
        return asked

    def _remember(self, asked: Asked) -> None:
        if len(self._remembered) >= MOST_REMEMBERED:
            self._remembered.clear()
        self._remembered[id(asked.words)] = asked


def _is_small(words: TaskSpec) -> bool:
    return sum(len(name) + len(value) for name, value in words.metadata.items()) <= LONGEST_REMEMBERED
