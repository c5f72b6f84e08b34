"""The kinds of values that say where a task runs, beside whom, and in whose turn: each with its JSON schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, StrictStr, WithJsonSchema

from nodelink.quantities import parse_quantity, thousandths_of
from nodelink.rates import parse_rate
from nodelink.selectors import (
    MAX_CHARS,
    MAX_LABEL_CHARS,
    MAX_REQUIREMENTS,
    Requirement,
    Sign,
    canonical_selector,
    check_label,
)
from nodelink.task import OnConflict, Rate, WhenTaken
from nodelink_server.core.characters import MAX_KEY_CHARS
from nodelink_server.core.placing_checks import (
    MAX_AMOUNT,
    MAX_LIMIT,
    MAX_LIMITS,
    MAX_RATES,
    MAX_RESOURCES,
    MAX_SLOTS,
    MAX_WEIGHT,
)
from nodelink_server.web.values import DURATION, POOL, SEEN

LEAST_NUMBER = 0.001
_LABEL_NAME = rf"[A-Za-z0-9][A-Za-z0-9_./\-]{{0,{MAX_LABEL_CHARS - 1}}}"
_LABEL_VALUE = rf"[A-Za-z0-9_./:@+\-]{{0,{MAX_LABEL_CHARS}}}"
_REQUIREMENT = rf"(![ \t]*{_LABEL_NAME}|{_LABEL_NAME}([ \t]*(!=|==?)[ \t]*{_LABEL_VALUE})?)"
SELECTOR = rf"^[ \t]*{_REQUIREMENT}([ \t]*,[ \t]*{_REQUIREMENT}){{0,{MAX_REQUIREMENTS - 1}}}[ \t]*$"
AGENT = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
RESOURCE = r"^[a-z0-9][a-z0-9_./\-]{0,62}$"
AMOUNT = r"^[0-9]{1,18}(\.[0-9]{1,3})?(m|([kKMGT]|[KMGT]i)?B?)$"
RATE = rf"^[0-9]{{1,9}}/{DURATION.removeprefix('^')}"

_KEY_NAMES = {"pattern": SEEN, "minLength": 1, "maxLength": MAX_KEY_CHARS}


def _text(value: Any) -> str | None:
    """A text that says something, or none."""
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise ValueError("write a text that is not empty, or null for none")
    return value


def _selector(value: Any) -> str | None:
    """What labels have to be, as every equal wish is written."""
    if value is None:
        return None
    if isinstance(value, dict) and all(isinstance(wanted, str) for wanted in value.values()):
        return _equals(value)
    if not isinstance(value, str) or not value.strip():
        raise ValueError("write a text like env=prod,disk!=hdd,gpu,!spot or an object of names and values")
    return canonical_selector(value)


def _equals(labels: Mapping[str, str]) -> str:
    """That each label is what it is said to be."""
    for name, value in labels.items():
        check_label(name, value)
    return canonical_selector(",".join(str(Requirement(name, Sign.IS, value)) for name, value in labels.items()))


def _amount(value: Any) -> int:
    """Thousandths of what is written as a number, or as a text with a unit."""
    if isinstance(value, str) and value == value.strip():
        return parse_quantity(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < LEAST_NUMBER:
        raise ValueError(f"write a number from {LEAST_NUMBER} on, or a text like 500m or 8GiB")
    return thousandths_of(value)


def _count(most: int) -> BeforeValidator:
    """A whole number; whether it is within its bounds, the core says."""

    def counted(value: Any) -> int:
        if isinstance(value, float) and value.is_integer():  # JSON does not tell 3.0 from 3
            return int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"write a whole number from 1 to {most:,}")
        return value

    return BeforeValidator(counted)


def _rate(value: Any) -> Rate:
    if not isinstance(value, str):
        raise ValueError("write a text like 10/1m: ten starts in any minute")
    return parse_rate(value)


def _one_of(choices: type[WhenTaken] | type[OnConflict]) -> Callable[[Any], Any]:
    def chosen(value: Any) -> Any:
        try:
            return choices(value)
        except ValueError:
            raise ValueError(f"use one of {', '.join(choices)}") from None

    return chosen


def _choices(choices: type[WhenTaken] | type[OnConflict]) -> WithJsonSchema:
    return WithJsonSchema({"enum": [choice.value for choice in choices]})


def _whole(most: int) -> WithJsonSchema:
    return WithJsonSchema({"type": "integer", "minimum": 1, "maximum": most})


AgentId = Annotated[str | None, BeforeValidator(_text), WithJsonSchema({"type": ["string", "null"], "pattern": AGENT})]
Workspace = Annotated[str | None, BeforeValidator(_text), WithJsonSchema({"type": ["string", "null"], "pattern": POOL})]
Key = Annotated[str | None, BeforeValidator(_text), WithJsonSchema({"type": ["string", "null"], **_KEY_NAMES})]
"""A name that tasks share."""

Labels = Annotated[
    str | None,
    BeforeValidator(_selector),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": SELECTOR, "maxLength": MAX_CHARS},
                {
                    "type": "object",
                    "maxProperties": MAX_REQUIREMENTS,
                    "propertyNames": {"pattern": f"^{_LABEL_NAME}$"},
                    "additionalProperties": {"type": "string", "pattern": f"^{_LABEL_VALUE}$"},
                },
                {"type": "null"},
            ],
            "examples": ["env=prod,disk!=hdd,gpu,!spot", {"env": "prod"}],
        }
    ),
]
"""A selector, canonical."""

Slots = Annotated[int, _count(MAX_SLOTS), _whole(MAX_SLOTS)]
Weight = Annotated[int, _count(MAX_WEIGHT), _whole(MAX_WEIGHT)]
Resources = Annotated[
    dict[StrictStr, Annotated[int, BeforeValidator(_amount)]],
    WithJsonSchema(
        {
            "type": "object",
            "maxProperties": MAX_RESOURCES,
            "propertyNames": {"pattern": RESOURCE},
            "additionalProperties": {
                "anyOf": [
                    {"type": "number", "minimum": LEAST_NUMBER, "maximum": MAX_AMOUNT / 1000},
                    {"type": "string", "pattern": AMOUNT},
                ]
            },
            "examples": [{"cpu": 0.5, "memory": "8GiB"}],
        }
    ),
]
"""Thousandths by name."""

Limits = Annotated[
    dict[StrictStr, Annotated[int, _count(MAX_LIMIT)]],
    WithJsonSchema(
        {
            "type": "object",
            "maxProperties": MAX_LIMITS,
            "propertyNames": _KEY_NAMES,
            "additionalProperties": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT},
            "examples": [{"database": 4}],
        }
    ),
]
Rates = Annotated[
    dict[StrictStr, Annotated[Rate, BeforeValidator(_rate)]],
    WithJsonSchema(
        {
            "type": "object",
            "maxProperties": MAX_RATES,
            "propertyNames": _KEY_NAMES,
            "additionalProperties": {"type": "string", "pattern": RATE},
            "examples": [{"mail": "10/1m"}],
        }
    ),
]
Taken = Annotated[WhenTaken, BeforeValidator(_one_of(WhenTaken)), _choices(WhenTaken)]
Conflict = Annotated[OnConflict, BeforeValidator(_one_of(OnConflict)), _choices(OnConflict)]
