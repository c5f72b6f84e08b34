"""What listeners have heard, and what it comes to: delays, and events that were missed."""

from __future__ import annotations

import pytest

from benchmarks.measurement import percentile
from benchmarks.scale.listeners import figures_of, percentile_of, plan_of
from benchmarks.scale.listening import Listener, found, seconds_of

MOMENT = "2026-01-31T09:30:00.250Z"
AT = seconds_of(MOMENT.encode())


def event(name: str, *, attempt: int = 0, moment: str = MOMENT) -> bytes:
    """One as the server sends it."""
    of = f',"status":"sent","attempt":{attempt}' if attempt else ',"status":"pending"'
    return f'id: 7\nevent: {name}\ndata: {{"revision":7,"time":"{moment}","task_id":"t1"{of}}}\n\n'.encode()


def heard(*pieces: tuple[float, bytes]) -> Listener:
    """A listener to whom these bytes have come so many seconds after the moment."""
    listener = Listener(b"", stalls=False)
    listener.heard += [(AT + after, data) for after, data in pieces]
    return listener


def test_delays_are_from_the_event_and_from_the_agent() -> None:
    one = heard((0.004, event("task.sent", attempt=2)), (0.006, event("task.pending")))

    assert found(one, AT, AT + 1, {"t1:2": AT + 0.003}) == {
        "count": 2,
        "own": [(40, 1), (60, 1)],
        "sent": [(10, 1)],
        "reset": False,
    }


def test_an_event_in_two_pieces_comes_with_the_second() -> None:
    text = event("task.started", attempt=1)

    assert found(heard((0.001, text[:60]), (0.003, text[60:])), AT, AT + 1, {})["own"] == [(30, 1)]


def test_what_is_earlier_or_later_does_not_count() -> None:
    early, late = event("task.pending", moment="2026-01-31T09:29:59.999Z"), event("task.pending")

    assert found(heard((0.1, early), (0.1, late)), AT - 0.3, AT, {})["count"] == 1


@pytest.mark.parametrize(
    "data, is_reset", [(b'event: reset\ndata: {"revision":7}\n\n', True), (b": still here\n\n", False)]
)
def test_a_reset_is_noticed(data: bytes, is_reset: bool) -> None:
    assert found(heard((0.1, data)), AT, AT + 1, {})["reset"] == is_reset


def test_a_tenth_stalls_in_every_second_room_and_of_those_that_hear_everything() -> None:
    plan = plan_of(["a", "b"])

    assert len(plan) == 30
    assert [room for room, stalls in plan if stalls] == ["a", "a", ""]


def test_those_who_read_are_told_apart_by_whom_they_are_beside() -> None:
    plan = [("a", True), ("a", False), ("b", False), ("b", False), ("", False)]
    one = {"count": 5, "own": [[90, 5]], "sent": [[20, 5]], "reset": False}
    late = {"count": 4, "own": [[90, 4]], "sent": [[50, 4]], "reset": True}
    stalled = {"count": 0, "own": [], "sent": [[9_000, 5]], "reset": True}

    figures = figures_of(plan, [stalled, one, one, late, {**one, "count": 10}], 2.0)

    assert figures["scale.events.rate"] == 5.0
    assert (figures["scale.listener.missed"], figures["scale.listener.reset"]) == (1.0, 1.0)
    assert (figures["scale.listener.beside.p99"], figures["scale.listener.apart.p99"]) == (2.0, 5.0)
    assert (figures["scale.listener.p50"], figures["scale.listener.own.p50"]) == (2.0, 9.0)


@pytest.mark.parametrize("percent", [1, 50, 66, 67, 99])
def test_percentiles_of_counts_are_those_of_the_values(percent: int) -> None:
    values = [1] * 10 + [2] * 56 + [7] * 34

    assert percentile_of({7: 34, 1: 10, 2: 56}, percent) == percentile(values, percent)


def test_of_nothing_there_is_no_percentile() -> None:
    with pytest.raises(ValueError, match="nothing came"):
        percentile_of({}, 50)
