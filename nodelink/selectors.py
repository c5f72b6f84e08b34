"""Which agents a task wants by their labels: `env=prod, disk!=hdd, gpu, !spot`. All that is said must hold."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

MAX_REQUIREMENTS = 16
MAX_CHARS = 8_192
MAX_LABEL_CHARS = 200
_NAME = r"[A-Za-z0-9][A-Za-z0-9_./-]*"
_VALUE = r"[A-Za-z0-9_./:@+-]*"
_REQUIREMENT = re.compile(
    rf"(?:![ \t]*(?P<absent>{_NAME})|(?P<name>{_NAME})(?:[ \t]*(?P<sign>!=|==?)[ \t]*(?P<value>{_VALUE}))?)"
)


class Sign(StrEnum):
    """How a label is compared. `IS_NOT` holds of an agent without the label as well."""

    IS = "="
    IS_NOT = "!="
    HAS = ""
    HAS_NOT = "!"


class Requirement(NamedTuple):
    """What one label has to be."""

    name: str
    sign: Sign
    value: str = ""

    def __str__(self) -> str:
        if self.sign is Sign.HAS_NOT:
            return f"!{self.name}"
        return f"{self.name}{self.sign}{self.value}"

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether it holds of these labels."""
        match self.sign:
            case Sign.IS:
                return labels.get(self.name) == self.value
            case Sign.IS_NOT:
                return labels.get(self.name) != self.value
            case Sign.HAS:
                return self.name in labels
            case Sign.HAS_NOT:
                return self.name not in labels


@lru_cache(maxsize=4_096)
def parse_selector(text: str) -> tuple[Requirement, ...]:
    """The requirements of a selector, each once, in order. Raises `ValueError`, saying what is wrong."""
    if len(text) > MAX_CHARS:
        raise ValueError(f"has {len(text):,} characters; at most {MAX_CHARS:,} are allowed")
    found = list(_requirements(text)) if text.strip(" \t") else []
    if len(found) > MAX_REQUIREMENTS:
        raise ValueError(f"has {len(found)} requirements; at most {MAX_REQUIREMENTS} are allowed")
    return tuple(sorted(set(found)))


def canonical_selector(text: str) -> str:
    """A selector as every equal one is written. Raises `ValueError`."""
    return ",".join(str(requirement) for requirement in parse_selector(text))


def selects(selector: str, labels: Mapping[str, str]) -> bool:
    """Whether a selector that has been checked matches these labels; an empty one matches all."""
    return all(requirement.holds(labels) for requirement in parse_selector(selector))


def check_label(name: str, value: str) -> None:
    """Raise `ValueError` for a label that no selector could ask for, saying what is wrong."""
    if not re.fullmatch(_NAME, name, re.ASCII) or len(name) > MAX_LABEL_CHARS:
        raise ValueError(
            f"{name[:64]!r} cannot name a label; use a letter or a digit, then letters, digits and any of '_./-', "
            f"at most {MAX_LABEL_CHARS} in all"
        )
    if not re.fullmatch(_VALUE, value, re.ASCII) or len(value) > MAX_LABEL_CHARS:
        raise ValueError(
            f"{value[:64]!r} cannot be the value of label {name[:64]!r}; use letters, digits and any of '_./:@+-', "
            f"at most {MAX_LABEL_CHARS}"
        )


def _requirements(text: str) -> Iterator[Requirement]:
    for part in text.split(","):
        match = _REQUIREMENT.fullmatch(part.strip(" \t"))
        if match is None or max(len(match["name"] or match["absent"]), len(match["value"] or "")) > MAX_LABEL_CHARS:
            raise ValueError(f"{part.strip()[:64]!r} is not name=value, name!=value, name or !name")
        if match["absent"]:
            yield Requirement(match["absent"], Sign.HAS_NOT)
        elif match["sign"] is None:
            yield Requirement(match["name"], Sign.HAS)
        else:
            yield Requirement(match["name"], Sign.IS_NOT if match["sign"] == "!=" else Sign.IS, match["value"])
