"""Where a task runs, beside whom, and in whose turn, as a caller asks for it: checked before anything is sent. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, TypedDict, TypeVar

from nodelink.client.checks import text_of
from nodelink.errors import FieldError, InvalidTask
from nodelink.quantities import parse_quantity, thousandths_of
from nodelink.rates import parse_rate
from nodelink.selectors import Requirement, Sign, canonical_selector, check_label
from nodelink.task import OnConflict, Rate, WhenTaken

_Choice = TypeVar("_Choice", bound=StrEnum)
_Read = TypeVar("_Read")

MAX_WHOLE = (1 << 32) - 1
"""What a message has room for. How much is too much, the server says."""


class PlacingOptions(TypedDict, total=False):
    """A part of `TaskOptions`: which agent, with whom, and when its turn comes. All of it may be left out.

    `labels`: what the agent's labels have to be, as a text like `env=prod,disk!=hdd,gpu,!spot` or as names and values.
    `resources`: amounts by name, as numbers or as texts like `500m` and `8GiB`. `limits`: by key, how many tasks that
    name it may be with agents at a time. `rate`: by key, how many may start in which time, as a text like `10/1m`.
    """

    agent_id: str | None
    labels: str | Mapping[str, str] | None
    slots: int
    resources: Mapping[str, float | str] | None
    limits: Mapping[str, int] | None
    rate: Mapping[str, Rate | str] | None
    when_taken: WhenTaken | str
    workspace: str | None
    unique_key: str | None
    on_conflict: OnConflict | str
    fairness_key: str | None
    fairness_weight: int


def placing_of(
    *,
    agent_id: str | None = None,
    labels: str | Mapping[str, str] | None = None,
    slots: int = 1,
    resources: Mapping[str, float | str] | None = None,
    limits: Mapping[str, int] | None = None,
    rate: Mapping[str, Rate | str] | None = None,
    when_taken: WhenTaken | str = WhenTaken.WAIT,
    workspace: str | None = None,
    unique_key: str | None = None,
    on_conflict: OnConflict | str = OnConflict.FAIL,
    fairness_key: str | None = None,
    fairness_weight: int = 1,
) -> dict[str, Any]:
    """The same as fields of a `TaskSpec`. Raises `InvalidTask`."""
    return {
        "agent_id": name_of("agent_id", agent_id),
        "selector": _selector_of(labels),
        "slots": _whole_of("slots", slots),
        "resources": _by_name("resources", resources, _amount_of),
        "limits": _by_name("limits", limits, _whole_of),
        "rates": _by_name("rate", rate, _rate_of),
        "when_taken": _choice_of("when_taken", when_taken, WhenTaken),
        "workspace": name_of("workspace", workspace),
        "unique_key": name_of("unique_key", unique_key),
        "on_conflict": _choice_of("on_conflict", on_conflict, OnConflict),
        "fairness_key": name_of("fairness_key", fairness_key),
        "fairness_weight": _whole_of("fairness_weight", fairness_weight),
    }


def name_of(field: str, given: str | None) -> str:
    """A name, or nothing. An empty one is more likely than not a name that got lost. Raises `InvalidTask`."""
    if given == "":
        raise InvalidTask(FieldError(field, "must not be empty; leave it out, or give None, for none"))
    return "" if given is None else text_of(field, given)


def _selector_of(labels: str | Mapping[str, str] | None) -> str:
    if labels is None:
        return ""
    try:
        if not isinstance(labels, Mapping):
            return canonical_selector(name_of("labels", labels))
        for name, value in labels.items():
            check_label(text_of("labels (a name)", name), text_of(f"labels.{name}", value))
        wanted = [Requirement(name, Sign.IS, value) for name, value in labels.items()]
        return canonical_selector(",".join(map(str, wanted)))
    except ValueError as error:
        raise InvalidTask(FieldError("labels", str(error))) from error


def _by_name(field: str, given: Any, read: Callable[[str, Any], _Read]) -> dict[str, _Read]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InvalidTask(FieldError(field, f"must be values by name, in a mapping, not {given!r:.100}"))
    return {text_of(f"{field} (a name)", name): read(f"{field}.{name}", value) for name, value in given.items()}


def _amount_of(field: str, given: Any) -> int:
    """In thousandths."""
    try:
        if isinstance(given, str):
            return parse_quantity(given)
        if isinstance(given, int | float) and not isinstance(given, bool):
            return thousandths_of(given)
    except ValueError as error:
        raise InvalidTask(FieldError(field, str(error))) from error
    raise InvalidTask(FieldError(field, f"must be a number, or a text like 500m or 8GiB, not {given!r:.100}"))


def _whole_of(field: str, given: Any) -> int:
    if not isinstance(given, int) or isinstance(given, bool) or not 1 <= given <= MAX_WHOLE:
        raise InvalidTask(FieldError(field, f"must be a whole number from 1 on, not {given!r:.100}"))
    return given


def _rate_of(field: str, given: Any) -> Rate:
    try:
        if isinstance(given, str):
            given = parse_rate(given)
    except ValueError as error:
        raise InvalidTask(FieldError(field, str(error))) from error
    if not isinstance(given, Rate):
        raise InvalidTask(FieldError(field, f"must be a Rate, or a text like 10/1m, not {given!r:.100}"))
    return Rate(_whole_of(field, given.most), _whole_of(field, given.per_ms))


def _choice_of(field: str, given: str, choices: type[_Choice]) -> _Choice:
    try:
        return choices(given)
    except ValueError as error:
        known = ", ".join(choices)
        raise InvalidTask(FieldError(field, f"{given!r} is not known; use one of {known}")) from error
