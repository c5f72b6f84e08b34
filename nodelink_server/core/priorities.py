"""The priorities of tasks whose submitters give none: by agent, by label, by type, as the server is told."""

from __future__ import annotations

from collections.abc import Mapping

from nodelink.task import BY_RULE, DEFAULT_PRIORITY, TaskSpec
from nodelink.values import evolve

KINDS = ("agent", "label", "type")
"""What rules go by: `agent:ID`, `label:name=value` of the task's metadata, `type:TYPE`. The first kind counts."""


class Priorities:
    """Rules: what a task is, and the priority that it has then. Of several that match, the most important counts."""

    def __init__(self, rules: Mapping[str, int] | None = None) -> None:
        self._by_kind: dict[str, dict[str, int]] = {kind: {} for kind in KINDS}
        for rule, priority in (rules or {}).items():
            kind, _, what = rule.partition(":")
            self._by_kind[kind][what] = priority

    def given(self, spec: TaskSpec) -> TaskSpec:
        """What was asked, with a priority."""
        return spec if spec.priority != BY_RULE else evolve(spec, priority=self._of(spec))

    def _of(self, spec: TaskSpec) -> int:
        named = {
            "agent": [spec.agent_id],
            "label": [f"{name}={value}" for name, value in spec.metadata.items()],
            "type": [spec.type],
        }
        for kind in KINDS:
            rules = self._by_kind[kind]
            found = [rules[name] for name in named[kind] if name in rules] if rules else []
            if found:
                return max(found)
        return DEFAULT_PRIORITY
