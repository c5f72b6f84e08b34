"""What a search means."""

from __future__ import annotations

import pytest

from nodelink.errors import InvalidTask
from nodelink_server.core.search import Search, search_of


@pytest.mark.parametrize(
    "q, expected",
    [
        ("env=prod", Search(label=("env", "prod"))),
        ("env=", Search(label=("env", ""))),
        ("formula=a=b", Search(label=("formula", "a=b"))),
        ("a key=a value", Search(label=("a key", "a value"))),
        ("shell", Search(type="shell")),
        ("0199", Search(id_prefix="0199", type="0199")),
        ("0199C0DE-", Search(id_prefix="0199c0de-", type="0199C0DE-")),
        ("  echo ", Search(type="echo")),
        ("-", Search(id_prefix="-")),
    ],
)
def test_a_search_means(q: str, expected: Search) -> None:
    assert search_of(q) == expected


@pytest.mark.parametrize("q", ["two words", "=value", "%", " ", "é", "a" * 64, "k=" + "v" * 1025, "k" * 1025 + "=v"])
def test_what_means_nothing_is_refused(q: str) -> None:
    with pytest.raises(InvalidTask) as refusal:
        search_of(q)
    assert [error.field for error in refusal.value.errors] == ["q"]
