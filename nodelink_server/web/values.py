"""The kinds of values that callers write, in bodies and in queries: each with its JSON schema and what is right."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StrictStr, WithJsonSchema

from nodelink.durations import format_duration_ms, parse_duration_ms
from nodelink.task import BY_RULE, PRIORITIES, ErrorCategory, Execution
from nodelink_server.core.characters import BLANK, SAID, UNSEEN
from nodelink_server.core.validation import (
    MAX_ARGV,
    MAX_ARGV_BYTES,
    MAX_ATTEMPTS,
    MAX_DRAIN_MS,
    MAX_GRACE_MS,
    MAX_LOCK_CHARS,
    MAX_METADATA,
    MAX_METADATA_CHARS,
    MAX_REASON_CHARS,
    MAX_RETRY_MULTIPLIER,
    MAX_RETRY_ON,
)
from nodelink_server.web.times import parse_moment

MAX_WAIT_MS = 300_000
MAX_TEXT_CHARS = 200
MAX_LABELS = 10
MAX_WHOLE = (1 << 63) - 1

NO_NUL = r"^[^\u0000]*$"
SEARCH = r"^(|[0-9A-Fa-f\-]{1,36}|[A-Za-z0-9][A-Za-z0-9_.\-]{0,62}|" + rf"[^={BLANK}\u0000][^=\u0000]*=[^\u0000]*)$"
LABEL = r"^[^=\u0000]+=[^\u0000]*$"
POOL = r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,62}$"
SEEN = rf"^[^{UNSEEN}]+$"
COMMAND = rf"^[^\u0000]*[^{BLANK}\u0000][^\u0000]*$"
YEARS = r"^(19[7-9][0-9]|[2-9][0-9]{3})-"
VARIABLE = r"^[^=\u0000]+$"
EXIT_CODE = r"^exit_code:([1-9][0-9]?|1[0-9][0-9]|2[0-4][0-9]|25[0-5])$"
SIGNAL = r"^signal:([1-9]|[1-5][0-9]|6[0-4])$"
_PARTS = "".join(rf"([0-9]+(\.[0-9]+)?{unit})?" for unit in ("d", "h", "m", "s", "ms"))
DURATION = rf"^(0|(?=.){_PARTS})$"

_WHOLE = re.compile(r"-?[0-9]{1,20}", re.ASCII)


def _duration(value: Any) -> int | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError("write a duration as text, like 1h30m")
    return parse_duration_ms(value)


def _up_to(most_ms: int) -> BeforeValidator:
    """As `_duration`, within a bound that no other door knows."""

    def bounded(value: Any) -> int | None:
        ms = _duration(value)
        if ms is not None and ms > most_ms:
            raise ValueError(f"must be at most {format_duration_ms(most_ms)}")
        return ms

    return BeforeValidator(bounded)


def _moment(value: Any) -> int | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError("write a moment as text, like 2026-01-31T09:30:00Z")
    ms = parse_moment(value)
    if ms < 0:
        raise ValueError("write a moment from 1970 to 9999")
    return ms


def _given(value: Any) -> Any:
    if value is None:
        raise ValueError("must not be null; leave it out")
    return value


def _priority(value: Any) -> int:
    if isinstance(value, str) and value.isascii() and value.upper() in PRIORITIES:
        return PRIORITIES[value.upper()]
    if isinstance(value, float) and value.is_integer():  # JSON does not tell 50.0 from 50
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"write a number from 1 to 100 or one of {', '.join(PRIORITIES)}")
    if value == BY_RULE:  # which is what leaving it out means
        raise ValueError(f"{value} is not from 1 to 100")
    return value


def _priority_or_none(value: Any) -> int | None:
    return None if value is None else _priority(value)


def _execution(value: Any) -> Execution | None:
    if value is None:
        return None
    try:
        return Execution(value)
    except ValueError:
        raise ValueError(f"use one of {', '.join(Execution)}") from None


def _lock(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or not value:
        raise ValueError(f"write a text of 1 to {MAX_LOCK_CHARS} printable characters")
    return value


def _attempts(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():  # JSON does not tell 3.0 from 3
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"write a whole number from 1 to {MAX_ATTEMPTS}")
    return value


def _multiplier(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"write a number from 1 to {MAX_RETRY_MULTIPLIER}")
    return value


def _failures(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError("write a list of failures, like exit_code:75 or timeout")
    return tuple(value)


def _command(value: Any) -> str | list[str]:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        return value
    raise ValueError("write a text for sh -c, or a list of words")


def _whole(value: Any) -> Any:
    """Only plain digits: other spellings of a number mean different things to different readers."""
    if isinstance(value, str) and not _WHOLE.fullmatch(value):
        raise ValueError("write a whole number")
    return value


def _flag(value: Any) -> bool:
    if value in {"true", True}:
        return True
    if value in {"false", False}:
        return False
    raise ValueError("write true or false")


def _label(value: str) -> str:
    if "=" not in value[1:]:
        raise ValueError("write a label as name=value")
    return value


def pair(label: str) -> tuple[str, str]:
    """A label's name and value."""
    name, _, value = label.partition("=")
    return name, value


