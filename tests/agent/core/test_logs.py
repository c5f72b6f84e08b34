"""How output is sent, confirmed and sent again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from nodelink.task import AttemptRef, LogAck, LogChunk, LogStream
from nodelink_agent.core.logs import LogCursors, LogRead

A = AttemptRef("a", 1, 10)
B = AttemptRef("b", 1, 11)
OUT, ERR = LogStream.STDOUT, LogStream.STDERR


def open_cursors(credit: int = 1 << 30) -> LogCursors:
    cursors = LogCursors()
    cursors.new_session()
    cursors.allow(credit)
    return cursors


def send(cursors: LogCursors, *, max_bytes: int = 1_000, chunk_bytes: int = 100) -> list[LogRead]:
    reads = cursors.next_reads(max_bytes=max_bytes, chunk_bytes=chunk_bytes)
    for ref, stream, offset, limit in reads:
        cursors.sent(LogChunk(ref, stream, offset, b"x" * limit))
    return reads


def test_output_is_sent_in_chunks_in_order() -> None:
    cursors = open_cursors()
    cursors.grew(A, OUT, 250)
    sent = [read for _ in range(4) for read in send(cursors)]
    assert sent == [LogRead(A, OUT, 0, 100), LogRead(A, OUT, 100, 100), LogRead(A, OUT, 200, 50)]


def test_streams_take_turns() -> None:
    cursors = open_cursors()
    for ref in (A, B):
        cursors.grew(ref, OUT, 300)
    turns = [read.ref for _ in range(4) for read in send(cursors, max_bytes=100)]
    assert turns == [A, B, A, B]


def test_no_more_is_sent_than_the_credit_allows() -> None:
    cursors = open_cursors(credit=150)
    cursors.grew(A, OUT, 400)
    assert [read.limit for _ in range(3) for read in send(cursors)] == [100, 50]
    cursors.allow(150)
    assert not send(cursors)
    cursors.allow(160)
    assert [read.limit for read in send(cursors)] == [10]


def test_an_acknowledgement_that_goes_forward_confirms_and_resends_nothing() -> None:
    cursors = open_cursors()
    cursors.grew(A, OUT, 200)
    send(cursors)
    send(cursors)
    cursors.acknowledge(LogAck(A, OUT, 100))
    assert not send(cursors)


def test_one_that_does_not_go_forward_asks_for_the_rest_again_once() -> None:
    cursors = open_cursors()
    cursors.grew(A, OUT, 200)
    send(cursors)
    send(cursors)
    cursors.acknowledge(LogAck(A, OUT, 100))
    cursors.acknowledge(LogAck(A, OUT, 100))
    assert send(cursors) == [LogRead(A, OUT, 100, 100)]
    cursors.acknowledge(LogAck(A, OUT, 100))
    assert not send(cursors)


def test_what_was_sent_twice_may_be_acknowledged_twice() -> None:
    cursors = open_cursors()
    cursors.grew(A, OUT, 300)
    send(cursors)
    cursors.resend_still()
    cursors.resend_still()
    for _ in range(3):
        send(cursors)
    cursors.acknowledge(LogAck(A, OUT, 100))
    cursors.acknowledge(LogAck(A, OUT, 100))
    assert not send(cursors)


def test_output_that_stands_still_for_a_whole_heartbeat_is_sent_again() -> None:
    cursors = open_cursors()
    cursors.grew(A, OUT, 100)
    send(cursors)
    cursors.resend_still()
    assert not send(cursors)
    cursors.resend_still()
    assert send(cursors) == [LogRead(A, OUT, 0, 100)]


def test_output_that_moves_is_not_sent_again() -> None:
    cursors = open_cursors()
    cursors.grew(A, OUT, 200)
    send(cursors)
    send(cursors)
    cursors.resend_still()
    cursors.acknowledge(LogAck(A, OUT, 50))
    cursors.resend_still()
    assert not send(cursors)


def test_a_new_session_goes_on_from_what_is_acknowledged() -> None:
    cursors = open_cursors()
    cursors.grew(A, OUT, 200)
    send(cursors)
    send(cursors)
    cursors.acknowledge(LogAck(A, OUT, 120))
    cursors.new_session()
    assert not send(cursors)
    cursors.allow(1_000)
    assert send(cursors) == [LogRead(A, OUT, 120, 80)]


def test_a_verdict_says_where_to_go_on() -> None:
    cursors = open_cursors()
    cursors.grew(A, OUT, 200)
    cursors.resume(LogAck(A, OUT, 150))
    assert send(cursors) == [LogRead(A, OUT, 150, 50)]
    cursors.resume(LogAck(A, OUT, 999))
    assert not send(cursors)


def test_output_is_complete_when_every_stream_is_acknowledged_to_its_end() -> None:
    cursors = open_cursors()
    cursors.end(A, {OUT: 10, ERR: 0})
    assert not cursors.is_complete(A)
    send(cursors)
    cursors.acknowledge(LogAck(A, OUT, 10))
    assert cursors.is_complete(A)
    assert cursors.is_complete(B)


def test_a_gap_takes_no_credit() -> None:
    cursors = open_cursors(credit=10)
    cursors.end(A, {OUT: 1_000})
    cursors.sent(LogChunk(A, OUT, 0, b"", 995))
    assert send(cursors) == [LogRead(A, OUT, 995, 5)]


def test_an_acknowledgement_beyond_what_there_is_is_ignored() -> None:
    cursors = open_cursors()
    cursors.grew(A, OUT, 10)
    cursors.acknowledge(LogAck(A, OUT, 11))
    cursors.acknowledge(LogAck(B, OUT, 1))
    assert send(cursors) == [LogRead(A, OUT, 0, 10)]


def test_of_a_forgotten_attempt_nothing_is_sent() -> None:
    cursors = open_cursors()
    cursors.grew(A, OUT, 10)
    cursors.forget(A)
    assert not send(cursors)


@given(
    some.lists(some.tuples(some.sampled_from(["deliver", "lose", "tick", "ack"]), some.integers(1, 60)), max_size=60)
)
def test_whatever_is_lost_or_merged_everything_arrives_in_the_end(steps: list[tuple[str, int]]) -> None:
    total, arrived = 500, 0
    cursors = open_cursors()
    cursors.end(A, {OUT: total})

    def deliver(*, lost: bool, size: int = 50) -> None:
        nonlocal arrived
        for read in cursors.next_reads(max_bytes=size, chunk_bytes=size):
            cursors.sent(LogChunk(A, OUT, read.offset, b"x" * read.limit))
            if not lost and read.offset <= arrived:
                arrived = max(arrived, read.offset + read.limit)

    for step, size in steps:
        match step:
            case "deliver" | "lose":
                deliver(lost=step == "lose", size=size)
            case "tick":
                cursors.resend_still()
            case "ack":
                cursors.acknowledge(LogAck(A, OUT, arrived))
    for _ in range(40):  # from here nothing is lost
        deliver(lost=False)
        cursors.acknowledge(LogAck(A, OUT, arrived))
        cursors.resend_still()
    assert cursors.is_complete(A)
