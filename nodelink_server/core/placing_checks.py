"""What a task may say of where it runs, beside whom, and in whose turn. A part of `validation`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from nodelink.errors import FieldError
from nodelink.selectors import canonical_selector
from nodelink.task import Execution, OnConflict, Rate, TaskSpec, WhenTaken
from nodelink_server.core.characters import MAX_KEY_CHARS, NAME, is_key

MAX_SLOTS = 4_096
MAX_RESOURCES = 16
MAX_AMOUNT = 1 << 53
"""In thousandths."""
MAX_LIMITS = 8
MAX_LIMIT = 100_000
MAX_RATES = 8
MAX_RATE = 1_000
MIN_RATE_MS = 1_000
MAX_RATE_MS = 24 * 3600 * 1000
MAX_WEIGHT = 1_000
MIN_HEARTBEAT_MS = 1_000
MAX_HEARTBEAT_MS = 7 * 24 * 3600 * 1000

AGENT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
RESOURCE = re.compile(r"[a-z0-9][a-z0-9_./-]{0,62}")

_PRINTABLE = f"must have 1 to {MAX_KEY_CHARS} printable characters"


def placing_errors(spec: TaskSpec) -> list[FieldError]:
    """What is wrong with it."""
    return [*_agent_errors(spec), *_resource_errors(spec.resources), *_share_errors(spec), *_turn_errors(spec)]


def asked_placing(spec: TaskSpec) -> Mapping[str, object]:
    """What of it was asked for, as JSON has it: equal for equal requests."""
    asked: Mapping[str, object] = {
        "heartbeat_timeout": spec.heartbeat_timeout_ms,
        "agent_id": spec.agent_id or None,
        "labels": canonical_selector(spec.selector) or None,
        "slots": spec.slots if spec.slots != 1 else None,
        "resources": dict(spec.resources) or None,
        "limits": dict(spec.limits) or None,
        "rate": dict(spec.rates) or None,
        "when_taken": spec.when_taken if spec.when_taken is not WhenTaken.WAIT else None,
        "workspace": spec.workspace or None,
        "unique_key": spec.unique_key or None,
        "on_conflict": spec.on_conflict if spec.on_conflict is not OnConflict.FAIL else None,
        "fairness_key": spec.fairness_key or None,
        "fairness_weight": spec.fairness_weight if spec.fairness_weight != 1 else None,
    }
    return {name: value for name, value in asked.items() if value is not None}


def _agent_errors(spec: TaskSpec) -> Iterator[FieldError]:
    if spec.agent_id and not AGENT_ID.fullmatch(spec.agent_id):
        right = "is not the id of an agent, which is a UUID in small letters"
        yield FieldError("agent_id", f"{spec.agent_id[:64]!r} {right}")
    if spec.selector:
        try:
            canonical_selector(spec.selector)
        except ValueError as error:
            yield FieldError("labels", str(error))
    if not 1 <= spec.slots <= MAX_SLOTS:
        yield FieldError("slots", f"{spec.slots} is not from 1 to {MAX_SLOTS:,}")
    heartbeat = spec.heartbeat_timeout_ms
    if heartbeat is not None and not MIN_HEARTBEAT_MS <= heartbeat <= MAX_HEARTBEAT_MS:
        yield FieldError("heartbeat_timeout", "must be at least 1s and at most 7d")


def _resource_errors(resources: Mapping[str, int]) -> Iterator[FieldError]:
    if len(resources) > MAX_RESOURCES:
        yield FieldError("resources", f"has {len(resources)} entries; at most {MAX_RESOURCES} are allowed")
        return
    for name, amount in resources.items():
        if not RESOURCE.fullmatch(name):
            right = "1 to 63 small letters, digits, '_', '.', '/' or '-', and begins with a letter or digit"
            yield FieldError("resources", f"{name[:64]!r} is not the name of a resource, which has {right}")
        elif not 1 <= amount <= MAX_AMOUNT:
            yield FieldError(f"resources.{name}", f"must be at least 0.001 and at most {MAX_AMOUNT // 1000:,}")


def _share_errors(spec: TaskSpec) -> Iterator[FieldError]:
    """What it shares with other tasks: keys under a limit or a rate, a workspace."""
    if spec.limits:
        yield from _limit_errors(spec.limits)
    if spec.rates:
        yield from _rate_errors(spec.rates)
    if spec.workspace and not NAME.fullmatch(spec.workspace):
        right = "must be 1 to 63 letters, digits, '.', '_' or '-', and begin with a letter or digit"
        yield FieldError("workspace", right)
    if spec.when_taken is not WhenTaken.WAIT and not _shares(spec):
        yield FieldError("when_taken", "needs a lock, limits, a rate, a workspace or the execution exclusive")


def _shares(spec: TaskSpec) -> bool:
    named = spec.lock or spec.limits or spec.rates or spec.workspace
    return bool(named) or spec.execution is Execution.EXCLUSIVE


def _limit_errors(limits: Mapping[str, int]) -> Iterator[FieldError]:
    if len(limits) > MAX_LIMITS:
        yield FieldError("limits", f"has {len(limits)} keys; at most {MAX_LIMITS} are allowed")
        return
    for key, most in limits.items():
        if not is_key(key):
            yield FieldError("limits", f"{key[:64]!r} is no key: it {_PRINTABLE}")
        elif not 1 <= most <= MAX_LIMIT:
            yield FieldError(f"limits.{key}", f"{most} is not from 1 to {MAX_LIMIT:,}")


def _rate_errors(rates: Mapping[str, Rate]) -> Iterator[FieldError]:
    if len(rates) > MAX_RATES:
        yield FieldError("rate", f"has {len(rates)} keys; at most {MAX_RATES} are allowed")
        return
    for key, (most, per_ms) in rates.items():
        if not is_key(key):
            yield FieldError("rate", f"{key[:64]!r} is no key: it {_PRINTABLE}")
        elif not (1 <= most <= MAX_RATE and MIN_RATE_MS <= per_ms <= MAX_RATE_MS):
            yield FieldError(f"rate.{key}", f"must be 1 to {MAX_RATE:,} starts in 1s to 24h, like 10/1m")


def _turn_errors(spec: TaskSpec) -> Iterator[FieldError]:
    """In whose place it comes, and in whose turn."""
    if spec.unique_key and not is_key(spec.unique_key):
        yield FieldError("unique_key", _PRINTABLE)
    if spec.on_conflict is not OnConflict.FAIL and not spec.unique_key:
        yield FieldError("on_conflict", "needs a unique_key")
    if spec.fairness_key and not is_key(spec.fairness_key):
        yield FieldError("fairness_key", _PRINTABLE)
    if not 1 <= spec.fairness_weight <= MAX_WEIGHT:
        yield FieldError("fairness_weight", f"{spec.fairness_weight} is not from 1 to {MAX_WEIGHT:,}")
    elif spec.fairness_weight != 1 and not spec.fairness_key:
        yield FieldError("fairness_weight", "needs a fairness_key")
