"""Amounts of resources as people write them: `0.5`, `500m`, `8GiB`. Read to and written from thousandths."""

from __future__ import annotations

import re
from decimal import Decimal

UNITS = {
    "Ti": 1024**4,
    "T": 10**12,
    "Gi": 1024**3,
    "G": 10**9,
    "Mi": 1024**2,
    "M": 10**6,
    "Ki": 1024,
    "K": 1000,
}
"""What may stand behind a number, largest first. A small k says thousands as well; a B for bytes may follow each."""

LARGEST_QUANTITY = 10**15 * 1000
"""In thousandths: a thousand T."""

RESOURCE_NAME = re.compile(r"[a-z0-9][a-z0-9_./-]{0,62}")
MOST_RESOURCES = 64
"""So many an agent may have."""

_QUANTITY = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,3})?)(m|([kKMGT]|[KMGT]i)?B?)")
_SHORTEST_WITH_UNIT = 10**6


def parse_quantity(text: str) -> int:
    """Thousandths of an amount such as `0.5`, `500m` or `8GiB`. ValueError says what would be right."""
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text[:64]!r} is not a quantity; write it like 4, 0.5, 500m or 8GiB")
    number, suffix, unit = match.groups(default="")
    thousandths = Decimal(number) * (1 if suffix == "m" else 1000 * UNITS.get(unit.replace("k", "K"), 1))
    if thousandths != int(thousandths):
        raise ValueError(f"{text[:64]!r} is finer than a thousandth")
    if thousandths > LARGEST_QUANTITY:
        raise ValueError(f"{text[:64]!r} is more than 1000T")
    return int(thousandths)


def format_quantity(thousandths: int) -> str:
    """A short way to write an amount: `0.5`, `8Gi`. `parse_quantity` reads it back."""
    whole, rest = divmod(thousandths, 1000)
    if rest:
        return f"{whole}.{rest:03}".rstrip("0")
    if whole >= _SHORTEST_WITH_UNIT:
        for unit, size in UNITS.items():
            if whole % size == 0:
                return f"{whole // size}{unit}"
    return str(whole)


def number_of(thousandths: int) -> int | float:
    """An amount as a number."""
    return thousandths / 1000 if thousandths % 1000 else thousandths // 1000


def thousandths_of(number: float) -> int:
    """Thousandths of a number that is not negative, to the nearest. ValueError says what would be right."""
    if not 0 <= number <= LARGEST_QUANTITY // 1000:  # what is not a number is within no bounds
        raise ValueError(f"{number} is not from 0 to 1000T")
    return round(number * 1000)