def _shape(about: str, example: str, **schema: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": ["string", "null"], "description": about, "examples": [example], **schema})


Duration = Annotated[int | None, BeforeValidator(_duration), _shape("a duration", "1h30m", pattern=DURATION)]
"""Milliseconds; written `1h30m`."""

SomeDuration = Annotated[
    int, BeforeValidator(_duration), WithJsonSchema({"type": "string", "pattern": DURATION, "examples": ["30d"]})
]
"""As `Duration`, where one is required."""

Wait = Annotated[int | None, _up_to(MAX_WAIT_MS), _shape("a duration up to 5m", "30s", pattern=DURATION)]
Grace = Annotated[int | None, _up_to(MAX_GRACE_MS), _shape("a duration up to 1h", "10s", pattern=DURATION)]
DrainDeadline = Annotated[int | None, _up_to(MAX_DRAIN_MS), _shape("a duration up to 7d", "10m", pattern=DURATION)]

Moment = Annotated[
    int | None, BeforeValidator(_moment), _shape("a moment", "2026-01-31T09:30:00Z", format="date-time", pattern=YEARS)
]
"""Milliseconds since the epoch; written as RFC 3339 has it."""

SomeMoment = Annotated[
    int | None,
    BeforeValidator(_given),
    BeforeValidator(_moment),
    WithJsonSchema(
        {"type": "string", "format": "date-time", "pattern": YEARS, "examples": ["2026-01-31T09:30:00Z"]},
    ),
]
"""As `Moment`, and not null."""

Priority = Annotated[
    int,
    BeforeValidator(_priority),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1, "maximum": 100}, {"enum": list(PRIORITIES)}]}),
]
OtherPriority = Annotated[
    int | None,
    BeforeValidator(_priority_or_none),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 100}, {"enum": list(PRIORITIES)}, {"type": "null"}]}
    ),
]
"""As `Priority`, or none."""

Class = Annotated[
    Execution | None,
    BeforeValidator(_execution),
    WithJsonSchema({"enum": [*(execution.value for execution in Execution), None]}),
]
Lock = Annotated[
    str,
    BeforeValidator(_lock),
    WithJsonSchema({"type": ["string", "null"], "minLength": 1, "maxLength": MAX_LOCK_CHARS, "pattern": SEEN}),
]
Attempts = Annotated[
    int, BeforeValidator(_attempts), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MAX_ATTEMPTS})
]
Multiplier = Annotated[
    float,
    BeforeValidator(_multiplier),
    WithJsonSchema({"type": "number", "minimum": 1, "maximum": MAX_RETRY_MULTIPLIER}),
]
Failures = Annotated[
    tuple[str, ...],
    BeforeValidator(_failures),
    WithJsonSchema(
        {
            "type": "array",
            "maxItems": MAX_RETRY_ON,
            "items": {
                "anyOf": [
                    {"enum": [category.value for category in ErrorCategory]},
                    {"type": "string", "pattern": EXIT_CODE},
                    {"type": "string", "pattern": SIGNAL},
                ]
            },
            "examples": [["exit_code:75", "timeout"]],
        }
    ),
]
"""Kinds of failures: error categories, exit codes and signals."""
Why = Annotated[
    StrictStr, WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_REASON_CHARS, "pattern": SAID})
]
"""Why somebody decides something: required, and judged by the core."""
Pool = Annotated[StrictStr, WithJsonSchema({"type": "string", "pattern": POOL})]
Command = Annotated[
    str | list[str],
    BeforeValidator(_command),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": COMMAND, "maxLength": MAX_ARGV_BYTES},
                {
                    "type": "array",
                    "prefixItems": [{"type": "string", "pattern": NO_NUL, "minLength": 1}],
                    "items": {"type": "string", "pattern": NO_NUL},
                    "minItems": 1,
                    "maxItems": MAX_ARGV,
                },
            ]
        }
    ),
]
Metadata = Annotated[
    dict[StrictStr, StrictStr],
    WithJsonSchema(
        {
            "type": "object",
            "maxProperties": MAX_METADATA,
            "propertyNames": {"minLength": 1, "maxLength": MAX_METADATA_CHARS},
            "additionalProperties": {"type": "string", "maxLength": MAX_METADATA_CHARS},
        }
    ),
]
PLAIN_DIGITS = BeforeValidator(_whole)
Whole = Annotated[int, PLAIN_DIGITS]
"""An integer of a query. One that may be left out has its bounds before the validator, or they are not described."""

Revision = Annotated[int, Field(ge=0, le=MAX_WHOLE), PLAIN_DIGITS]
"""Where to go on in the events."""

Flag = Annotated[bool, BeforeValidator(_flag), WithJsonSchema({"type": "boolean"})]
"""`true` or `false`, and no other word for them."""

Text = Annotated[StrictStr, Field(max_length=MAX_TEXT_CHARS, json_schema_extra={"pattern": NO_NUL})]
"""A text of a query. NUL characters are refused before it gets here."""

SomeText = Annotated[StrictStr, Field(min_length=1, max_length=MAX_TEXT_CHARS, json_schema_extra={"pattern": NO_NUL})]
"""As `Text`, and not empty."""

Search = Annotated[StrictStr, Field(max_length=MAX_TEXT_CHARS, json_schema_extra={"pattern": SEARCH})]
"""What to look for; the core says what it means."""

SomeSearch = Annotated[StrictStr, Field(min_length=1, max_length=MAX_TEXT_CHARS, json_schema_extra={"pattern": SEARCH})]
"""As `Search`, and not empty."""

Label = Annotated[
    StrictStr,
    AfterValidator(_label),
    Field(max_length=2 * MAX_METADATA_CHARS + 1, json_schema_extra={"pattern": LABEL, "examples": ["team=blue"]}),
]
"""One `name=value`."""
