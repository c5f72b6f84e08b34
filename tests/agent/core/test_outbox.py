"""What is said, in which order, how often."""

from __future__ import annotations

from nodelink.task import AttemptRef, Finished, Outcome, Progress, Started, TaskResponse
from nodelink_agent.core.outbox import Outbox


def ref(number: int) -> AttemptRef:
    return AttemptRef(str(number), 1, number)


def result(number: int, size: int = 0) -> TaskResponse:
    return TaskResponse(ref(number), Finished(outcome=Outcome.COMPLETED, output=b"x" * size))


def take(outbox: Outbox, *, items: int = 256, size: int = 1 << 18, now: float = 0.0) -> list[TaskResponse]:
    return outbox.take(now=now, max_items=items, max_bytes=size)[0]


def open_outbox(frames: int = 1_000) -> Outbox:
    outbox = Outbox()
    outbox.new_session()
    outbox.allow(frames)
    return outbox


def test_a_result_is_said_once_a_session_until_it_is_acknowledged() -> None:
    outbox = open_outbox()
    outbox.results([result(1), result(2)])
    assert take(outbox) == [result(1), result(2)]
    assert take(outbox) == []
    assert outbox.acknowledge(ref(1))
    assert not outbox.acknowledge(ref(1))
    outbox.results([result(3)])
    outbox.new_session()
    outbox.allow(1)
    assert take(outbox) == [result(2), result(3)]
    assert not outbox.is_empty
    outbox.acknowledge(ref(2))
    outbox.acknowledge(ref(3))
    assert outbox.is_empty


def test_a_result_acknowledged_before_it_is_said_again_is_not_said_again() -> None:
    outbox = open_outbox()
    outbox.results([result(1)])
    take(outbox)
    outbox.new_session()
    outbox.allow(1)
    assert outbox.acknowledge(ref(1))
    assert take(outbox) == []


def test_frames_stay_within_the_credit_which_is_cumulative() -> None:
    outbox = open_outbox(frames=1)
    outbox.results([result(1), result(2), result(3)])
    assert take(outbox, items=1) == [result(1)]
    assert take(outbox, items=1) == []
    outbox.allow(1)
    assert take(outbox, items=1) == []
    outbox.allow(2)
    assert take(outbox, items=1) == [result(2)]
    outbox.allow(1)
    assert take(outbox) == []
    assert outbox.unsent_results == 1


def test_a_frame_is_bounded_in_items_and_in_bytes() -> None:
    outbox = open_outbox()
    outbox.results(result(n) for n in range(300))
    assert len(take(outbox)) == 256
    assert len(take(outbox)) == 44
    outbox.results(result(n, size=1_000) for n in range(10))
    assert len(take(outbox, size=3_500)) == 3


def test_a_result_larger_than_a_frame_has_one_of_its_own() -> None:
    outbox = open_outbox()
    outbox.results([result(1, size=9_000), result(2)])
    assert take(outbox, size=1_000) == [result(1, size=9_000)]
    assert take(outbox, size=1_000) == [result(2)]


def test_nothing_about_an_attempt_comes_after_its_result() -> None:
    outbox = open_outbox()
    outbox.starts.add(ref(1), at=1.0, containment="subreaper")
    outbox.progress(ref(1), Progress(fraction=0.5))
    outbox.results([result(1)])
    started = TaskResponse(ref(1), Started(ago_ms=500, containment="subreaper"))
    assert take(outbox, now=1.5) == [started, result(1)]


def test_of_progress_only_the_latest_is_said() -> None:
    outbox = open_outbox()
    for tenths in range(10):
        outbox.progress(ref(1), Progress(fraction=tenths / 10))
    assert take(outbox) == [TaskResponse(ref(1), Progress(fraction=0.9))]
    assert take(outbox) == []


def test_a_start_that_was_not_said_is_said_in_the_next_session() -> None:
    outbox = open_outbox(frames=0)
    outbox.starts.add(ref(1), at=0.0, containment="")
    assert take(outbox) == []
    outbox.new_session()
    outbox.allow(1)
    assert [response.ref for response in take(outbox)] == [ref(1)]


def test_of_a_forgotten_attempt_nothing_is_said() -> None:
    outbox = open_outbox()
    outbox.starts.add(ref(1), at=0.0, containment="")
    outbox.progress(ref(1), Progress(fraction=0.5))
    outbox.forget(ref(1))
    outbox.results([result(2)])
    outbox.forget(ref(2))
    assert outbox.is_empty
    assert take(outbox) == []
