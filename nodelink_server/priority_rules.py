"""The table `[priority_rules]` of the server's file, checked rule by rule."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nodelink.task import PRIORITIES
from nodelink_server.core.characters import NAME
from nodelink_server.core.placing_checks import AGENT_ID
from nodelink_server.core.priorities import KINDS

MOST_RULES = 1_000


def parse_priority_rules(text: str) -> dict[str, int]:
    """Priorities by rule, from the JSON text of the table. ValueError says which rule is wrong, and what is right."""
    rules = json.loads(text)
    if not isinstance(rules, Mapping):
        raise ValueError('must be a table, like [priority_rules] and below it "type:shell" = 30')
    if len(rules) > MOST_RULES:
        raise ValueError(f"has {len(rules):,} rules; at most {MOST_RULES:,} are allowed")
    for rule in rules:
        _check_rule(rule)
    return {rule: _priority_of(rule, priority) for rule, priority in rules.items()}


def _check_rule(rule: str) -> None:
    kind, _, what = rule.partition(":")
    if kind not in KINDS:
        raise ValueError(f"{rule!r} is not a rule; write agent:ID, label:NAME=VALUE or type:TYPE")
    if kind == "agent" and not AGENT_ID.fullmatch(what):
        raise ValueError(f"{rule!r}: {what!r} is not the id of an agent, which is a UUID in small letters")
    if kind == "label" and "=" not in what[1:]:
        raise ValueError(f"{rule!r}: write label:NAME=VALUE, as the metadata of a task has it")
    if kind == "type" and not NAME.fullmatch(what):
        raise ValueError(f"{rule!r}: {what!r} is not a type of tasks")


def _priority_of(rule: str, given: Any) -> int:
    if isinstance(given, str) and given.upper() in PRIORITIES:
        return PRIORITIES[given.upper()]
    if isinstance(given, bool) or not isinstance(given, int) or not 1 <= given <= 100:
        raise ValueError(f"{rule!r}: {given!r} is not a priority; use 1 to 100, or one of {', '.join(PRIORITIES)}")
    return given
