"""Which labels a task wants of its agent, as people write it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as some

from nodelink.selectors import Requirement, Sign, canonical_selector, check_label, parse_selector, selects

LABELS = {"env": "prod", "gpu": "", "zone": "eu-1/a"}

_NAMES = some.text(alphabet="abZ09_./-", min_size=1, max_size=8).map(lambda text: f"n{text}")
_VALUES = some.text(alphabet="abZ09_./:@+-", max_size=8)
_REQUIREMENTS = some.one_of(
    some.builds(Requirement, _NAMES, some.sampled_from([Sign.IS, Sign.IS_NOT]), _VALUES),
    some.builds(Requirement, _NAMES, some.sampled_from([Sign.HAS, Sign.HAS_NOT]), some.just("")),
)


@pytest.mark.parametrize(
    "selector, holds",
    [
        ("", True),
        ("env=prod", True),
        ("env==prod", True),
        ("env=test", False),
        ("env=Prod", False),
        ("env!=test", True),
        ("env!=prod", False),
        ("disk!=hdd", True),
        ("gpu", True),
        ("gpu=", True),
        ("disk", False),
        ("!spot", True),
        ("!gpu", False),
        ("zone=eu-1/a", True),
        ("env=prod,gpu,!spot", True),
        ("env=prod,gpu,spot", False),
    ],
)
def test_a_selector_holds_if_all_that_it_says_does(selector: str, holds: bool) -> None:
    assert selects(selector, LABELS) is holds


@pytest.mark.parametrize(
    "selector, canonical",
    [
        ("", ""),
        (" \t", ""),
        ("gpu , env = prod", "env=prod,gpu"),
        ("env==prod", "env=prod"),
        ("b,a,b", "a,b"),
        ("! spot", "!spot"),
        ("disk != hdd", "disk!=hdd"),
        ("a=", "a="),
    ],
)
def test_equal_selectors_are_written_in_one_way(selector: str, canonical: str) -> None:
    assert canonical_selector(selector) == canonical


@given(some.lists(_REQUIREMENTS, max_size=16))
def test_what_is_written_can_be_read_again(requirements: list[Requirement]) -> None:
    text = ",".join(map(str, requirements))
    assert set(parse_selector(text)) == set(requirements)
    assert canonical_selector(canonical_selector(text)) == canonical_selector(text)


@pytest.mark.parametrize(
    "selector",
    [",", "a,", "=b", "!", "!a=b", "a=b=c", "a in (b)", "-a", "a=b c", "é", "a=é", "a\n", "a\u00a0=b", "a!", "a<b"],
)
def test_what_is_no_requirement_is_refused_with_its_text(selector: str) -> None:
    with pytest.raises(ValueError, match="is not name=value, name!=value, name or !name"):
        parse_selector(selector)


@pytest.mark.parametrize(
    "selector, words",
    [
        (",".join(f"l{n}" for n in range(17)), "has 17 requirements; at most 16 are allowed"),
        (",".join(["l"] * 17), "has 17 requirements; at most 16 are allowed"),
        (" " * 8_193, "has 8,193 characters; at most 8,192 are allowed"),
        ("l" * 201, "is not name=value"),
        (f"!{'l' * 201}", "is not name=value"),
        (f"l={'v' * 201}", "is not name=value"),
    ],
)
def test_too_much_is_refused(selector: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        parse_selector(selector)


@given(_NAMES, _VALUES)
def test_what_an_agent_may_say_of_itself_can_be_asked_for(name: str, value: str) -> None:
    check_label(name, value)
    assert selects(f"{name}={value}", {name: value})
