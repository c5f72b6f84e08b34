"""The name of a request: the caller's own if it is a plain word, else a new one."""

from __future__ import annotations

import pytest

from nodelink.request_id import request_id_or_new


@pytest.mark.parametrize("text", ["a", "order-17", "A.b_c:d-e", "x" * 64])
def test_a_plain_word_is_kept(text: str) -> None:
    assert request_id_or_new(text) == text


@pytest.mark.parametrize("text", [None, "", "x" * 65, "two words", "a\n", "é", "a/b"])
def test_anything_else_is_replaced_by_a_name_that_nothing_else_has(text: str | None) -> None:
    first, second = request_id_or_new(text), request_id_or_new(text)

    assert len({text, first, second}) == 3
    assert request_id_or_new(first) == first
