"""The front of a queue against one single sorted list, through any course of events."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from nodelink_server.core.front import Front
from nodelink_server.core.ports import Place

CAPACITY = 4

Deed = tuple[str, int]
arrivals = st.lists(
    st.tuples(st.just("arrive_and_announce"), st.integers(0, 9)), min_size=3 * CAPACITY, max_size=5 * CAPACITY
)
deeds = st.builds(
    list.__add__,
    arrivals,
    st.lists(
        st.tuples(
            st.sampled_from(
                ["arrive_and_announce", "arrive", "announce", "take", "take", "begin", "snapshot", "end", "abandon"]
            ),
            st.integers(0, 9),
        ),
        min_size=30,
        max_size=150,
    ),
)


@dataclass
class Queue:
    """A front, the registry beside it, and the database behind it.

    What arrives is stored first and announced a little later; a refill reads the database at some moment between its
    begin and its end. So an entry may be read before it is announced, and be in twice.
    """

    front: Front[Place] = field(default_factory=lambda: Front(CAPACITY))
    stored: set[Place] = field(default_factory=set)
    unannounced: list[Place] = field(default_factory=list)
    shown: set[Place] = field(default_factory=set)
    keys: int = 0
    asked: tuple[Place, int] | None = None
    read: list[Place] | None = None

    def carry_out(self, deed: Deed) -> None:
        name, number = deed
        getattr(self, name)(number)

    def arrive_and_announce(self, rank: int) -> None:
        self.arrive(rank)
        while self.unannounced:
            self.announce(0)

    def arrive(self, rank: int) -> None:
        self.keys += 1
        place = Place(rank, self.keys)
        self.stored.add(place)
        self.unannounced.append(place)

    def announce(self, _: int) -> None:
        if not self.unannounced:
            return
        place = self.unannounced.pop(0)
        kept, pushed_out = self.front.offer(place, place)
        if kept and place in self.stored:
            self.shown.add(place)
        self.shown.difference_update(pushed_out if kept else [*pushed_out, place])

    def first(self) -> Place | None:
        """The first entry that still counts."""
        while self.front.first is not None and self.front.first not in self.shown:
            self.front.take()
        return self.front.first

    def take(self, _: int) -> None:
        """Take the first, which goes before everything else that was announced."""
        first = self.first()
        if first is not None:
            assert all(first <= place for place in self.stored.difference(self.unannounced))
            self.front.take()
            self.shown.discard(first)
            self.stored.discard(first)

    def begin(self, _: int) -> None:
        if self.asked is None and self.front.wants_refill:
            self.asked, self.read = self.front.begin_refill(), None

    def snapshot(self, _: int) -> None:
        if self.asked is not None and self.read is None:
            after, limit = self.asked
            self.read = sorted(place for place in self.stored if place > after)[:limit]

    def end(self, _: int) -> None:
        if self.asked is None:
            return
        self.snapshot(0)
        assert self.read is not None
        joined = self.front.end_refill([(place, place) for place in self.read])
        self.shown.update(place for place in self.read[:joined] if place in self.stored)
        self.asked = None

    def abandon(self, _: int) -> None:
        if self.asked is not None:
            self.front.abandon_refill()
            self.asked = None

    def drain(self) -> list[Place]:
        """Everything that is left, as it comes out."""
        taken = []
        while self.unannounced:
            self.announce(0)
        for _ in range(len(self.stored) + 2):
            self.end(0)
            while (first := self.first()) is not None:
                taken.append(first)
                self.take(0)
            self.begin(0)
        return taken


@given(deeds)
def test_a_front_gives_what_one_sorted_list_would_give(course: list[Deed]) -> None:
    queue = Queue()

    for deed in course:
        queue.carry_out(deed)
    left = sorted(queue.stored)

    assert queue.drain() == left
    assert queue.front.is_whole


@given(deeds)
def test_memory_holds_few_entries_whatever_waits(course: list[Deed]) -> None:
    queue = Queue()

    for deed in course:
        queue.carry_out(deed)
        assert len(queue.front) <= 3 * CAPACITY
        assert len(queue.shown) <= 3 * CAPACITY


def test_what_is_pushed_out_is_told() -> None:
    front: Front[str] = Front(1)

    assert front.offer(Place(1, 1), "a") == (True, ())
    assert front.offer(Place(2, 2), "b") == (True, ())
    kept, pushed_out = front.offer(Place(0, 3), "c")

    assert kept
    assert list(pushed_out) == ["a", "b"]
    assert front.offer(Place(1, 4), "d") == (False, ())


def test_what_was_kept_out_while_the_database_was_read_is_not_passed_over() -> None:
    front: Front[int] = Front(2, all_behind=True)
    front.begin_refill()
    read = [(Place(10, 1), 1), (Place(30, 2), 2)]
    assert front.offer(Place(20, 3), 3) == (False, ())

    assert front.end_refill(read) == 1
    front.take()

    assert front.begin_refill() == (Place(10, 1), 2)
    assert front.end_refill([(Place(20, 3), 3), (Place(30, 2), 2)]) == 2
    assert [front.take(), front.take()] == [3, 2]


def test_a_front_with_nothing_behind_it_says_so_only_if_nothing_came_meanwhile() -> None:
    front: Front[int] = Front(2, all_behind=True)
    front.begin_refill()
    front.offer(Place(20, 3), 3)
    front.end_refill([])
    assert not front.is_whole

    front.begin_refill()
    front.end_refill([(Place(20, 3), 3)])
    assert front.is_whole


def test_an_entry_that_is_in_twice_is_not_pushed_out_while_it_is_in_once() -> None:
    front: Front[str] = Front(2)
    for key, rank in enumerate((1, 5, 5), start=1):
        front.offer(Place(rank, min(key, 2)), f"t{min(key, 2)}")
    front.offer(Place(7, 3), "t3")

    kept, pushed_out = front.offer(Place(9, 4), "t4")

    assert not kept
    assert list(pushed_out) == ["t3", "t4"]


def test_a_refill_that_was_overtaken_by_a_shortening_is_not_believed() -> None:
    front: Front[int] = Front(2, all_behind=True)
    front.begin_refill()
    assert front.end_refill([(Place(10, 1), 1), (Place(20, 2), 2)]) == 2
    front.take()
    after, _ = front.begin_refill()
    assert after == Place(20, 2)

    for key in range(3, 7):
        front.offer(Place(1, key), key)

    assert front.end_refill([(Place(30, 9), 9)]) == 0
    assert front.first == Place(1, 3)
    assert not front.is_whole
