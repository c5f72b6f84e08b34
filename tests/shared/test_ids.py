"""Ids are UUIDv7s that sort by the time they were made."""

from __future__ import annotations

import random
import uuid

from nodelink.ids import IdMaker

NOW = 1_790_000_000_000


def maker(*times: int) -> IdMaker:
    """A maker whose clock shows these times, and then the last one for ever."""
    left = list(times)
    return IdMaker(now=lambda: left.pop(0) if len(left) > 1 else left[0], random_bits=random.Random(1).getrandbits)


def test_an_id_is_a_uuid_of_version_7_that_tells_its_millisecond() -> None:
    made = uuid.UUID(maker(NOW)())
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == NOW


def test_ids_of_one_millisecond_are_in_order_and_all_different() -> None:
    new_id = maker(NOW)
    made = [new_id() for _ in range(10_000)]
    assert made == sorted(set(made))


def test_a_clock_that_goes_back_does_not_make_ids_go_back() -> None:
    new_id = maker(NOW, NOW - 5_000, NOW + 1, NOW)
    made = [new_id() for _ in range(4)]
    assert made == sorted(set(made))


def test_an_exhausted_millisecond_borrows_from_the_next() -> None:
    last = (1 << 48) - 1
    new_id = IdMaker(now=lambda: NOW, random_bits=lambda bits: last if bits == 47 else 0)
    made = [uuid.UUID(new_id()) for _ in range(2)]
    assert [one.int >> 80 for one in made] == [NOW + 1, NOW + 2]


def test_two_makers_do_not_make_the_same_ids() -> None:
    one = IdMaker(now=lambda: NOW, random_bits=random.Random(1).getrandbits)
    other = IdMaker(now=lambda: NOW, random_bits=random.Random(2).getrandbits)
    assert {one() for _ in range(1000)}.isdisjoint({other() for _ in range(1000)})
